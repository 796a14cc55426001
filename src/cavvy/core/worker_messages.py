"""What may happen to a worker, and what its core asks the shell to do: tagged unions of plain data."""

from __future__ import annotations

from typing import Literal

import msgspec

from cavvy import defaults
from cavvy.core.job import AttemptRef, RejectReason
from cavvy.core.writes import Usage

__all__ = [
    "AbortAttempt",
    "AssignReceived",
    "Assignment",
    "AttemptFailed",
    "AttemptFinished",
    "AttemptRefused",
    "AttemptStarted",
    "AttemptStopped",
    "CancelReceived",
    "CompleteAckReceived",
    "ConnectFailed",
    "Connected",
    "Disconnected",
    "DrainReceived",
    "ErrorReceived",
    "FailedCode",
    "GaveUp",
    "Heard",
    "HeartbeatAckReceived",
    "Leave",
    "LeaveRequested",
    "PingReceived",
    "ResendText",
    "ResumeVerdict",
    "RunAttempt",
    "SendComplete",
    "SendDrain",
    "SendFailed",
    "SendHeartbeat",
    "SendRejected",
    "SendStarted",
    "SendStopped",
    "StoreChanged",
    "Tick",
    "WorkerCommand",
    "WorkerEffect",
]


#: Why an attempt failed, as far as a worker may say.
FailedCode = Literal["worker_error", "input_too_large", "output_too_large", "context_truncated", "invalid_output"]


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A grant as it came. `input` and `params` are the bytes that are hashed; `salt` is hex."""

    job_id: str
    epoch: int
    job_type: str
    privacy_class: str
    salt: str
    input: bytes
    params: bytes
    payment_ref: str | None = None

    @property
    def ref(self) -> AttemptRef:
        return AttemptRef(self.job_id, self.epoch)


class ResumeVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The coordinator's word on an attempt that `register` named; `offset` is where its text is wanted from."""

    ref: AttemptRef
    verdict: Literal["go_on", "stop", "stale", "accepted"]
    offset: int = 0


class _Command(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class Connected(_Command, frozen=True, kw_only=True, tag=True):
    """`register_ack` has come and is genuine."""

    heartbeat_s: float
    lease_ttl_s: float = defaults.LEASE_TTL_S
    resume: tuple[ResumeVerdict, ...] = ()


class Disconnected(_Command, frozen=True, kw_only=True, tag=True):
    pass


class ConnectFailed(_Command, frozen=True, kw_only=True, tag=True):
    """A try to connect came to nothing. `refused`: the machine answered that nobody listens there."""

    refused: bool


class StoreChanged(_Command, frozen=True, kw_only=True, tag=True):
    """The coordinator was restored from a backup: what is held, and known of what ended, is of another store."""


class Heard(_Command, frozen=True, kw_only=True, tag=True):
    """The coordinator has given a sign of life that is none of the others."""


class AssignReceived(_Command, frozen=True, kw_only=True, tag=True):
    assignment: Assignment


class CancelReceived(_Command, frozen=True, kw_only=True, tag=True):
    ref: AttemptRef


class CompleteAckReceived(_Command, frozen=True, kw_only=True, tag=True):
    """The result is durably decided, whichever way."""

    ref: AttemptRef


class HeartbeatAckReceived(_Command, frozen=True, kw_only=True, tag=True):
    lost: tuple[AttemptRef, ...] = ()


class DrainReceived(_Command, frozen=True, kw_only=True, tag=True):
    """Take nothing new, and leave when everything has ended and is delivered."""


class LeaveRequested(_Command, frozen=True, kw_only=True, tag=True):
    """The worker's owner wants it to end: what runs has `within_s` to end, the rest is given back. It may come again,
    with less.
    """

    within_s: float


class PingReceived(_Command, frozen=True, kw_only=True, tag=True):
    pass


class ErrorReceived(_Command, frozen=True, kw_only=True, tag=True):
    """A frame about this attempt was refused and changed nothing."""

    ref: AttemptRef
    code: str


class AttemptStarted(_Command, frozen=True, kw_only=True, tag=True):
    ref: AttemptRef


class AttemptFinished(_Command, frozen=True, kw_only=True, tag=True):
    """The provider is done: the result's RFC 8785 bytes and the receipt's envelope."""

    ref: AttemptRef
    result: bytes
    receipt: bytes


class AttemptFailed(_Command, frozen=True, kw_only=True, tag=True):
    """The attempt ended without a result, or its result turned out not to fit a frame."""

    ref: AttemptRef
    code: FailedCode
    message: str
    retryable: bool
    usage: Usage | None = None


class AttemptRefused(_Command, frozen=True, kw_only=True, tag=True):
    """No provider of this worker can run it, another worker's may."""

    ref: AttemptRef
    message: str


class AttemptStopped(_Command, frozen=True, kw_only=True, tag=True):
    """An aborted attempt's provider is idle."""

    ref: AttemptRef
    usage: Usage | None = None


class Tick(_Command, frozen=True, kw_only=True, tag=True):
    """Time has passed."""


class _Effect(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class RunAttempt(_Effect, frozen=True, kw_only=True, tag=True):
    assignment: Assignment


class AbortAttempt(_Effect, frozen=True, kw_only=True, tag=True):
    """Stop it at its provider; one of the three ends of an attempt is reported when the provider is idle."""

    ref: AttemptRef


class GaveUp(_Effect, frozen=True, kw_only=True, tag=True):
    """These were stopped because nothing was heard of the coordinator for `unheard_s`. To be told to people."""

    refs: tuple[AttemptRef, ...]
    unheard_s: float


class ResendText(_Effect, frozen=True, kw_only=True, tag=True):
    """Send the attempt's text again from `offset` (code points)."""

    ref: AttemptRef
    offset: int


class SendHeartbeat(_Effect, frozen=True, kw_only=True, tag=True):
    held: tuple[AttemptRef, ...]
    free: int


class SendStarted(_Effect, frozen=True, kw_only=True, tag=True):
    ref: AttemptRef


class SendComplete(_Effect, frozen=True, kw_only=True, tag=True):
    ref: AttemptRef
    result: bytes
    receipt: bytes


class SendFailed(_Effect, frozen=True, kw_only=True, tag=True):
    ref: AttemptRef
    code: FailedCode
    message: str
    retryable: bool
    usage: Usage | None = None


class SendStopped(_Effect, frozen=True, kw_only=True, tag=True):
    """`stopped_ms`: how long its provider took to be idle, once it was asked to stop."""

    ref: AttemptRef
    usage: Usage | None = None
    stopped_ms: int | None = None


class SendRejected(_Effect, frozen=True, kw_only=True, tag=True):
    ref: AttemptRef
    reason: RejectReason
    message: str


class SendDrain(_Effect, frozen=True, kw_only=True, tag=True):
    """Says that this connection takes nothing new."""


class Leave(_Effect, frozen=True, kw_only=True, tag=True):
    """Nothing is left to do: close the connection behind what is on its way, and end."""


WorkerCommand = (
    Connected
    | Disconnected
    | ConnectFailed
    | StoreChanged
    | Heard
    | DrainReceived
    | LeaveRequested
    | AssignReceived
    | CancelReceived
    | CompleteAckReceived
    | HeartbeatAckReceived
    | PingReceived
    | ErrorReceived
    | AttemptStarted
    | AttemptFinished
    | AttemptFailed
    | AttemptRefused
    | AttemptStopped
    | Tick
)
WorkerEffect = (
    RunAttempt
    | AbortAttempt
    | GaveUp
    | ResendText
    | SendHeartbeat
    | SendStarted
    | SendComplete
    | SendFailed
    | SendStopped
    | SendRejected
    | SendDrain
    | Leave
)
