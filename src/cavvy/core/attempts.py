"""What workers say of their attempts: it began, it ended, it never came."""

from __future__ import annotations

from typing import NamedTuple

from cavvy import defaults
from cavvy.core import receipt as receipts
from cavvy.core.board import Board
from cavvy.core.commands import JobCompleted, JobFailed, JobRejected, JobStarted, JobStopped, Undelivered
from cavvy.core.effects import CompletionAnswered, FrameRefused, Verdict
from cavvy.core.fleet import Session
from cavvy.core.job import AttemptRef, FailureCode, JobHeader, JobStatus, Now
from cavvy.core.legacy_receipt import check_legacy, open_legacy
from cavvy.core.lifecycle import Event, phase_of, step
from cavvy.core.outbox import Outbox
from cavvy.core.reading import Reading, ResultForm, read
from cavvy.core.retrying import Retrying
from cavvy.core.settings import Settings
from cavvy.core.writes import BookUsage, CompleteJob, StartAttempt, Usage
from cavvy.errors import ReceiptInvalid

__all__ = ["Attempts"]

#: What a worker says of one attempt.
_OfAttempt = JobStarted | JobFailed | JobStopped | JobRejected | JobCompleted


class _Vouched(NamedTuple):
    """What a good receipt says besides the hash of the result."""

    model: str
    usage: Usage


class Attempts:
    """Only the worker that was granted an attempt speaks for it, over its own socket."""

    def __init__(self, settings: Settings, board: Board, retrying: Retrying, out: Outbox) -> None:
        self._settings = settings
        self._board = board
        self._retrying = retrying
        self._out = out

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
        if not job.active and not (job.lost and session.profile.may_see(job.needs)):
            return None
        return session, job

    def started(self, command: JobStarted, now: Now) -> None:
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

    def completed(self, command: JobCompleted, now: Now) -> None:
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
        reading = self._reading(command, _form(session, job))
        if reading.failure is not None:
            self._failed_in_disguise(session, job, command, reading, now)
            return
        try:
            if session.profile.legacy:
                vouched = self._legacy_vouched(job, command, reading)
            else:
                opened = receipts.open_envelope(command.receipt)
                if opened.payload.provider_pubkey != session.worker:
                    self._refuse(command, "not_yours", "The receipt names another worker's key.")
                    return
                receipts.check(opened, reading, self._expected(job, command))
                vouched = _Vouched(opened.payload.model, opened.payload.usage)
        except ReceiptInvalid as error:
            self._refuse(command, "rejected_receipt", f"The receipt was refused: {error}")
            self._retrying.receipt_rejected(session, job, str(error), now)
            self._answer(command, Verdict.STALE)
            return
        session.occupied.discard(ref)
        if reading.size > defaults.MAX_OUTPUT_BYTES:
            self._too_large(job, now)
            self._answer(command, Verdict.STALE)
            return
        session.idle_since_s = now.mono_s
        write = CompleteJob(
            job_id=job.id,
            epoch=job.epoch,
            result=command.result,
            receipt=command.receipt,
            output_hash=reading.output_hash,
            model=vouched.model,
            usage=vouched.usage,
            ended_at_ms=now.wall_ms,
        )
        self._board.complete(job, write)
        self._answer(command, Verdict.ACCEPTED)

    def form_of(self, session_id: int, job_id: str, epoch: int) -> ResultForm | None:
        """What a result of this attempt, from this session, has to be; None if none is wanted."""
        session, job = self._board.fleet.get(session_id), self._board.jobs.get(job_id)
        if session is None or job is None or job.epoch != epoch or job.worker != session.worker:
            return None
        return _form(session, job)

    def _reading(self, command: JobCompleted, form: ResultForm) -> Reading:
        """What came with the command, if it is of this result; a reading of anything else counts for nothing."""
        found = command.reading
        return found if found is not None and found.is_of(command.result, form) else read(command.result, form)

    def _legacy_vouched(self, job: JobHeader, command: JobCompleted, reading: Reading) -> _Vouched:
        """Raises ReceiptInvalid, also for a receipt that names another key: who answered is who was asked."""
        opened = open_legacy(command.receipt)
        check_legacy(opened, reading.output_hash, job_id=job.id, worker=job.worker or "", payment_ref=job.payment_ref)
        return _Vouched(reading.model or "", Usage())

    def _failed_in_disguise(
        self, session: Session, job: JobHeader, command: JobCompleted, reading: Reading, now: Now
    ) -> None:
        """What looks like a result says that there is none."""
        assert reading.failure is not None
        failed = JobFailed(
            session=command.session,
            job_id=command.job_id,
            epoch=command.epoch,
            code=reading.failure,
            message=reading.message,
            retryable=True,
        )
        self._retrying.failed(session, job, failed, now)
        self._answer(command, Verdict.STALE)

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
            payment_ref=job.payment_ref,
        )

    def failed(self, command: JobFailed, now: Now) -> None:
        found = self._mine(command)
        if found is None or not found[1].active:
            self._book_late(command)
        if found is not None:
            self._retrying.failed(*found, command, now)

    def _book_late(self, command: JobFailed | JobStopped) -> None:
        """What an attempt used that has ended already is paid all the same; the store knows whose it was."""
        session = self._board.fleet.get(command.session)
        if session is not None and command.usage is not None:
            write = BookUsage(job_id=command.job_id, epoch=command.epoch, worker=session.worker, usage=command.usage)
            self._out.write(write)

    def stopped(self, command: JobStopped, now: Now) -> None:
        found = self._mine(command)
        if found is None or not found[1].active:
            self._book_late(command)
        if found is not None:
            session, job = found
            session.occupied.discard(AttemptRef(job.id, job.epoch))
            took_ms = command.stopped_ms
            self._board.event(
                job, Event.STOPPED, now, message="The worker stopped it.", usage=command.usage, stop_ms=took_ms
            )

    def rejected(self, command: JobRejected, now: Now) -> None:
        found = self._mine(command)
        if found is not None:
            self._retrying.rejected(*found, command, now)

    def undelivered(self, command: Undelivered, now: Now) -> None:
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


def _form(session: Session, job: JobHeader) -> ResultForm:
    return ResultForm(job.needs.job_type, session.profile.legacy)
