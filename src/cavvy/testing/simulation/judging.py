"""What must hold of a simulation once all is quiet: the promises as checks over the history."""

from __future__ import annotations

from collections.abc import Iterable

from cavvy.core import javascript
from cavvy.core.job import DEFAULT_TERMS, TERMINAL, AttemptEnd, FailureCode, JobStatus, JobType
from cavvy.store.base import JobRecord
from cavvy.testing.simulation.errands import right_output
from cavvy.testing.simulation.history import History, Violation
from cavvy.testing.simulation.plan import Forbidden

__all__ = ["Judge"]

#: Ends that are nobody's fault, and reasons that only a job with short times may fail for.
GIVEN_BACK = frozenset({AttemptEnd.UNDELIVERED, AttemptEnd.REJECTED, AttemptEnd.DRAINED, AttemptEnd.REVOKED})
BY_THE_CLOCK = frozenset(
    {FailureCode.TIMEOUT, FailureCode.STALLED, FailureCode.DEADLINE, FailureCode.NO_ELIGIBLE_WORKER}
)


class Judge:
    """Holds what is stored against what happened."""

    def __init__(self, history: History, forbidden: Forbidden) -> None:
        self._history = history
        self._forbidden = forbidden
        self.broken = history.broken

    def judge(self, jobs: Iterable[JobRecord]) -> list[Violation]:
        """Everything that must hold once all is quiet; `jobs` is all that is stored."""
        stored = {job.id: job for job in jobs}
        for key, ids in self._history.submitted.items():
            if len(ids) > 1:
                self.broken("P11", f"key {key} made {len(ids)} jobs")
            for job_id in ids - stored.keys():
                self.broken("P1", "was accepted and is not there", job_id)
        for refusal in self._history.refusals:
            self.broken("core", f"the store had to refuse: {refusal}")
        for job in stored.values():
            self._judge_job(job)
            self._judge_gentle(job)
        return self._history.violations

    def _judge_job(self, job: JobRecord) -> None:
        if job.status not in TERMINAL:
            self.broken("P2", f"is {job.status} for ever", job.id)
        if job.status is JobStatus.COMPLETED:
            self._judge_completed(job)
        elif job.failure is not None and job.failure.code is FailureCode.ABORTED and job.cancel is None:
            self.broken("P10", "was aborted and nobody asked for it", job.id)
        seen = self._history.seen_terminal.get(job.id)
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
        if job.failure is not None and job.failure.code is FailureCode.DEADLINE and job.policy is not None:
            self.broken("P7", "ended as Dispatch's clients do not know it", job.id)
        counted = sum(one.counted for one in job.attempts)
        if job.tries != counted and not (self._history.runs[job.id] and job.tries < counted):
            self.broken("tries", f"counts {job.tries} tries", job.id)
        if job.tries > job.terms.max_attempts:
            self.broken("P8", f"was tried {job.tries} times and not {job.terms.max_attempts}", job.id)

    def _judge_gentle(self, job: JobRecord) -> None:
        lost = [one.epoch for one in job.attempts if one.end is AttemptEnd.LOST]
        if self._forbidden.lost_attempts and lost:
            self.broken("P6", f"lost the attempts {lost} of workers that were there all the time", job.id)
        calls = sum(call.ref.job_id == job.id for call in self._history.calls)
        if self._forbidden.repeated_calls and not self._history.gave_up and calls > 1 + self._history.runs[job.id]:
            self.broken("P13", f"was paid {calls} times though no worker failed", job.id)

    def _judge_completed(self, job: JobRecord) -> None:
        holder = next((one.worker for one in job.attempts if one.epoch == job.accepted_epoch), "")
        if self._history.dispatched.legacy(holder):
            self._judge_output(job)
            return
        made = [one for one in self._history.calls if one.ref == (job.id, job.accepted_epoch)]
        if len(made) != 1 or job.result is None or (made[0].text and f'"{made[0].text}"'.encode() not in job.result):
            self.broken("P3", f"was completed with a text that attempt {job.accepted_epoch} did not give", job.id)
            return
        if holder != made[0].worker:
            self.broken("P3", "was completed by a worker that did not hold it", job.id)
        if job.job_type is JobType.TASK:
            self._judge_output(job)

    def _judge_output(self, job: JobRecord) -> None:
        """It is known beforehand what must come of a task, and of a prompt that one of Dispatch's workers answers."""
        assert job.input is not None
        output = javascript.parse(job.result or b"null")
        if output != right_output(job.job_type, job.input):
            self.broken("P3", f"was completed with {output}, which is wrong", job.id)
