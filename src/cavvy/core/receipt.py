"""Receipts: a worker's signed statement about one result.

The payload is RFC 8785 JSON in a DSSE envelope (https://github.com/secure-systems-lab/dsse), signed with Ed25519.
Whoever
has the envelope, the worker's key and the result bytes can check it with no coordinator at hand.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec
from msgspec import Meta

from cavvy import defaults
from cavvy.core import ed25519
from cavvy.core.canonical import canonical, canonical_flat, sha256_hex
from cavvy.core.reading import Reading
from cavvy.core.writes import Usage
from cavvy.errors import ReceiptInvalid

__all__ = [
    "PAYLOAD_TYPE",
    "Envelope",
    "Expected",
    "OpenedReceipt",
    "Params",
    "ReceiptPayload",
    "Signature",
    "check",
    "check_signature",
    "envelope",
    "input_hash",
    "open_envelope",
    "params_bytes",
    "seal",
]

PAYLOAD_TYPE = "application/vnd.cavvy.receipt.v2+json"


#: The length, because `$` alone lets a final newline through; the classes, because `\d` takes any script's digits.
Stamp = Annotated[
    str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$", max_length=24)
]


class ReceiptPayload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed: strings and integers only. `attempt` is the epoch; times are the worker's claims (RFC 3339, ms,
    Z).
    """

    v: int
    coordinator: str
    job_id: str
    provider_pubkey: str
    attempt: int
    status: str
    input_hash: str
    output_hash: str
    params_hash: str
    model: str
    privacy_class: str
    started_at: Stamp
    completed_at: Stamp
    usage: Usage
    payment_ref: str | None


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    payload: str
    payload_type: str
    signatures: list[Signature]


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `params_hash` covers, nulls kept: SHA-256 of the RFC 8785 bytes of this object."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stop: list[str] | None = None
    response_format: None = None


def params_bytes(params: Params) -> bytes:
    """The RFC 8785 bytes that `params_hash` covers."""
    return canonical_flat(params) if params.temperature is None else canonical(params)


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What the coordinator knows by itself of an attempt, to hold a receipt against."""

    coordinator: str
    job_id: str
    attempt: int
    worker: str
    input_hash: str
    params_hash: str
    privacy_class: str
    payment_ref: str | None = None


class OpenedReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A well-formed envelope, nothing checked yet beyond its form."""

    payload: ReceiptPayload
    payload_bytes: bytes
    signature: bytes


_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_payload = msgspec.json.Decoder(ReceiptPayload).decode


def input_hash(salt: bytes, body: bytes) -> str:
    """SHA-256(salt ‖ input bytes as assigned): short prompts cannot be guessed from a receipt."""
    return sha256_hex(salt + body)


def seal(payload: ReceiptPayload, seed: bytes) -> bytes:
    """Signs `payload` with the worker's `seed`; the envelope's bytes, to be kept and served as they are."""
    return envelope(payload, base64.b64encode(ed25519.sign(seed, _pae(canonical_flat(payload)))).decode())


def envelope(payload: ReceiptPayload, signature: str) -> bytes:
    """The envelope's bytes of a payload that was signed with this `signature` (base64)."""
    outer = Envelope(
        payload=base64.b64encode(canonical_flat(payload)).decode(),
        payload_type=PAYLOAD_TYPE,
        signatures=[Signature(keyid=payload.provider_pubkey, sig=signature)],
    )
    return msgspec.json.encode(outer)


def open_envelope(envelope: bytes) -> OpenedReceipt:
    """Takes an envelope apart. Raises ReceiptInvalid when its form is wrong or its payload is not canonical."""
    try:
        outer = _decode_envelope(envelope)
        if outer.payload_type != PAYLOAD_TYPE:
            raise ReceiptInvalid(f"payloadType is {outer.payload_type!r}, not {PAYLOAD_TYPE!r}")
        if len(outer.signatures) != 1:
            raise ReceiptInvalid(f"there must be exactly one signature, not {len(outer.signatures)}")
        body = base64.b64decode(outer.payload, validate=True)
        signature = base64.b64decode(outer.signatures[0].sig, validate=True)
        payload = _decode_payload(body)
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError) as error:
        raise ReceiptInvalid(f"the envelope cannot be read: {error}") from error
    if canonical_flat(payload) != body:
        raise ReceiptInvalid("the payload is not in RFC 8785 form")
    if outer.signatures[0].keyid != payload.provider_pubkey:
        raise ReceiptInvalid("keyid and provider_pubkey differ")
    return OpenedReceipt(payload=payload, payload_bytes=body, signature=signature)


def check_signature(receipt: OpenedReceipt) -> None:
    """Raises ReceiptInvalid unless the payload is signed by the sound key it names."""
    try:
        key = bytes.fromhex(receipt.payload.provider_pubkey)
    except ValueError as error:
        raise ReceiptInvalid("provider_pubkey is not hex") from error
    if key.hex() != receipt.payload.provider_pubkey or not ed25519.is_valid_key(key):
        raise ReceiptInvalid("provider_pubkey is not a sound Ed25519 key")
    _check_signed_by(key, receipt)


def _check_signed_by(key: bytes, receipt: OpenedReceipt) -> None:
    if not ed25519.verify(key, _pae(receipt.payload_bytes), receipt.signature):
        raise ReceiptInvalid("the signature is wrong")


def check(receipt: OpenedReceipt, reading: Reading, expected: Expected) -> None:
    """The coordinator's full check of a completion. Raises ReceiptInvalid naming the first thing that is wrong.

    `expected.worker` was found to be a sound key when it enrolled; `reading` is of the bytes that came, in the form
    that was asked for.
    """
    if reading.flaw is not None:
        raise ReceiptInvalid(reading.flaw)
    payload = receipt.payload
    claims = (
        ("v", payload.v, 2),
        ("status", payload.status, "completed"),
        ("coordinator", payload.coordinator, expected.coordinator),
        ("job_id", payload.job_id, expected.job_id),
        ("attempt", payload.attempt, expected.attempt),
        ("provider_pubkey", payload.provider_pubkey, expected.worker),
        ("privacy_class", payload.privacy_class, expected.privacy_class),
        ("input_hash", payload.input_hash, expected.input_hash),
        ("params_hash", payload.params_hash, expected.params_hash),
        ("output_hash", payload.output_hash, reading.output_hash),
        ("model", payload.model, payload.model if reading.model is None else reading.model),
        ("payment_ref", payload.payment_ref, expected.payment_ref),
    )
    for name, claimed, known in claims:
        if claimed != known:
            raise ReceiptInvalid(f"{name} is {claimed!r}, should be {known!r}")
    if not 1 <= len(payload.model) <= defaults.MAX_NAME_CHARS:
        raise ReceiptInvalid(f"model must have 1 to {defaults.MAX_NAME_CHARS} characters")
    _check_signed_by(bytes.fromhex(expected.worker), receipt)


def _pae(body: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the type is inside what is signed."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)
