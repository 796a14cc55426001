"""Between the worker's core and the wire: the command behind a frame that came, the frame for what is to be said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cavvy.core.job import AttemptRef
from cavvy.core.worker_messages import (
    Assignment,
    AssignReceived,
    CancelReceived,
    CompleteAckReceived,
    ErrorReceived,
    HeartbeatAckReceived,
    PingReceived,
    ResumeVerdict,
    SendComplete,
    SendDrain,
    SendFailed,
    SendHeartbeat,
    SendRejected,
    SendStarted,
    SendStopped,
    WorkerCommand,
)
from cavvy.protocol.messages import (
    CompleteAck,
    CoordinatorMessage,
    Draining,
    ErrorMessage,
    HeartbeatAck,
    HeartbeatMessage,
    JobAssign,
    JobCancel,
    JobComplete,
    JobFailedMessage,
    JobReject,
    JobStartedMessage,
    JobStoppedMessage,
    Ping,
    ResumeEntry,
    WorkerMessage,
)

__all__ = ["FRAMES", "command_of", "verdict_of"]


def command_of(message: CoordinatorMessage) -> WorkerCommand | None:
    """The command behind a frame; None for one that means nothing after login."""
    match message:
        case JobAssign():
            return AssignReceived(assignment=_assignment(message))
        case CompleteAck():
            return CompleteAckReceived(ref=AttemptRef(message.job_id, message.epoch))
        case HeartbeatAck():
            return HeartbeatAckReceived(lost=message.lost)
        case JobCancel():
            return CancelReceived(ref=AttemptRef(message.job_id, message.epoch))
        case Ping():
            return PingReceived()
        case ErrorMessage(job_id=str() as job_id, epoch=int() as epoch):
            return ErrorReceived(ref=AttemptRef(job_id, epoch), code=message.code)
        case _:
            return None


def verdict_of(entry: ResumeEntry) -> ResumeVerdict:
    return ResumeVerdict(ref=AttemptRef(entry.job_id, entry.epoch), verdict=entry.verdict, offset=entry.offset)


def _assignment(message: JobAssign) -> Assignment:
    return Assignment(
        job_id=message.job_id,
        epoch=message.epoch,
        job_type=message.job_type,
        privacy_class=message.privacy_class,
        salt=message.salt,
        input=bytes(message.input),
        params=bytes(message.params),
        payment_ref=message.payment_ref,
    )


def _complete(effect: SendComplete) -> JobComplete:
    return JobComplete(
        job_id=effect.ref.job_id,
        epoch=effect.ref.epoch,
        result=msgspec.Raw(effect.result),
        receipt=msgspec.Raw(effect.receipt),
    )


def _failed(effect: SendFailed) -> JobFailedMessage:
    return JobFailedMessage(
        job_id=effect.ref.job_id,
        epoch=effect.ref.epoch,
        code=effect.code,
        message=effect.message,
        retryable=effect.retryable,
        usage=effect.usage,
    )


def _stopped(effect: SendStopped) -> JobStoppedMessage:
    return JobStoppedMessage(
        job_id=effect.ref.job_id, epoch=effect.ref.epoch, usage=effect.usage, stopped_ms=effect.stopped_ms
    )


def _rejected(effect: SendRejected) -> JobReject:
    return JobReject(job_id=effect.ref.job_id, epoch=effect.ref.epoch, reason=effect.reason, message=effect.message)


#: The frame for each effect that is nothing but one.
FRAMES: dict[type, Callable[[Any], WorkerMessage]] = {
    SendHeartbeat: lambda effect: HeartbeatMessage(held=effect.held, free=effect.free),
    SendStarted: lambda effect: JobStartedMessage(job_id=effect.ref.job_id, epoch=effect.ref.epoch),
    SendComplete: _complete,
    SendFailed: _failed,
    SendStopped: _stopped,
    SendRejected: _rejected,
    SendDrain: lambda _: Draining(),
}
