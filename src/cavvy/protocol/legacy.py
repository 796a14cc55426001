"""Dispatch's frames between a coordinator and its workers: JSON text over one WebSocket, told apart by `type`.

Workers ignore what they do not know, so that an answer they have no name for is harmless. What they hash and sign is
kept as JavaScript reads it (core/javascript.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from cavvy import defaults
from cavvy.core import javascript
from cavvy.core.job import JobType
from cavvy.core.legacy_receipt import seal_as_sent

__all__ = [
    "LegacyAssign",
    "LegacyComplete",
    "LegacyError",
    "LegacyFrame",
    "LegacyHeartbeat",
    "LegacyHeartbeatAck",
    "LegacyReceiptSubmit",
    "LegacyRegister",
    "LegacyRegisterAck",
    "LegacyReject",
    "RegistrationError",
    "UnknownFrameError",
    "challenge_payload",
    "decode_legacy_frame",
    "payload_of",
]

Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
Id = Annotated[str, Meta(max_length=defaults.MAX_NAME_CHARS)]

#: A task any of its workers can do, or at least sign that it cannot.
_CHALLENGE = {"job_type": "TASK", "task_type": "classify", "input": "This is a good day."}


class UnknownFrameError(ValueError):
    """A frame of a type that is not Dispatch's."""


class RegistrationError(ValueError):
    """A register frame that cannot be one."""


class LegacyRegister(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="register"):
    """Who it says it is. Nothing of it is proven."""

    provider_pubkey: Hex32
    provider_type: Literal["DESKTOP", "SEEKER"]
    capabilities: Annotated[list[Literal["LLM_INFER", "TASK"]], Meta(min_length=1, max_length=8)]


class LegacyHeartbeat(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="heartbeat"):
    provider_pubkey: str


class LegacyComplete(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_complete"):
    """An output, as JSON.stringify writes it, and what its worker signed, as `seal_as_sent` keeps it (None if nothing).
    Neither is more than what came; both are nothing (b"") where it is nested deeper than any reader likes.
    """

    job_id: Id
    output: bytes
    output_hash: Any = None
    receipt: bytes | None = None


class LegacyReject(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_reject"):
    job_id: Id
    reason: str = ""


class LegacyReceiptSubmit(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="receipt_submit"):
    """A receipt that comes by itself, as above; `job_id` is what it names as its job."""

    job_id: Any
    receipt: bytes


LegacyFrame = LegacyRegister | LegacyHeartbeat | LegacyComplete | LegacyReject | LegacyReceiptSubmit
_TYPES = frozenset({"register", "heartbeat", "job_complete", "job_reject", "receipt_submit"})


class LegacyRegisterAck(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="register_ack"
):
    status: Literal["ok", "error"]
    worker_id: str | None = None
    error: str | None = None


class LegacyHeartbeatAck(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="heartbeat_ack"):
    status: Literal["ok"] = "ok"


class LegacyAssign(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_assign"):
    """`user_id` is a name for the user that only this worker gets."""

    job_id: str
    job_type: str
    payload: dict[str, Any]
    policy: str
    privacy_class: str
    user_id: str


class LegacyError(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    code: str
    message: str


def decode_legacy_frame(text: str) -> LegacyFrame:
    """Raises UnknownFrameError, RegistrationError, and ValueError for what is no frame at all."""
    value = javascript.parse(text)
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise ValueError("a frame is a JSON object with a type")
    if value["type"] not in _TYPES:
        raise UnknownFrameError("this type of frame is not known")
    try:
        frame: LegacyFrame = msgspec.convert(_READ.get(value["type"], dict)(value), LegacyFrame)
    except msgspec.ValidationError as error:
        if value["type"] == "register":
            raise RegistrationError(str(error)) from error
        raise
    return frame


def _complete(value: dict[str, Any]) -> dict[str, Any]:
    receipt, signature = value.get("receipt"), value.get("receipt_signature")
    signed = receipt is not None or signature is not None
    return {
        **value,
        "output": _written(javascript.stringify, value.get("output")),
        "receipt": _written(seal_as_sent, receipt, signature) if signed else None,
    }


def _receipt(value: dict[str, Any]) -> dict[str, Any]:
    receipt = value.get("receipt")
    if not isinstance(receipt, dict):
        raise ValueError("a receipt is a JSON object")
    return {
        "type": value["type"],
        "job_id": receipt.get("job_id"),
        "receipt": _written(seal_as_sent, receipt, value.get("signature")),
    }


def _written(write: Callable[..., bytes], *what: Any) -> bytes:
    try:
        return write(*what)
    except ValueError:
        return b""


#: What is made of the frames whose content is signed.
_READ: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"job_complete": _complete, "receipt_submit": _receipt}


def payload_of(job_type: str, body: bytes, params: bytes) -> dict[str, Any]:
    """What Dispatch's clients sent, from what is kept of it."""
    payload: dict[str, Any] = {"job_type": job_type, **msgspec.json.decode(body, type=dict[str, Any])}
    max_tokens = msgspec.json.decode(params, type=dict[str, Any]).get("max_tokens")
    if job_type == JobType.LLM_INFER and max_tokens is not None:
        payload["max_tokens"] = max_tokens
    return payload


def challenge_payload() -> dict[str, Any]:
    """What a worker is asked to do to prove its key."""
    return dict(_CHALLENGE)
