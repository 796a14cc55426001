"""What happened in a simulation, and what of it is wrong at sight; judging.py says what is wrong at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from cavvy.core.job import TERMINAL, AttemptRef, JobStatus
from cavvy.core.pairings import User
from cavvy.core.writes import (
    CompleteJob,
    DropTrust,
    FailJob,
    GrantJob,
    InsertJob,
    PutTrust,
    RequeueJob,
    RetryJob,
    ReviveAttempt,
    Write,
)
from cavvy.store.base import JobRecord
from cavvy.testing.simulation.dispatched import Dispatched, Hand
from cavvy.testing.simulation.network import LegacyLink
from cavvy.testing.simulation.proofs import doubt
from cavvy.testing.simulation.stopped import Stopped
from cavvy.testing.simulation.trusted import Trusted

__all__ = ["Call", "History", "Violation"]


class Violation(NamedTuple):
    """A promise that was broken, and the job it was broken for."""

    promise: str
    what: str
    job_id: str | None = None


class Call(NamedTuple):
    """One call of a provider: for which attempt, by which process of which worker, and the text it will give."""

    ref: AttemptRef
    worker: str
    process: int
    text: str


class History:
    """Written by every part of a simulation as it goes; `violations` grows at once for what is wrong at sight."""

    def __init__(self) -> None:
        self.events: list[tuple[float, str]] = []
        self.violations: list[Violation] = []
        self.calls: list[Call] = []
        self.submitted: dict[str, set[str]] = defaultdict(set)
        self.grants: dict[str, list[int]] = defaultdict(list)
        self.ended: dict[str, JobStatus] = {}
        self.seen_terminal: dict[str, tuple[JobStatus, bytes | None]] = {}
        self.refusals: list[str] = []
        self.working: set[Call] = set()
        self.gave_up = False  # a worker stopped by itself what it could not know to be its own (P5)
        self.jobs: dict[str, InsertJob] = {}
        self.live: dict[str, InsertJob] = {}
        self.dispatched = Dispatched()
        self.runs: Counter[str] = Counter()  # how often each was retried
        self._trust = Trusted()
        self._stopped = Stopped()
        self._holders: dict[AttemptRef, str] = {}
        self._running: Counter[tuple[str, int]] = Counter()

    def note(self, now_s: float, event: str) -> None:
        self.events.append((now_s, event))

    def broken(self, promise: str, what: str, job_id: str | None = None) -> None:
        self.violations.append(Violation(promise, what, job_id))

    # -- the store

    def committed(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if isinstance(write, InsertJob):
                self._inserted(write)
            elif isinstance(write, GrantJob):
                self._granted(write)
            elif isinstance(write, (CompleteJob, FailJob, RequeueJob)):
                self._attempt_ended(write)
            elif isinstance(write, RetryJob):
                self._retried(write)
            elif isinstance(write, (PutTrust, DropTrust)):
                self._trust.committed(write)
            if isinstance(write, (GrantJob, ReviveAttempt, CompleteJob)):
                self._may_have(write)

    def _may_have(self, write: GrantJob | ReviveAttempt | CompleteJob) -> None:
        """Of the worker that was granted the attempt; a completion's receipt must be of that one, too."""
        job, worker = self.jobs[write.job_id], self.holder(AttemptRef(write.job_id, write.epoch))
        kind = type(write).__name__
        if not self._trust.may_see(job, worker):
            self.broken("P16", f"{kind} of attempt {write.epoch} for {worker[:8]}, not trusted", job.id)
        if (refusal := self.dispatched.refusal(job, worker)) is not None:
            self.broken("eligible", f"{kind} of attempt {write.epoch} for {worker[:8]}, which {refusal}", job.id)

    def holder(self, ref: AttemptRef) -> str:
        """The worker that was granted this attempt."""
        return self._holders.get(ref, "")

    def _inserted(self, write: InsertJob) -> None:
        self.jobs[write.id] = self.live[write.id] = write
        if self._stopped.keeps_out(write):
            self.broken("P10", "was taken although everything was stopped", write.id)

    def _granted(self, write: GrantJob) -> None:
        self._holders[AttemptRef(write.job_id, write.epoch)] = write.worker
        if self._stopped.covers(self.jobs[write.job_id]):
            self.broken("P10", f"epoch {write.epoch} was granted after the answer to a stop of it", write.job_id)
        before = self.grants[write.job_id]
        if before and write.epoch <= before[-1]:
            self.broken("P3", f"epoch {write.epoch} was granted after epoch {before[-1]}", write.job_id)
        before.append(write.epoch)

    def _attempt_ended(self, write: CompleteJob | FailJob | RequeueJob) -> None:
        ref = AttemptRef(write.job_id, write.epoch)
        self.dispatched.ended(ref)
        if isinstance(write, CompleteJob):
            self._vouched(ref, write)
        if not isinstance(write, RequeueJob):
            self._ended(write)

    def _vouched(self, ref: AttemptRef, write: CompleteJob) -> None:
        if not self.dispatched.is_its_own(write):
            self.broken("P3", f"attempt {ref.epoch} was completed over a socket that was not given it", ref.job_id)
        if (wrong := doubt(write, self.holder(ref))) is not None:
            self.broken("P15", f"attempt {ref.epoch} was completed with a receipt that is none: {wrong}", ref.job_id)

    def _ended(self, write: CompleteJob | FailJob) -> None:
        self.live.pop(write.job_id, None)
        status = JobStatus.COMPLETED if isinstance(write, CompleteJob) else JobStatus.FAILED
        before = self.ended.setdefault(write.job_id, status)
        if before is not status:
            self.broken("P3", f"ended {before}, and then {status}", write.job_id)

    def _retried(self, write: RetryJob) -> None:
        """The one way out of `failed`. The new run may have other times."""
        job = self.jobs[write.job_id]
        job = self.jobs[job.id] = self.live[job.id] = replace(job, terms=write.terms or job.terms)
        if self.ended.pop(job.id, None) is not JobStatus.FAILED:
            self.broken("P3", "was retried and had not failed", job.id)
        if self._stopped.keeps_out(job):
            self.broken("P10", "was retried although everything was stopped", job.id)
        self.seen_terminal.pop(job.id, None)
        self._stopped.retried(job)
        self.runs[job.id] += 1

    # -- the workers

    def enlisted(self, worker: str, hand: Hand) -> None:
        """There is such a worker."""
        self.dispatched.hands[worker] = hand

    def assigned(self, ref: AttemptRef, record: JobRecord | None, worker: str) -> None:
        """An assignment leaves the coordinator for `worker`; `record` is what the store holds at that moment."""
        job = self.jobs.get(ref.job_id)
        if job is not None and not self._trust.may_see(job, worker):
            self.broken("P16", f"attempt {ref.epoch} was sent to {worker[:8]}, which is not trusted", ref.job_id)
        if record is None:
            self.broken("P1", f"attempt {ref.epoch} was sent of a job that is not stored", ref.job_id)
        elif record.cancel is not None:
            self.broken("P10", f"attempt {ref.epoch} was sent although its stop was committed", ref.job_id)
        elif record.status in TERMINAL:
            self.broken("P10", f"attempt {ref.epoch} was sent of a job that has ended", ref.job_id)
        elif record.epoch != ref.epoch:
            self.broken("P3", f"attempt {ref.epoch} was sent, epoch {record.epoch} is stored", ref.job_id)

    def dispatched_to(self, link: LegacyLink, ref: AttemptRef) -> None:
        """An assignment leaves for one of Dispatch's workers."""
        self.dispatched.given(ref, link)
        if not link.proven:
            self.broken("proof", f"attempt {ref.epoch} was sent to a socket that has proven no key", ref.job_id)

    def call_began(self, call: Call, slots: int) -> None:
        if any(one.ref == call.ref for one in self.calls):
            self.broken("P13", f"the provider was called twice for attempt {call.ref.epoch}", call.ref.job_id)
        self.calls.append(call)
        self.working.add(call)
        self._running[call.worker, call.process] += 1
        if self._running[call.worker, call.process] > slots:
            self.broken("slots", f"{call.worker} runs more than its {slots} slots", call.ref.job_id)

    def call_stopping(self, call: Call) -> None:
        """It is over, or was told to end."""
        self.working.discard(call)

    def call_ended(self, call: Call) -> None:
        self._running[call.worker, call.process] -= 1

    def acknowledged(self, ref: AttemptRef, verdict: str, record: JobRecord | None) -> None:
        """A worker hears what became of its result."""
        if verdict == "accepted" and (record is None or record.accepted_epoch != ref.epoch):
            self.broken("P4", f"attempt {ref.epoch} was acknowledged and is not what is stored", ref.job_id)

    # -- the clients

    def submit_answered(self, key: str, job_id: str) -> None:
        self.submitted[key].add(job_id)

    def trust_asked(self, worker: str, user: User) -> None:
        """A user has begun to ask that this worker be trusted: from now on it may be."""
        self._trust.over.discard((worker, user))

    def trust_ended(self, worker: str, user: User) -> None:
        """A user was told that this worker is not trusted any more."""
        self._trust.over.add((worker, user))

    def stop_answered(self, tenant: str, stop_seq: int) -> None:
        """Somebody was told that everything of it up to there is stopped, and that nothing new is taken."""
        self._stopped.answered(tenant, stop_seq)

    def stop_released(self, tenant: str) -> None:
        """Somebody has asked for new work to be taken again."""
        self._stopped.released(tenant)

    def saw(self, job_id: str, record: JobRecord | None) -> None:
        """A client looked at a job that was accepted."""
        if record is None:
            self.broken("P1", "was accepted and is not there", job_id)
        elif record.status not in TERMINAL:
            if record.id in self.seen_terminal:
                self.broken("P3", f"was seen ended and is {record.status} again", record.id)
        else:
            now = (record.status, record.result)
            if self.seen_terminal.setdefault(record.id, now) != now:
                self.broken("P3", "was seen ended in two ways", record.id)

    def about(self, job_id: str | None) -> list[Any]:
        """The events that name this job."""
        return [event for event in self.events if job_id is None or job_id in event[1]]
