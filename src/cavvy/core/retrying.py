"""Another try: which ends of an attempt lead to one, when it begins, and which workers do not get it.

| the attempt | counts as a try | the job waits | its worker |
| --- | --- | --- | --- |
| failed, another try may go better | yes | 1 s, doubling to a minute | is passed over if another is there |
| failed with a receipt that does not verify | yes | the same | the same |
| lost after it had started | yes | not at all | may take it up again |
| rejected | no | not at all | is passed over, 1 s doubling to a minute |

After the last try the job fails for what ended that one; after too many rejections nobody is eligible for it.
"""

from __future__ import annotations

from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.board import Board
from cavvy.core.commands import JobFailed, JobRejected, RunAgain
from cavvy.core.effects import Reply, ReplyCode, WorkerCooled
from cavvy.core.erasing import Eraser
from cavvy.core.fleet import Session
from cavvy.core.job import AttemptRef, FailureCode, JobHeader, JobStatus, Now, RejectReason, Terms
from cavvy.core.latch import StopLatch
from cavvy.core.lifecycle import Event
from cavvy.core.matching import refusal
from cavvy.core.outbox import Outbox
from cavvy.core.stopping import Stopping
from cavvy.core.tries import backoff_s
from cavvy.core.writes import RetryJob

__all__ = ["Retrying"]

#: What the same prompt meets again wherever it goes.
NEVER_RETRIED = frozenset({FailureCode.INPUT_TOO_LARGE, FailureCode.OUTPUT_TOO_LARGE, FailureCode.CONTEXT_TRUNCATED})


class Retrying:
    """What a worker says about an attempt that it did not bring to its end, and who wants a failed job to run again."""

    def __init__(self, board: Board, stopping: Stopping, eraser: Eraser, out: Outbox) -> None:
        self._board = board
        self._stopping = stopping
        self._eraser = eraser
        self._out = out

    def failed(self, session: Session, job: JobHeader, command: JobFailed, now: Now) -> None:
        session.occupied.discard(AttemptRef(job.id, job.epoch))
        code = FailureCode(command.code)
        if command.retryable and code not in NEVER_RETRIED:
            event = Event.FAILED_FOR_NOW
            self._pass_over(session, job, now)
        else:
            event = Event.FAILED
        self._board.event(job, event, now, message=command.message, code=code, usage=command.usage)

    def receipt_rejected(self, session: Session, job: JobHeader, why: str, now: Now) -> None:
        """A receipt that does not verify says something about its worker, not about the job."""
        session.occupied.discard(AttemptRef(job.id, job.epoch))
        self._pass_over(session, job, now)
        self._board.event(job, Event.RECEIPT_REJECTED, now, message=f"The worker's receipt was refused: {why}.")

    def rejected(self, session: Session, job: JobHeader, command: JobRejected, now: Now) -> None:
        session.occupied.discard(AttemptRef(job.id, job.epoch))
        message = command.message or f"Its worker did not take it ({command.reason})."
        if command.reason is RejectReason.DRAINING:
            session.draining = True
            self._board.event(job, Event.DRAINED, now, message=message)
            return
        times = job.note_rejection(session.worker)
        job.exclude(session.worker, now.mono_s + backoff_s(times))
        self._cool_down(session, now)
        self._board.event(job, Event.REJECTED, now, message=message)

    def run_again(self, command: RunAgain, now: Now) -> None:
        """The one way out of `failed`. The new run starts clean: the attempts before stay, and none comes back."""
        terms = _terms_of_a_run(command.job, now)
        code, latch = self._refusal(command.job, terms, now)
        if code is not None:
            live = self._board.jobs.get(command.job.id)
            self._out.effect(Reply(ref=command.ref, code=code, stop=latch, status=live.status if live else None))
            return
        cleared = {"tries": 0, "cancel": None, "lost": False, "lost_counted": False, "seen": None}
        job = replace(command.job, status=JobStatus.PENDING, terms=terms, **cleared)
        changed = None if terms is command.job.terms else terms
        self._out.write(RetryJob(job_id=job.id, epoch=job.epoch, retried_at_ms=now.wall_ms, terms=changed))
        self._board.reopen(job, now)
        self._out.reply(command.ref, ReplyCode.OK, job_id=job.id, status=job.status)

    def _refusal(self, job: JobHeader, terms: Terms, now: Now) -> tuple[ReplyCode | None, StopLatch | None]:
        """Why it may not run again, if it may not."""
        tenant, deadline_ms = job.needs.tenant, terms.deadline_at_ms
        if job.id in self._board.jobs:
            return ReplyCode.NOT_FAILED, None
        if self._eraser.has(job.id):
            return ReplyCode.ERASED, None
        if (latch := self._stopping.covers(tenant, job.seq)) is not None:
            return ReplyCode.STOPPED, latch
        if deadline_ms is not None and deadline_ms <= now.wall_ms:
            return ReplyCode.DEADLINE_PASSED, None
        return (ReplyCode.QUEUE_FULL if self._board.backlog.full(tenant) else None), None

    def started(self, session: Session) -> None:
        """A worker that begins a job does not reject one after the other."""
        session.rejections = 0

    def sweep(self, now: Now) -> None:
        """Workers that have cooled down get work again."""
        for session in self._board.fleet:
            if session.cooling_until_s is not None and now.mono_s >= session.cooling_until_s:
                session.cooling_until_s = None

    def _pass_over(self, session: Session, job: JobHeader, now: Now) -> None:
        """Lets the others have it first, if there are others."""
        if self._another_could(session, job):
            pause_s = backoff_s(job.tries + 1) + defaults.RETRY_ELSEWHERE_S
            job.exclude(session.worker, now.mono_s + pause_s)

    def _another_could(self, session: Session, job: JobHeader) -> bool:
        others = (one for one in self._board.fleet if one is not session and one.serving)
        return any(refusal(job.needs, one.profile) is None for one in others)

    def _cool_down(self, session: Session, now: Now) -> None:
        session.rejections += 1
        if session.rejections < defaults.REJECTS_IN_A_ROW:
            return
        session.rejections = 0
        session.cooling_until_s = now.mono_s + defaults.REJECT_COOL_DOWN_S
        until_ms = now.wall_ms + round(defaults.REJECT_COOL_DOWN_S * 1000)
        self._out.effect(WorkerCooled(session=session.id, until_ms=until_ms))


def _terms_of_a_run(job: JobHeader, now: Now) -> Terms:
    """A job that was committed has its time from the commit, not until a moment that somebody chose: its retry is as a
    commit now.
    """
    if job.needs.policy is None:
        return job.terms
    return replace(job.terms, deadline_at_ms=now.wall_ms + round(job.terms.timeout_s * 1000))
