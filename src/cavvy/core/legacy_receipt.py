"""Receipts of Dispatch's workers: five fields, signed as JavaScript writes them, in the order in which they came.

What is kept is `{"receipt":…,"signature":"…"}`; the bytes of the member `receipt` are what was signed. Weaker than
Cavvy's own receipts (core/receipt.py): nothing in them names the coordinator or the attempt.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cavvy import defaults
from cavvy.core import ed25519, javascript
from cavvy.core.receipt import Stamp
from cavvy.errors import ReceiptInvalid

__all__ = [
    "LegacyReceipt",
    "OpenedLegacyReceipt",
    "check_legacy",
    "check_legacy_signature",
    "is_legacy",
    "open_legacy",
    "seal_as_sent",
]

_START = b'{"receipt":'
Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
Ref = Annotated[str, Meta(min_length=1, max_length=defaults.MAX_NAME_CHARS)]


class LegacyReceipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed. `completed_at` is the worker's claim; `output_hash` is SHA-256 of JSON.stringify(output)."""

    job_id: Ref
    provider_pubkey: Hex32
    output_hash: Hex32
    completed_at: Stamp
    payment_ref: Ref | None


class OpenedLegacyReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed receipt, nothing checked yet beyond its form."""

    payload: LegacyReceipt
    payload_bytes: bytes
    signature: bytes


def seal_as_sent(receipt: Any, signature: Any) -> bytes:
    """What is kept of a receipt and its signature as they came in a frame, whatever they are; `open_legacy` judges it.

    Raises ValueError for what is nested too deep.
    """
    return javascript.stringify({"receipt": receipt, "signature": signature})


def is_legacy(envelope: bytes) -> bool:
    """Whether this is meant to be a receipt of Dispatch's form."""
    return envelope.startswith(_START)


def open_legacy(envelope: bytes) -> OpenedLegacyReceipt:
    """Takes apart what `seal_as_sent` made. Raises ReceiptInvalid when its form is wrong."""
    if len(envelope) > defaults.MAX_LEGACY_RECEIPT_BYTES:
        raise ReceiptInvalid(f"it is longer than {defaults.MAX_LEGACY_RECEIPT_BYTES} bytes")
    try:
        whole = javascript.parse(envelope.decode())
        if not isinstance(whole, dict) or set(whole) != {"receipt", "signature"}:
            raise ValueError("it must be an object of a receipt and its signature")
        payload = msgspec.convert(whole["receipt"], LegacyReceipt)
        signature = _signature(whole["signature"])
        if javascript.stringify(whole) != envelope:
            raise ValueError("it is not as JavaScript writes it")
        message = javascript.stringify(whole["receipt"])
    except (msgspec.ValidationError, ValueError) as error:
        why = javascript.mended(str(error))[: defaults.MAX_NAME_CHARS]
        raise ReceiptInvalid(f"the receipt cannot be read: {why}") from error
    return OpenedLegacyReceipt(payload=payload, payload_bytes=message, signature=signature)


def check_legacy_signature(opened: OpenedLegacyReceipt) -> None:
    """Raises ReceiptInvalid unless the payload is signed by the sound key it names."""
    key = bytes.fromhex(opened.payload.provider_pubkey)
    if not ed25519.is_valid_key(key):
        raise ReceiptInvalid("provider_pubkey is not a sound Ed25519 key")
    if not ed25519.verify(key, opened.payload_bytes, opened.signature):
        raise ReceiptInvalid("the signature is wrong")


def check_legacy(
    opened: OpenedLegacyReceipt, output_hash: str, *, job_id: str, worker: str, payment_ref: str | None = None
) -> None:
    """The coordinator's full check, against the hash of what came. Raises ReceiptInvalid naming the first thing that
    is wrong. A worker is not told the job's `payment_ref`, so that its receipt need not carry it.
    """
    payload = opened.payload
    claims = (
        ("job_id", payload.job_id, job_id),
        ("provider_pubkey", payload.provider_pubkey, worker),
        ("output_hash", payload.output_hash, output_hash),
        ("payment_ref", payload.payment_ref or payment_ref, payment_ref),
    )
    for name, claimed, known in claims:
        if claimed != known:
            raise ReceiptInvalid(f"{name} is {claimed!r}, should be {known!r}")
    check_legacy_signature(opened)


def _signature(text: Any) -> bytes:
    """Standard base64 with its padding, and only the one spelling of it."""
    if not isinstance(text, str):
        raise ValueError("the signature must be base64 text")
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the signature is not base64") from None
    if base64.b64encode(signature).decode() != text:
        raise ValueError("the signature is not base64 as one writes it")
    return signature
