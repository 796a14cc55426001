"""The coordinator as one state machine: commands and time in, writes and effects out.

The shell feeds it every waiting command, then one `tick`, then commits `take().writes` in one transaction and only then
releases `take().effects`. After a failed commit the shell builds a new one from the store (`restore`), never patches
this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from cavvy import defaults
from cavvy.core import receipt as receipts
from cavvy.core.board import Board
from cavvy.core.census import Census
from cavvy.core.commands import (
    CancelJob,
    CancelThread,
    Command,
    CreateApiKey,
    CreateTenant,
    CreateWorkerToken,
    EraseJob,
    Heartbeat,
    JobCompleted,
    JobFailed,
    JobRejected,
    JobStarted,
    JobStopped,
    ManageWorker,
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
from cavvy.core.effects import (
    CompletionAnswered,
    FrameRefused,
    Reply,
    ReplyCode,
    Verdict,
)
from cavvy.core.erasing import Eraser
from cavvy.core.fleet import Session
from cavvy.core.foresight import Foreseen, StopCommand, foresee
from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.job import AttemptRef, CancelRequest, FailureCode, JobHeader, JobStatus, Now
from cavvy.core.keys import KeyBook
from cavvy.core.latch import StopLatch
from cavvy.core.lifecycle import Event, phase_of, step
from cavvy.core.matching import Offer
from cavvy.core.outbox import Batch, Outbox
from cavvy.core.queued import Queued, queued
from cavvy.core.retrying import Retrying
from cavvy.core.roster import KnownToken, KnownWorker, Roster
from cavvy.core.settings import Settings
from cavvy.core.stopping import Stopping
from cavvy.core.timekeeper import Timekeeper
from cavvy.core.writes import (
    CompleteJob,
    InsertJob,
    StartAttempt,
)
from cavvy.errors import ReceiptInvalid

__all__ = ["Batch", "Coordinator", "KnownToken", "KnownWorker", "Settings"]


#: What a worker says of one attempt.
_OfAttempt = JobStarted | JobFailed | JobStopped | JobRejected | JobCompleted


class _LiveKey(NamedTuple):
    fingerprint: bytes
    job_id: str
    at_s: float


class Coordinator:
    """`dice(n)` yields n random bytes (salts)."""

    def __init__(self, settings: Settings, dice: Callable[[int], bytes]) -> None:
        self._settings = settings
        self._out = Outbox(settings.lazy_write_s)
        self._board = Board(settings, dice, self._out)
        self._timekeeper = Timekeeper(self._board)
        self._roster = Roster(settings, self._board, self._out)
        self._key_book = KeyBook(self._out, self._board.waiting.weigh)
        self._stopping = Stopping(self._board, self._out)
        self._eraser = Eraser(self._board, self._out)
        self._retrying = Retrying(self._board, self._stopping, self._eraser, self._out)
        self._keys: dict[tuple[str, str], _LiveKey] = {}
        self._seq = 0
        self._numbers: dict[str, int] = {}
        self._awake_s: float | None = None
        self._swept_s = 0.0
        self._handlers: dict[type, Callable[[Any, Now], None]] = {
            SubmitJob: self._submit,
            CancelJob: self._cancel,
            CancelThread: self._stopping.cancel_thread,
            RunAgain: self._retrying.run_again,
            StopTenant: self._stop_tenant,
            ReleaseStop: self._stopping.release,
            EraseJob: self._eraser.erase,
            Retain: self._eraser.retain,
            CreateWorkerToken: self._roster.create_token,
            ManageWorker: self._roster.manage,
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
            JobStarted: self._started,
            JobCompleted: self._completed,
            JobFailed: self._failed,
            JobStopped: self._stopped,
            JobRejected: self._rejected,
            Undelivered: self._undelivered,
        }

    # -- the shell's side

    def restore(
        self,
        rows: Iterable[JobHeader | KnownWorker | KnownToken | ApiKey | Tenant | StopLatch],
        *,
        seq: int,
        numbers: dict[str, int],
        now: Now,
        grace_until_s: float,
    ) -> None:
        """Takes up what the store holds. Until the grace ends no timer takes work from workers that are coming back."""
        self._seq, self._numbers = seq, dict(numbers)
        known = list(rows)
        if any(isinstance(row, KnownWorker) for row in known):
            self._board.windows.from_s = grace_until_s
        for row in known:
            if isinstance(row, JobHeader):
                self._board.restore_job(row, now, grace_until_s)
            elif isinstance(row, (ApiKey, Tenant)):
                self._key_book.know(row)
            elif isinstance(row, StopLatch):
                self._stopping.know(row)
            else:
                self._roster.know(row)
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
        return self._seq, self._numbers

    def handle(self, command: Command, now: Now) -> None:
        """Decides one command. Raises nothing for anything that came from outside."""
        self._notice_absence(now)
        self._handlers[type(command)](command, now)

    def tick(self, now: Now) -> None:
        """Ends a batch: clocks, then grants. To be called at least every `sweep_s`."""
        self._notice_absence(now)
        if now.mono_s >= self._swept_s + self._settings.sweep_s:
            self._swept_s = now.mono_s
            self._roster.sweep(now)
            self._forget_old_keys(now)
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
        """Whether this grant may still be sent: asked once more at the socket, so that a cancel, a pause or whatever
        else came in between wins.
        """
        job, lease = self._board.jobs.get(job_id), self._board.leases.get(job_id)
        holder = self._board.fleet.get(session)
        if job is None or lease is None or holder is None:
            return False
        mine = job.epoch == epoch and lease.session == session and job.active and job.cancel is None
        return mine and (lease.taken or holder.serving)

    def header(self, job_id: str) -> JobHeader | None:
        """A job that is not terminal."""
        return self._board.jobs.get(job_id)

    def foresee(self, command: StopCommand, now: Now) -> Foreseen:
        """What this command will do, for one that cannot wait for its turn; changes nothing."""
        return foresee(self._board, command, self._stopping.refusal(command.tenant), self._seq, now)

    def queued(self, job_id: str, online: Iterable[Offer], now: Now) -> Queued | None:
        """What to tell of a job that waits; None when it does not."""
        job = self._board.jobs.get(job_id)
        if job is None or job.status is not JobStatus.PENDING:
            return None
        return queued(self._board, job, online, now)

    def stop_of(self, tenant: str) -> StopLatch | None:
        """The stop that keeps this tenant's new work out; None when nothing does."""
        return self._stopping.refusal(tenant)

    # -- submit, cancel, tokens

    def _submit(self, command: SubmitJob, now: Now) -> None:
        tenant, key = command.needs.tenant, command.idempotency
        if key is not None and (live := self._keys.get((tenant, key.key))) is not None:
            same = live.fingerprint == key.fingerprint
            code = ReplyCode.REPLAYED if same else ReplyCode.KEY_REUSED
            self._out.reply(command.ref, code, job_id=live.job_id)
            return
        if (latch := self._stopping.refusal(tenant)) is not None:
            self._out.effect(Reply(ref=command.ref, code=ReplyCode.STOPPED, stop=latch))
            return
        deadline_ms = command.terms.deadline_at_ms
        if deadline_ms is not None and deadline_ms <= now.wall_ms:
            self._out.reply(command.ref, ReplyCode.DEADLINE_PASSED)
            return
        if self._board.full(tenant):
            self._out.reply(command.ref, ReplyCode.QUEUE_FULL)
            return
        self._seq += 1
        number = self._numbers[tenant] = self._numbers.get(tenant, 0) + 1
        job = JobHeader(
            id=command.id,
            seq=self._seq,
            number=number,
            user_id=command.user_id,
            needs=command.needs,
            status=JobStatus.PENDING,
            created_at_ms=now.wall_ms,
            effort=command.effort,
            thread_id=command.thread_id,
            terms=command.terms,
            estimated_tokens=command.estimated_tokens,
        )
        self._out.write(
            InsertJob(
                id=job.id,
                seq=job.seq,
                number=number,
                user_id=job.user_id,
                needs=job.needs,
                created_at_ms=now.wall_ms,
                input=command.input,
                params=command.params,
                metadata=command.metadata,
                idempotency=key,
                expired_before_ms=now.wall_ms - self._settings.idempotency_ttl_s * 1000,
                effort=job.effort,
                thread_id=job.thread_id,
                terms=job.terms,
                estimated_tokens=job.estimated_tokens,
            )
        )
        if key is not None:
            self._keys[tenant, key.key] = _LiveKey(key.fingerprint, job.id, now.mono_s)
        self._board.add(job, command, now)
        self._out.reply(command.ref, ReplyCode.OK, job_id=job.id, status=job.status)

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
        self._stopping.stop(command, now, self._seq)

    # -- attempts

    def _mine(self, command: _OfAttempt) -> tuple[Session, JobHeader] | None:
        """The session and the job, if this frame speaks for the job's highest attempt; refuses a foreign one."""
        session, job = self._board.fleet.get(command.session), self._board.jobs.get(command.job_id)
        if session is None:
            return None
        if job is None or job.epoch != command.epoch:
            ref = AttemptRef(command.job_id, command.epoch)
            if isinstance(command, JobStarted):
                session.occupied.add(ref)  # it runs there, wanted or not: the slot is not free
            else:
                session.occupied.discard(ref)
            return None
        if job.worker != session.worker:
            self._refuse(command, "not_yours", "This attempt was granted to another worker.")
            return None
        if not job.active and not job.lost:
            return None
        return session, job

    def _started(self, command: JobStarted, now: Now) -> None:
        found = self._mine(command)
        if found is None:
            if self._board.fleet.get(command.session) is not None and command.job_id not in self._board.jobs:
                self._out.stop(command.session, command.job_id, command.epoch, "the job has ended")
            return
        session, job = found
        if job.lost:
            self._board.revive(job, session, now)
        self._retrying.started(session)
        lease = self._board.leases[job.id]
        lease.taken = True
        lease.clock.start(now.mono_s)
        change = step(phase_of(job.status, job.cancel), Event.STARTED)
        if change is None or job.status is JobStatus.RUNNING:
            return
        job.status = JobStatus.RUNNING
        self._out.write_lazily(StartAttempt(job_id=job.id, epoch=job.epoch, started_at_ms=now.wall_ms), now)
        self._out.changed(job, started_at_ms=now.wall_ms)

    def _completed(self, command: JobCompleted, now: Now) -> None:
        ref = AttemptRef(command.job_id, command.epoch)
        found = self._mine(command)
        if found is None:
            job = self._board.jobs.get(command.job_id)
            if job is None:
                self._answer(command, Verdict.UNKNOWN)
            elif job.epoch != command.epoch or job.worker == self._worker_of(command.session):
                self._answer(command, Verdict.STALE)
            return
        session, job = found
        try:
            opened = receipts.open_envelope(command.receipt)
            if opened.payload.provider_pubkey != session.worker:
                self._refuse(command, "not_yours", "The receipt names another worker's key.")
                return
            result = receipts.check(opened, command.result, self._expected(job, command))
        except ReceiptInvalid as error:
            self._refuse(command, "rejected_receipt", f"The receipt was refused: {error}")
            self._retrying.receipt_rejected(session, job, str(error), now)
            self._answer(command, Verdict.STALE)
            return
        session.occupied.discard(ref)
        if len(result.text.encode()) > defaults.MAX_OUTPUT_BYTES:
            self._too_large(job, now)
            self._answer(command, Verdict.STALE)
            return
        session.idle_since_s = now.mono_s
        write = CompleteJob(
            job_id=job.id,
            epoch=job.epoch,
            result=command.result,
            receipt=command.receipt,
            output_hash=opened.payload.output_hash,
            model=result.model,
            usage=opened.payload.usage,
            ended_at_ms=now.wall_ms,
        )
        self._board.complete(job, write)
        self._answer(command, Verdict.ACCEPTED)

    def _too_large(self, job: JobHeader, now: Now) -> None:
        message = f"The output is longer than {defaults.MAX_OUTPUT_BYTES} bytes."
        self._board.event(job, Event.FAILED, now, message=message, code=FailureCode.OUTPUT_TOO_LARGE)

    def _expected(self, job: JobHeader, command: JobCompleted) -> receipts.Expected:
        return receipts.Expected(
            coordinator=self._settings.coordinator_key,
            job_id=job.id,
            attempt=job.epoch,
            worker=job.worker or "",
            input_hash=command.input_hash or "",
            params_hash=command.params_hash or "",
            privacy_class=job.needs.privacy_class.value,
        )

    def _failed(self, command: JobFailed, now: Now) -> None:
        found = self._mine(command)
        if found is not None:
            self._retrying.failed(*found, command, now)

    def _stopped(self, command: JobStopped, now: Now) -> None:
        found = self._mine(command)
        if found is not None:
            session, job = found
            session.occupied.discard(AttemptRef(job.id, job.epoch))
            took_ms = command.stopped_ms
            self._board.event(
                job, Event.STOPPED, now, message="The worker stopped it.", usage=command.usage, stop_ms=took_ms
            )

    def _rejected(self, command: JobRejected, now: Now) -> None:
        found = self._mine(command)
        if found is not None:
            self._retrying.rejected(*found, command, now)

    def _undelivered(self, command: Undelivered, now: Now) -> None:
        job, lease = self._board.jobs.get(command.job_id), self._board.leases.get(command.job_id)
        session = self._board.fleet.get(command.session)
        if session is not None:
            session.occupied.discard(AttemptRef(command.job_id, command.epoch))
        if job is None or lease is None or job.epoch != command.epoch or lease.session != command.session:
            return
        if command.code is not None:
            message = "The assignment is longer than a frame may be."
            self._board.event(job, Event.FAILED, now, message=message, code=FailureCode(command.code))
        else:
            self._board.event(job, Event.UNDELIVERED, now, message="It never reached a worker.")

    def _forget_old_keys(self, now: Now) -> None:
        horizon_s = now.mono_s - self._settings.idempotency_live_s
        while self._keys and next(iter(self._keys.values())).at_s < horizon_s:
            del self._keys[next(iter(self._keys))]

    def _answer(self, command: JobCompleted, verdict: Verdict) -> None:
        self._out.effect(
            CompletionAnswered(session=command.session, job_id=command.job_id, epoch=command.epoch, verdict=verdict)
        )

    def _refuse(self, command: _OfAttempt, code: str, message: str) -> None:
        self._out.effect(
            FrameRefused(
                session=command.session, code=code, message=message, job_id=command.job_id, epoch=command.epoch
            )
        )

    def _worker_of(self, session_id: int) -> str | None:
        session = self._board.fleet.get(session_id)
        return session.worker if session else None
