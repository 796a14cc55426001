"""The coordinator as one state machine: commands and time in, writes and effects out.

The shell feeds it every waiting command, then one `tick`, then commits `take().writes` in one transaction and only then
releases `take().effects`. After a failed commit the shell builds a new one from the store (`restore`), never patches
this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from cavvy.core.attempts import Attempts
from cavvy.core.board import Board
from cavvy.core.census import Census
from cavvy.core.commands import (
    CancelJob,
    CancelThread,
    ClaimTrust,
    Command,
    ConfirmTrust,
    CreateApiKey,
    CreateTenant,
    CreateTrustCode,
    CreateWorkerToken,
    EndTrust,
    EraseJob,
    Heartbeat,
    JobCompleted,
    JobFailed,
    JobRejected,
    JobStarted,
    JobStopped,
    ManageWorker,
    PairWorker,
    Progress,
    RegisterWorker,
    ReleaseStop,
    Retain,
    RevokeApiKey,
    RotateApiKey,
    RunAgain,
    SessionClosed,
    SessionDraining,
    SessionResumed,
    StopTenant,
    SubmitJob,
    Undelivered,
)
from cavvy.core.effects import ReplyCode
from cavvy.core.enrolment import Enrolment, KnownToken, KnownWorker
from cavvy.core.erasing import Eraser
from cavvy.core.foresight import Foreseen, StopCommand, foresee
from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.job import CancelRequest, JobHeader, JobStatus, Now
from cavvy.core.keys import KeyBook
from cavvy.core.latch import StopLatch
from cavvy.core.lifecycle import Event
from cavvy.core.matching import Offer
from cavvy.core.outbox import Batch, Outbox
from cavvy.core.queued import Queued, queued
from cavvy.core.reading import ResultForm
from cavvy.core.retrying import Retrying
from cavvy.core.roster import Roster
from cavvy.core.settings import Settings
from cavvy.core.stopping import Stopping
from cavvy.core.submitting import Submitting
from cavvy.core.timekeeper import Timekeeper
from cavvy.core.trust import Trust
from cavvy.core.trust_book import TrustBook
from cavvy.core.trusting import Trusting

__all__ = ["Batch", "Coordinator", "KnownToken", "KnownWorker", "Settings"]


class Coordinator:
    """`dice(n)` yields n random bytes (salts)."""

    def __init__(self, settings: Settings, dice: Callable[[int], bytes]) -> None:
        self._settings = settings
        self._out = Outbox(settings.lazy_write_s)
        self._board = Board(settings, dice, self._out)
        self._timekeeper = Timekeeper(self._board)
        self._trust_book = TrustBook(self._board.pairings, self._out)
        self._enrolment = Enrolment(self._trust_book, self._out)
        self._roster = Roster(settings, self._board, self._enrolment, self._out)
        self._key_book = KeyBook(self._out, self._board.backlog.waiting.weigh)
        self._stopping = Stopping(self._board, self._out)
        self._eraser = Eraser(self._board, self._out)
        self._retrying = Retrying(self._board, self._stopping, self._eraser, self._out)
        self._submitting = Submitting(settings, self._board, self._stopping, self._out)
        self._attempts = Attempts(settings, self._board, self._retrying, self._out)
        self._trusting = Trusting(self._board, self._enrolment, self._roster, self._trust_book, self._out)
        self._awake_s: float | None = None
        self._swept_s = 0.0
        self._handlers: dict[type, Callable[[Any, Now], None]] = {
            SubmitJob: self._submitting.submit,
            CancelJob: self._cancel,
            CancelThread: self._stopping.cancel_thread,
            RunAgain: self._retrying.run_again,
            StopTenant: self._stop_tenant,
            ReleaseStop: self._stopping.release,
            EraseJob: self._eraser.erase,
            Retain: self._eraser.retain,
            CreateWorkerToken: self._enrolment.create_token,
            ManageWorker: self._roster.manage,
            CreateTrustCode: self._trusting.create,
            ClaimTrust: self._trusting.claim,
            ConfirmTrust: self._trusting.confirm,
            PairWorker: self._trusting.pair,
            EndTrust: self._trusting.end,
            CreateTenant: self._key_book.create_tenant,
            CreateApiKey: self._key_book.create_key,
            RevokeApiKey: self._key_book.revoke,
            RotateApiKey: self._key_book.rotate,
            RegisterWorker: self._roster.register,
            SessionResumed: self._roster.session_resumed,
            SessionClosed: self._roster.session_closed,
            SessionDraining: self._roster.session_draining,
            Heartbeat: self._roster.heartbeat,
            Progress: self._timekeeper.progress,
            JobStarted: self._attempts.started,
            JobCompleted: self._attempts.completed,
            JobFailed: self._attempts.failed,
            JobStopped: self._attempts.stopped,
            JobRejected: self._attempts.rejected,
            Undelivered: self._attempts.undelivered,
        }

    # -- the shell's side

    def restore(
        self,
        rows: Iterable[JobHeader | KnownWorker | KnownToken | ApiKey | Tenant | StopLatch | Trust],
        *,
        seq: int,
        numbers: dict[str, int],
        now: Now,
        grace_until_s: float,
    ) -> None:
        """Takes up what the store holds. Until the grace ends no timer takes work from workers that are coming back."""
        self._submitting.seq, self._submitting.numbers = seq, dict(numbers)
        known = list(rows)
        if any(isinstance(row, KnownWorker) for row in known):
            self._board.backlog.windows.from_s = grace_until_s
        for row in known:
            if isinstance(row, JobHeader):
                self._board.restore_job(row, now, grace_until_s)
            elif isinstance(row, (ApiKey, Tenant)):
                self._key_book.know(row)
            elif isinstance(row, StopLatch):
                self._stopping.know(row)
            elif isinstance(row, Trust):
                self._trust_book.know(row)
            else:
                self._enrolment.know(row)
        self._stopping.resume()
        if self._board.leases:
            self._board.grace_until_s = grace_until_s

    @property
    def grace_until_s(self) -> float:
        """Until when no timer takes work away; it belongs to the start of the process, not to a rebuild."""
        return self._board.grace_until_s

    @property
    def census(self) -> Census:
        """How many live jobs there are, by status."""
        return self._out.census

    @property
    def counters(self) -> tuple[int, dict[str, int]]:
        """The last `seq` and each tenant's last `number`: never given again, not even after a failed commit."""
        return self._submitting.seq, self._submitting.numbers

    def handle(self, command: Command, now: Now) -> None:
        """Decides one command. Raises nothing for anything that came from outside."""
        self._notice_absence(now)
        self._handlers[type(command)](command, now)

    def tick(self, now: Now) -> None:
        """Ends a batch: clocks, then grants. To be called at least every `sweep_s`."""
        self._notice_absence(now)
        if now.mono_s >= self._swept_s + self._settings.sweep_s:
            self._swept_s = now.mono_s
            self._enrolment.sweep(now)
            self._roster.sweep(now)
            self._submitting.forget_old_keys(now)
            self._trusting.sweep(now)
            self._eraser.forget(now)
            self._retrying.sweep(now)
            self._board.sweep_leases(now)
            self._timekeeper.sweep(now)
        elif now.mono_s >= self._board.lapse_s:
            self._board.sweep_leases(now)
        self._timekeeper.tick(now)
        self._board.wake_resting(now)
        self._stopping.advance(now)
        self._board.match(now)

    def _notice_absence(self, now: Now) -> None:
        """Comes before all that sets a clock anew: what was not late is not to be forgiven."""
        before_s, self._awake_s = self._awake_s, now.mono_s
        if before_s is not None and now.mono_s - before_s > self._settings.sweep_s + 0.5:
            self._board.forgive(now.mono_s - before_s)

    @property
    def due_s(self) -> float:
        """When the next `tick` is due, if that is before the next sweep; minus infinity: at once."""
        return -math.inf if self._stopping.unfinished else self._board.lapse_s

    def take(self, now: Now, *, final: bool = False) -> Batch:
        """Hands over what was decided since the last take; `final` leaves no lazy write behind."""
        self._board.fresh.clear()
        return self._out.take(now, final=final)

    def stands(self, session: int, job_id: str, epoch: int) -> bool:
        """Whether this grant may still be sent: asked once more at the socket, so that a cancel, a pause, an unpairing
        or whatever else came in between wins.
        """
        job, lease = self._board.jobs.get(job_id), self._board.leases.get(job_id)
        holder = self._board.fleet.get(session)
        if job is None or lease is None or holder is None:
            return False
        mine = job.epoch == epoch and lease.session == session and job.active and job.cancel is None
        return mine and (lease.taken or holder.serving) and holder.profile.may_see(job.needs)

    def form_of(self, session: int, job_id: str, epoch: int) -> ResultForm | None:
        """What a result of this attempt, from this session, has to be; None if none is wanted."""
        return self._attempts.form_of(session, job_id, epoch)

    def header(self, job_id: str) -> JobHeader | None:
        """A job that is not terminal."""
        return self._board.jobs.get(job_id)

    def foresee(self, command: StopCommand, now: Now) -> Foreseen:
        """What this command will do, for one that cannot wait for its turn; changes nothing."""
        return foresee(self._board, command, self._stopping.refusal(command.tenant), self._submitting.seq, now)

    def offers(self) -> list[Offer]:
        """What the workers online offer."""
        return [session.offer for session in self._board.fleet]

    def queued(self, job_id: str, online: Iterable[Offer], now: Now) -> Queued | None:
        """What to tell of a job that waits; None when it does not."""
        job = self._board.jobs.get(job_id)
        if job is None or job.status is not JobStatus.PENDING:
            return None
        return queued(self._board, job, online, now)

    def stop_of(self, tenant: str) -> StopLatch | None:
        """The stop that keeps this tenant's new work out; None when nothing does."""
        return self._stopping.refusal(tenant)

    def _cancel(self, command: CancelJob, now: Now) -> None:
        job = self._board.jobs.get(command.job_id)
        if job is None or job.needs.tenant != command.tenant:
            self._out.reply(command.ref, ReplyCode.NOT_FOUND)
            return
        if job.cancel is None:
            request = CancelRequest(by=command.by, reason=command.reason, at_ms=now.wall_ms)
            if job.active:
                self._board.ask_to_stop(job, request, now)
            else:
                self._board.event(job, Event.CANCEL, now, message="Cancelled before it started.", cancel=request)
        self._out.reply(command.ref, ReplyCode.OK, job_id=job.id, status=job.status, cancel=job.cancel)

    def _stop_tenant(self, command: StopTenant, now: Now) -> None:
        self._stopping.stop(command, now, self._submitting.seq)
