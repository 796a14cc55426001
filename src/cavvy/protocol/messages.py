"""Worker protocol v1: JSON text frames over one WebSocket, told apart by `type`.

After `register_ack` identity is the socket: no later frame names a worker. Job frames carry `job_id` and `epoch`. A
reader
ignores fields it does not know (a newer peer may send them) and answers a frame it cannot read with `error`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from cavvy import defaults
from cavvy.core.job import AttemptRef, RejectReason, WorkerStatus
from cavvy.core.writes import Usage

__all__ = [
    "VERSION",
    "Capabilities",
    "CompleteAck",
    "CoordinatorMessage",
    "Drain",
    "Draining",
    "ErrorMessage",
    "HeartbeatAck",
    "HeartbeatMessage",
    "Hello",
    "JobAssign",
    "JobCancel",
    "JobComplete",
    "JobDelta",
    "JobFailedMessage",
    "JobReject",
    "JobStartedMessage",
    "JobStoppedMessage",
    "Limits",
    "Ping",
    "Register",
    "RegisterAck",
    "ResumeEntry",
    "StatusMessage",
    "TrustClaim",
    "TrustResult",
    "WorkerMessage",
    "decode_capabilities",
    "decode_coordinator_message",
    "decode_worker_message",
    "encode",
]

VERSION = 1

Name = Annotated[str, Meta(min_length=1, max_length=defaults.MAX_NAME_CHARS)]
# The length, because `$` alone lets a final newline through: one key must not have two spellings.
Hex32 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{128}$", max_length=128)]
JobId = Annotated[str, Meta(min_length=36, max_length=36)]
Epoch = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Held = Annotated[tuple[AttemptRef, ...], Meta(max_length=4 * defaults.MAX_SLOTS)]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker offers. Its exact bytes are under the signature of `register`.

    `commands`: it runs programs, which jobs without a key shall not reach. `kind` is what sort of machine it is.
    `visits`: it comes only to say something (`trust_claim`), takes no work, and leaves another socket of its key alone.
    """

    name: Name
    slots: Annotated[int, Meta(ge=1, le=defaults.MAX_SLOTS)]
    job_types: Annotated[tuple[Literal["LLM_INFER", "TASK"], ...], Meta(min_length=1, max_length=8)]
    models: Annotated[tuple[Name, ...], Meta(max_length=defaults.MAX_MODELS)]
    version: Name
    commands: bool = False
    kind: Literal["DESKTOP", "SEEKER"] | None = None
    visits: bool = False


class Register(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="register"):
    """The worker's answer to `hello`. `sig` (hex) signs the handshake transcript; `token` only when it enrols."""

    provider_pubkey: Hex32
    worker_nonce: Hex32
    instance: Name
    capabilities: msgspec.Raw
    sig: Hex64
    time_ms: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    token: Annotated[str, Meta(max_length=defaults.MAX_NAME_CHARS)] | None = None
    held: Held = ()
    finished: Held = ()


class HeartbeatMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="heartbeat"):
    """Renews the attempts it names; `free` is how many more jobs the worker would take."""

    held: Held
    free: Annotated[int, Meta(ge=0, le=defaults.MAX_SLOTS)]


class JobStartedMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_started"):
    job_id: JobId
    epoch: Epoch


class JobDelta(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_delta"):
    """Text of a running attempt; `offset` counts the Unicode code points of text before it.

    `reasoning` is what the model thinks: shown while it happens, never sent again, no part of the result.
    """

    job_id: JobId
    epoch: Epoch
    offset: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    text: str
    kind: Literal["text", "reasoning"] = "text"


class JobComplete(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_complete"):
    """`result` are RFC 8785 bytes, `receipt` the DSSE envelope over them; both are kept as sent."""

    job_id: JobId
    epoch: Epoch
    result: msgspec.Raw
    receipt: msgspec.Raw


class JobFailedMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_failed"):
    job_id: JobId
    epoch: Epoch
    code: Literal["worker_error", "input_too_large", "output_too_large", "context_truncated", "invalid_output"]
    message: str
    retryable: bool
    usage: Usage | None = None


class JobStoppedMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_stopped"):
    """The attempt has ended at the provider, because it was cancelled; `usage` is what it had used, `stopped_ms` how
    long the provider took to be idle.
    """

    job_id: JobId
    epoch: Epoch
    usage: Usage | None = None
    stopped_ms: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None


class JobReject(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_reject"):
    """The worker does not take this grant: it goes to another one, uncounted. `message` says more, for people."""

    job_id: JobId
    epoch: Epoch
    reason: RejectReason
    message: str = ""


class Draining(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="drain"):
    """The worker leaves: it takes nothing new, and what it still holds when it closes is granted to others at once."""


class TrustClaim(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="trust_claim"):
    """The worker asks for the trust of the user who made this code; answered by `trust_result`."""

    code: Annotated[str, Meta(min_length=1, max_length=defaults.MAX_TRUST_CODE_CHARS)]


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="hello"):
    """The coordinator's first frame: its key (hex), a nonce, and which store it speaks for.

    A coordinator restored from a backup has the same key and another `store_id`: attempts of another store are void.
    """

    version: int
    coordinator_key: Hex32
    server_nonce: Hex32
    store_id: Annotated[str, Meta(max_length=defaults.MAX_NAME_CHARS)] = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker must keep to (bytes and seconds)."""

    max_frame_bytes: int = defaults.MAX_FRAME_BYTES
    max_output_bytes: int = defaults.MAX_OUTPUT_BYTES
    heartbeat_s: float = defaults.HEARTBEAT_S
    lease_ttl_s: float = defaults.LEASE_TTL_S


class ResumeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of an attempt that `register` named; text is to be sent again from `offset`."""

    job_id: str
    epoch: int
    verdict: Literal["go_on", "stop", "stale", "accepted"]
    offset: int = 0


class RegisterAck(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="register_ack"):
    """Login is done; `sig` is the coordinator's over the same transcript. `skew_ms`: the worker's clock minus ours.

    A worker whose `status` is `draining` has thereby been sent `drain`.
    """

    worker_id: str
    sig: str
    limits: Limits
    skew_ms: int
    status: WorkerStatus = WorkerStatus.APPROVED
    resume: tuple[ResumeEntry, ...] = ()


class JobAssign(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_assign"):
    """A grant. `input` and `params` are hashed as they stand here; `salt` is 32 bytes in hex."""

    job_id: str
    epoch: int
    job_type: str
    privacy_class: str
    salt: str
    input: msgspec.Raw
    params: msgspec.Raw
    payment_ref: str | None = None


class JobCancel(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="job_cancel"):
    job_id: str
    epoch: int
    reason: str


class HeartbeatAck(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="heartbeat_ack"):
    """`lost` names held attempts that are no longer this worker's: stop them."""

    lost: tuple[AttemptRef, ...] = ()


class CompleteAck(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="complete_ack"):
    """Durably decided: the worker may forget the result."""

    job_id: str
    epoch: int
    verdict: Literal["accepted", "stale"]


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="drain"):
    """Take nothing new, finish what runs, deliver it, then leave for good."""


class StatusMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="status"):
    """Somebody changed what this worker may do; it is for those who look at its screen."""

    status: WorkerStatus


class TrustResult(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="trust_result"):
    """What became of a claim. `fingerprint` is that of the key that claimed, which the user compares; `code` is why it
    was refused.
    """

    status: Literal["awaiting_confirmation", "paired", "refused"]
    code: str | None = None
    fingerprint: str | None = None


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="ping"):
    """Asks for a heartbeat now."""


class ErrorMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """A frame was refused and changed nothing."""

    code: str
    message: str
    job_id: str | None = None
    epoch: int | None = None


WorkerMessage = (
    Register
    | HeartbeatMessage
    | JobStartedMessage
    | JobDelta
    | JobComplete
    | JobFailedMessage
    | JobStoppedMessage
    | JobReject
    | Draining
    | TrustClaim
)
CoordinatorMessage = (
    Hello
    | RegisterAck
    | JobAssign
    | JobCancel
    | HeartbeatAck
    | CompleteAck
    | Drain
    | StatusMessage
    | TrustResult
    | Ping
    | ErrorMessage
)

Message = TypeVar("Message")


def _reader(decoder: msgspec.json.Decoder[Message]) -> Callable[[str | bytes | msgspec.Raw], Message]:
    def read(frame: str | bytes | msgspec.Raw) -> Message:
        try:
            return decoder.decode(frame)
        except RecursionError as error:
            raise msgspec.DecodeError("it is nested too deeply") from error

    return read


#: Raise msgspec.DecodeError (of which ValidationError is one) for anything that is not such a frame.
decode_worker_message = _reader(msgspec.json.Decoder(WorkerMessage))
decode_coordinator_message = _reader(msgspec.json.Decoder(CoordinatorMessage))
decode_capabilities = _reader(msgspec.json.Decoder(Capabilities))
_encode = msgspec.json.Encoder().encode


def encode(message: WorkerMessage | CoordinatorMessage) -> str:
    """The frame's text. The sender measures it against `max_frame_bytes` before sending."""
    return _encode(message).decode()
