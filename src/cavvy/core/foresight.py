"""What a stop will do, told before it is decided: while the store takes no writes it must hold all the same.

Nothing here changes anything. The command itself is decided and written in its turn.
"""

from __future__ import annotations

from typing import NamedTuple

from cavvy.core.board import Board
from cavvy.core.commands import CancelJob, CancelThread, StopTenant
from cavvy.core.effects import Reply, ReplyCode, StopAttempt
from cavvy.core.job import CancelRequest, JobHeader, Now
from cavvy.core.latch import StopLatch, Stopped

__all__ = ["Foreseen", "StopCommand", "concerns", "foresee"]

StopCommand = CancelJob | CancelThread | StopTenant


class Foreseen(NamedTuple):
    """The answer that can be given now, and whom to tell."""

    reply: Reply
    told: list[StopAttempt]


def concerns(command: StopCommand, job: JobHeader) -> bool:
    """Whether `command` is about to end `job`."""
    if job.needs.tenant != command.tenant:
        return False
    match command:
        case CancelJob(job_id=job_id):
            return job.id == job_id
        case CancelThread(thread=thread):
            return job.thread_id == thread
        case StopTenant():
            return True


def foresee(board: Board, command: StopCommand, held: StopLatch | None, last_seq: int, now: Now) -> Foreseen:
    """`held` is the stop that its tenant has already."""
    jobs = [job for job in _candidates(board, command) if concerns(command, job)]
    request = CancelRequest(by=command.by, reason=command.reason, at_ms=now.wall_ms)
    reply = Reply(
        ref=command.ref,
        code=ReplyCode.OK if jobs or not isinstance(command, CancelJob) else ReplyCode.NOT_FOUND,
        cancel=request if jobs else None,
        stop=(held or _latch(command, request, last_seq)) if isinstance(command, StopTenant) else None,
        stopped=Stopped(running=sum(job.active for job in jobs), pending=sum(not job.active for job in jobs)),
    )
    return Foreseen(reply, [told for job in jobs if (told := _told(board, job, request)) is not None])


def _candidates(board: Board, command: StopCommand) -> list[JobHeader]:
    if isinstance(command, CancelJob):
        job = board.jobs.get(command.job_id)
        return [] if job is None else [job]
    if isinstance(command, CancelThread):
        return board.threads.of(command.tenant, command.thread)
    return list(board.jobs.values())


def _latch(command: StopTenant, request: CancelRequest, last_seq: int) -> StopLatch:
    return StopLatch(
        tenant=command.tenant,
        stop_seq=last_seq,
        by=request.by,
        reason=request.reason,
        at_ms=request.at_ms,
        latched=command.latch,
    )


def _told(board: Board, job: JobHeader, request: CancelRequest) -> StopAttempt | None:
    lease = board.leases.get(job.id)
    if lease is None or lease.session is None:
        return None
    reason = request.reason or f"cancelled by {request.by}"
    return StopAttempt(session=lease.session, job_id=job.id, epoch=job.epoch, reason=reason)
