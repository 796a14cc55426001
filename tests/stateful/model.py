"""What a job's life must look like in the store: a small model, written without looking at the core.

Commands change the model as lifecycle.md says, before the core decides them. What clocks and the scheduler do is taken
from the writes, and held against the model: only what may happen there, to the job as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cavvy import defaults
from cavvy.core.job import AttemptRef, FailureCode, JobStatus
from cavvy.core.writes import FailJob, GrantJob, RequeueJob, ReviveAttempt, StartAttempt, Write
from cavvy.store.base import JobRecord

__all__ = ["Attempt", "Job", "Model"]

MAX_ATTEMPTS = 3


@dataclass
class Attempt:
    worker: str
    end: str | None = None
    counted: bool = False
    started: bool = False


@dataclass
class Job:
    """`sure` says that the start of the newest attempt is surely written: it is a lazy write. `closed`: it was retried
    since its newest attempt. `owner` is whose PRIVATE job it is, `task` says that it is a TASK. `committed`: it came
    over Dispatch's routes, without a key.
    """

    id: str
    owner: str | None = None
    task: bool = False
    committed: bool = False
    status: str = "pending"
    code: str | None = None
    tries: int = 0
    asked: bool = False
    accepted: int | None = None
    sure: bool = True
    closed: bool = False
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def tenant(self) -> str:
        return defaults.DISPATCH_TENANT if self.committed else defaults.TENANT

    @property
    def epoch(self) -> int:
        return len(self.attempts)

    @property
    def active(self) -> bool:
        return self.status in ("assigned", "running")

    @property
    def over(self) -> bool:
        return self.status in ("completed", "failed")

    @property
    def newest(self) -> Attempt:
        return self.attempts[-1]

    @property
    def lost(self) -> bool:
        """Nobody else has it, and the worker of its newest attempt may still go on."""
        return self.status == "pending" and bool(self.attempts) and self.newest.end == "lost" and not self.closed

    # -- what an attempt's worker says

    def start(self) -> None:
        if self.lost:
            self.revive()
        elif self.active:
            self.sure = self.sure and self.newest.started
            self.status, self.newest.started = "running", True

    def revive(self) -> None:
        self.tries -= self.newest.counted
        self.newest.end, self.newest.counted, self.newest.started = None, False, True
        self.status, self.sure = "running", True

    def complete(self) -> None:
        if self.newest.counted:
            self.tries -= 1
        self.newest.end, self.newest.counted = "completed", False
        self.status, self.accepted = "completed", self.epoch

    def fail(self, code: str, end: str, *, counted: bool) -> None:
        if self.asked:
            self.abort()
            return
        self.newest.end, self.newest.counted = end, counted
        self.tries += counted
        self.status, self.code = "failed", code

    def fail_for_now(self) -> None:
        """Another try may go better, if there is one left."""
        if self.asked or self.tries + 1 >= MAX_ATTEMPTS:
            self.fail("worker_error", "failed", counted=True)
        else:
            self.newest.end, self.newest.counted = "failed", True
            self.tries, self.status = self.tries + 1, "pending"

    def run_again(self) -> None:
        """The one way out of failed. What was lost before does not come back."""
        self.status, self.code, self.tries, self.asked, self.closed = "pending", None, 0, False, True

    def abort(self) -> None:
        if self.active:
            self.newest.end = "aborted"
        self.status, self.code, self.asked = "failed", "aborted", True

    def lose(self) -> None:
        if self.asked:
            self.abort()
            return
        if self.newest.started and self.tries + 1 >= MAX_ATTEMPTS:
            self.fail("worker_lost", "lost", counted=True)
            return
        self.newest.end, self.newest.counted = "lost", self.newest.started
        self.tries += self.newest.counted
        self.status = "pending"

    def give_back(self, end: str) -> None:
        """Uncounted, and its worker does not come back for it."""
        if self.asked:
            self.abort()
        else:
            self.newest.end, self.status = end, "pending"

    def cancel(self) -> None:
        if self.status == "pending":
            self.abort()
        elif self.active:
            self.asked = True

    def forget_unwritten_start(self, stored: JobStatus) -> None:
        """The process is gone, and a start that was not written with it."""
        if self.active and not self.sure and stored is JobStatus.ASSIGNED:
            self.status, self.newest.started = "assigned", False
        self.sure = True


class Model:
    """Every job there ever was, and which worker is there."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.keys: dict[str, str] = {}
        self.online: set[str] = set()
        self.trusted: set[tuple[str, str]] = set()  # which worker by which user
        self.do_tasks: set[str] = set()
        self.legacy: set[str] = set()

    def may_see(self, worker: str, job: Job) -> bool:
        return job.owner is None or (worker, job.owner) in self.trusted

    def may_run(self, worker: str, job: Job) -> bool:
        """TASKs take a worker that does them, and one of Dispatch's only what it can be told."""
        able = worker in self.do_tasks or not job.task
        return self.may_see(worker, job) and able and (job.committed or worker not in self.legacy)

    def mine(self, worker: str, ref: AttemptRef) -> Job | None:
        """The job, if this worker may still speak for it in this attempt."""
        job = self.jobs[ref.job_id]
        its = job.epoch == ref.epoch and job.newest.worker == worker and (job.active or job.lost)
        return job if its and self.may_see(worker, job) else None

    def verdict(self, worker: str, ref: AttemptRef) -> str:
        """What a result is answered that changes nothing any more."""
        job = self.jobs[ref.job_id]
        again = job.accepted == ref.epoch and job.attempts[ref.epoch - 1].worker == worker
        return "accepted" if again else "stale"

    def observe(self, write: Write) -> None:
        """A write that no command asked for: it must be one that a clock or the scheduler may decide now."""
        match write:
            case GrantJob():
                self._granted(write)
            case RequeueJob() if self.jobs[write.job_id].active:
                self._lapsed(self.jobs[write.job_id], write)
            case FailJob() if write.failure.code is FailureCode.WORKER_LOST and not self.jobs[write.job_id].over:
                self._tried_out(self.jobs[write.job_id])
            case FailJob() if not self.jobs[write.job_id].over:
                job = self.jobs[write.job_id]
                assert (write.failure.code, job.asked, job.active) == (FailureCode.ABORTED, True, True), write
                job.abort()
            case StartAttempt():
                self.jobs[write.job_id].sure = True
            case ReviveAttempt():
                job = self.jobs[write.job_id]
                assert job.status == "running", "nobody said that it goes on"
                assert self.may_see(job.newest.worker, job), "P16: goes on where its user does not trust"

    def _granted(self, write: GrantJob) -> None:
        job = self.jobs[write.job_id]
        assert (job.status, job.asked) == ("pending", False), f"granted while {job}"
        assert write.epoch == job.epoch + 1, f"epoch {write.epoch} after {job.epoch}"
        assert write.worker in self.online, "granted to a worker that is not there"
        assert self.may_see(write.worker, job), "P16: granted to a worker that its user does not trust"
        assert self.may_run(write.worker, job), "granted to a worker that cannot run it"
        job.attempts.append(Attempt(write.worker))
        job.status, job.sure, job.closed = "assigned", True, False

    def _lapsed(self, job: Job, write: RequeueJob) -> None:
        assert not job.asked, "a job that was asked to stop waits again"
        assert job.newest.worker not in self.online, "taken from a worker that is there and names it"
        assert (write.end, write.counted, write.epoch) == ("lost", job.newest.started, job.epoch), write
        job.lose()

    def _tried_out(self, job: Job) -> None:
        assert job.newest.worker not in self.online, "taken from a worker that is there and names it"
        assert (job.active, job.newest.started, job.tries + 1) == (True, True, MAX_ATTEMPTS)
        job.lose()

    def compare(self, record: JobRecord) -> None:
        """The store says exactly what the model says."""
        job = self.jobs[record.id]
        if job.status == "running" and not job.sure and record.status is JobStatus.ASSIGNED:
            status = "running"
        else:
            status = record.status.value
        code = record.failure.code.value if record.failure else None
        seen = (status, code, record.epoch, record.tries, record.cancel is not None, record.accepted_epoch)
        assert seen == (job.status, job.code, job.epoch, job.tries, job.asked, job.accepted), (record, job)
        attempts = [(one.worker, one.end, one.counted) for one in record.attempts]
        assert attempts == [(one.worker, one.end, one.counted) for one in job.attempts], (record, job)
        assert record.tries <= MAX_ATTEMPTS, "P8"
        assert (record.result is not None) == (job.status == "completed"), record
