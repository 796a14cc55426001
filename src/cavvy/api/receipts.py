"""A stored receipt, as a job shows it."""

from __future__ import annotations

import base64

import msgspec

from cavvy.core.legacy_receipt import is_legacy, open_legacy
from cavvy.core.receipt import open_envelope
from cavvy.protocol.rest_receipt import ReceiptView

__all__ = ["receipt_view"]


def receipt_view(receipt: bytes) -> ReceiptView:
    """What the worker signed, flat. Only what was verified is stored."""
    opened = open_legacy(receipt) if is_legacy(receipt) else open_envelope(receipt)
    signature = base64.b64encode(opened.signature).decode()
    return ReceiptView(**msgspec.structs.asdict(opened.payload), signature=signature, verified=True)
