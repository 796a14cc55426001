"""Receipts to check, right and wrong ones."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import msgspec

from cavvy.core import ed25519
from cavvy.core.canonical import canonical_flat, sha256_hex
from cavvy.core.javascript import stringify
from cavvy.core.receipt import PAYLOAD_TYPE, ReceiptPayload, seal
from cavvy.core.results import Result
from cavvy.core.writes import Usage
from tests.unit.client.fake_coordinator import JOB_ID

SEED = bytes(range(32))
KEY = ed25519.public_key(SEED).hex()
OTHER_KEY = ed25519.public_key(bytes(32)).hex()
SMALL_ORDER_KEY = "01" + "00" * 31
RESULT = canonical_flat(Result(text="Paris.", model="m", finish_reason="stop"))


class Sealed(NamedTuple):
    envelope: bytes
    result: bytes = RESULT
    key: str = KEY


def payload(**changes: Any) -> ReceiptPayload:
    fields: dict[str, Any] = {
        "v": 2, "coordinator": "cc" * 32, "job_id": JOB_ID, "provider_pubkey": KEY, "attempt": 1,
        "status": "completed", "input_hash": "aa" * 32, "output_hash": sha256_hex(RESULT), "params_hash": "bb" * 32,
        "model": "m", "privacy_class": "PUBLIC", "started_at": "2026-01-01T00:00:00.000Z",
        "completed_at": "2026-01-01T00:00:01.000Z", "usage": Usage(input_tokens=1, output_tokens=2),
        "payment_ref": None,
    }  # fmt: skip
    return ReceiptPayload(**(fields | changes))


def sealed(**changes: Any) -> bytes:
    return seal(payload(**changes), SEED)


def shown() -> dict[str, Any]:
    """`sealed` as a job shows it."""
    signature = msgspec.json.decode(sealed())["signatures"][0]["sig"]
    view: dict[str, Any] = msgspec.to_builtins(payload()) | {"signature": signature, "verified": True}
    return view


def legacy(result: bytes) -> dict[str, Any]:
    """A receipt of a worker of Dispatch's for `result`, as a job shows it."""
    signed = {
        "job_id": JOB_ID, "provider_pubkey": KEY, "output_hash": sha256_hex(result),
        "completed_at": "2026-01-01T00:00:01.000Z", "payment_ref": None,
    }  # fmt: skip
    signature = base64.b64encode(ed25519.sign(SEED, stringify(signed))).decode()
    return signed | {"signature": signature, "verified": True}


def tampered() -> bytes:
    """The signature of one payload under another."""
    right, wrong = msgspec.json.decode(sealed()), msgspec.json.decode(sealed(model="another"))
    return msgspec.json.encode(right | {"payload": wrong["payload"]})


def of_small_order() -> bytes:
    """A forgery that a lax verifier accepts: for a key of small order, R = the key and S = 0 fit any message."""
    forged = bytes.fromhex(SMALL_ORDER_KEY) + bytes(32)
    envelope = {
        "payload": base64.b64encode(canonical_flat(payload(provider_pubkey=SMALL_ORDER_KEY))).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": SMALL_ORDER_KEY, "sig": base64.b64encode(forged).decode()}],
    }
    return msgspec.json.encode(envelope)
