"""What happened in a simulation, and whether it may have: the promises as checks over the history."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cavvy.core.job import DEFAULT_TERMS, TERMINAL, AttemptEnd, AttemptRef, FailureCode, JobStatus
from cavvy.core.writes import (
    CompleteJob,
    DropTrust,
    FailJob,
    GrantJob,
    InsertJob,
    PutTrust,
    RetryJob,
    ReviveAttempt,
    Write,
)
from cavvy.store.base import JobRecord
from cavvy.testing.simulation.trusted import Trusted

__all__ = ["Call", "Forbidden", "History", "Violation"]


#: Ends that are nobody's fault, and reasons that only a job with short times may fail for.
GIVEN_BACK = frozenset({AttemptEnd.UNDELIVERED, AttemptEnd.REJECTED, AttemptEnd.DRAINED, AttemptEnd.REVOKED})
BY_THE_CLOCK = frozenset(
    {FailureCode.TIMEOUT, FailureCode.STALLED, FailureCode.DEADLINE, FailureCode.NO_ELIGIBLE_WORKER}
)


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


class Forbidden(NamedTuple):
    """What must not be seen in a gentle run, though a rough one may show it."""

    lost_attempts: bool = False
    repeated_calls: bool = False


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
        self._seqs: dict[str, int] = {}
        self._trust = Trusted()
        self._stopped_seq = 0
        self._latched = False
        self._retried_since: set[str] = set()
        self._runs: Counter[str] = Counter()
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
            elif isinstance(write, (CompleteJob, FailJob)):
                self._ended(write)
            elif isinstance(write, RetryJob):
                self._retried(write)
            elif isinstance(write, (PutTrust, DropTrust)):
                self._trust.committed(write)
            if isinstance(write, (GrantJob, ReviveAttempt, CompleteJob)):
                self._may_see(write)

    def _may_see(self, write: GrantJob | ReviveAttempt | CompleteJob) -> None:
        if isinstance(write, GrantJob):
            self._trust.granted(write)
        worker = self._trust.holder(write.job_id, write.epoch)
        if not self._trust.may_see(write.job_id, worker):
            kind = type(write).__name__
            self.broken("P16", f"{kind} of attempt {write.epoch} for {worker[:8]}, not trusted", write.job_id)

    def _inserted(self, write: InsertJob) -> None:
        self._seqs[write.id] = write.seq
        self._trust.inserted(write)
        if self._latched:
            self.broken("P10", "was taken although everything was stopped", write.id)

    def _granted(self, write: GrantJob) -> None:
        if self._seqs[write.job_id] <= self._stopped_seq and write.job_id not in self._retried_since:
            self.broken("P10", f"epoch {write.epoch} was granted after the answer to a stop of it", write.job_id)
        before = self.grants[write.job_id]
        if before and write.epoch <= before[-1]:
            self.broken("P3", f"epoch {write.epoch} was granted after epoch {before[-1]}", write.job_id)
        before.append(write.epoch)

    def _ended(self, write: CompleteJob | FailJob) -> None:
        status = JobStatus.COMPLETED if isinstance(write, CompleteJob) else JobStatus.FAILED
        before = self.ended.setdefault(write.job_id, status)
        if before is not status:
            self.broken("P3", f"ended {before}, and then {status}", write.job_id)

    def _retried(self, write: RetryJob) -> None:
        """The one way out of `failed`."""
        if self.ended.pop(write.job_id, None) is not JobStatus.FAILED:
            self.broken("P3", "was retried and had not failed", write.job_id)
        if self._latched:
            self.broken("P10", "was retried although everything was stopped", write.job_id)
        self.seen_terminal.pop(write.job_id, None)
        self._retried_since.add(write.job_id)
        self._runs[write.job_id] += 1

    # -- the workers

    def assigned(self, ref: AttemptRef, record: JobRecord | None, worker: str) -> None:
        """An assignment leaves the coordinator for `worker`; `record` is what the store holds at that moment."""
        if not self._trust.may_see(ref.job_id, worker):
            self.broken("P16", f"attempt {ref.epoch} was sent to {worker[:8]}, which is not trusted", ref.job_id)
        if record is None:
            self.broken("P1", f"attempt {ref.epoch} was sent of a job that is not stored", ref.job_id)
        elif record.cancel is not None:
            self.broken("P10", f"attempt {ref.epoch} was sent although its stop was committed", ref.job_id)
        elif record.status in TERMINAL:
            self.broken("P10", f"attempt {ref.epoch} was sent of a job that has ended", ref.job_id)
        elif record.epoch != ref.epoch:
            self.broken("P3", f"attempt {ref.epoch} was sent, epoch {record.epoch} is stored", ref.job_id)

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

    def trust_asked(self, worker: str, user: str) -> None:
        """A user has begun to ask that this worker be trusted: from now on it may be."""
        self._trust.over.discard((worker, user))

    def trust_ended(self, worker: str, user: str) -> None:
        """A user was told that this worker is not trusted any more."""
        self._trust.over.add((worker, user))

    def stop_answered(self, stop_seq: int) -> None:
        """Somebody was told that everything up to there is stopped, and that nothing new is taken."""
        self._stopped_seq, self._latched = max(self._stopped_seq, stop_seq), True
        self._retried_since.clear()

    def stop_released(self) -> None:
        """Somebody has asked for new work to be taken again."""
        self._latched = False

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

    # -- at the end

    def judge(self, jobs: Iterable[JobRecord], forbidden: Forbidden) -> list[Violation]:
        """Everything that must hold once all is quiet; `jobs` is all that is stored."""
        stored = {job.id: job for job in jobs}
        for key, ids in self.submitted.items():
            if len(ids) > 1:
                self.broken("P11", f"key {key} made {len(ids)} jobs")
            for job_id in ids - stored.keys():
                self.broken("P1", "was accepted and is not there", job_id)
        for refusal in self.refusals:
            self.broken("core", f"the store had to refuse: {refusal}")
        for job in stored.values():
            self._judge_job(job)
            self._judge_gentle(job, forbidden)
        return self.violations

    def _judge_job(self, job: JobRecord) -> None:
        if job.status not in TERMINAL:
            self.broken("P2", f"is {job.status} for ever", job.id)
        if job.status is JobStatus.COMPLETED:
            self._judge_completed(job)
        elif job.failure is not None and job.failure.code is FailureCode.ABORTED and job.cancel is None:
            self.broken("P10", "was aborted and nobody asked for it", job.id)
        seen = self.seen_terminal.get(job.id)
        if seen is not None and seen != (job.status, job.result):
            self.broken("P3", f"was seen {seen[0]} and is {job.status} now", job.id)
        epochs = [one.epoch for one in job.attempts]
        if epochs != sorted(set(epochs)) or (epochs and epochs[-1] != job.epoch):
            self.broken("P3", f"has the attempts {epochs} and the epoch {job.epoch}", job.id)
        given_back = [one.epoch for one in job.attempts if one.end in GIVEN_BACK and one.counted]
        if given_back:
            self.broken("P12", f"counts the attempts {given_back}, which were given back", job.id)
        if job.failure is not None and job.failure.code in BY_THE_CLOCK and job.terms == DEFAULT_TERMS:
            self.broken("P7", f"ended {job.failure.code}, and nobody had been that impatient", job.id)
        counted = sum(one.counted for one in job.attempts)
        if job.tries != counted and not (self._runs[job.id] and job.tries < counted):
            self.broken("tries", f"counts {job.tries} tries", job.id)
        if job.tries > job.terms.max_attempts:
            self.broken("P8", f"was tried {job.tries} times and not {job.terms.max_attempts}", job.id)

    def _judge_gentle(self, job: JobRecord, forbidden: Forbidden) -> None:
        lost = [one.epoch for one in job.attempts if one.end is AttemptEnd.LOST]
        if forbidden.lost_attempts and lost:
            self.broken("P6", f"lost the attempts {lost} of workers that were there all the time", job.id)
        calls = sum(call.ref.job_id == job.id for call in self.calls)
        if forbidden.repeated_calls and not self.gave_up and calls > 1 + self._runs[job.id]:
            self.broken("P13", f"was paid {calls} times though no worker failed", job.id)

    def _judge_completed(self, job: JobRecord) -> None:
        made = [one for one in self.calls if one.ref == (job.id, job.accepted_epoch)]
        if len(made) != 1 or job.result is None or f'"{made[0].text}"'.encode() not in job.result:
            self.broken("P3", f"was completed with a text that attempt {job.accepted_epoch} did not give", job.id)
            return
        holder = next((one.worker for one in job.attempts if one.epoch == job.accepted_epoch), None)
        if holder != made[0].worker:
            self.broken("P3", "was completed by a worker that did not hold it", job.id)

    def about(self, job_id: str | None) -> list[Any]:
        """The events that name this job."""
        return [event for event in self.events if job_id is None or job_id in event[1]]
