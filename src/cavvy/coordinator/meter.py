"""What a coordinator has done since it started, as numbers: added up as it happens, for whoever asks.

Nothing here names a job, a key, a person, a model or a tenant: those are without number, and nobody's business.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence

from cavvy.core.effects import JobEffect, JobEnded
from cavvy.core.job import AttemptEnd, Effort, FailureCode, JobHeader, JobStatus

__all__ = ["Histogram", "Meter"]

_ASSIGNED, _RUNNING = JobStatus.ASSIGNED, JobStatus.RUNNING  # looking them up costs more than what is done here

#: Upper bounds, in seconds: from an idle fleet's answer to a queue of a day.
WAITS_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
RUNS_S = (0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
FIRST_TOKENS_S = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
STOPS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
COMMITS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
WRITES = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)


class Histogram:
    """How often a value was at most each bound; `counts` has one more, for all beyond."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Meter:
    """Jobs are counted when their changes are durable. `wall_ms` is the clock that jobs are stamped with."""

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self.submitted: Counter[Effort] = Counter()
        self.completed = 0
        self.failed: Counter[FailureCode] = Counter()
        self.granted = 0
        self.attempts: Counter[AttemptEnd] = Counter()
        self.input_tokens = self.output_tokens = 0
        self.waits = Histogram(WAITS_S)
        self.first_tokens = Histogram(FIRST_TOKENS_S)
        self.runs = Histogram(RUNS_S)
        self.stops = Histogram(STOPS_S)
        self.commits = Histogram(COMMITS_S)
        self.writes = Histogram(WRITES)
        self._started: dict[str, int] = {}
        self._told_to_stop: dict[str, int] = {}

    def job(self, effect: JobEffect) -> None:
        """A job has changed."""
        if effect.end is not None:
            self.attempts[effect.end] += 1
        if isinstance(effect, JobEnded):
            self._ended(effect)
            return
        job = effect.job
        if job.cancel is not None:
            self._told_to_stop.setdefault(job.id, self._wall_ms())
        status = job.status
        if status is _RUNNING:
            self._started.setdefault(job.id, self._wall_ms())
        elif status is _ASSIGNED:
            self._assigned(job)
        elif job.epoch == 0:
            self.submitted[job.effort] += 1
        else:
            self._started.pop(job.id, None)

    def first_token(self, created_at_ms: int) -> None:
        """The first text of a job that was submitted then has come."""
        self.first_tokens.observe(self._since_s(created_at_ms))

    def committed(self, seconds: float, writes: int) -> None:
        """The store took so many writes in one transaction."""
        self.commits.observe(seconds)
        self.writes.observe(writes)

    def _assigned(self, job: JobHeader) -> None:
        if job.cancel is not None:
            return  # told once more, for it was asked to stop
        self.granted += 1
        if job.epoch == 1:
            self.waits.observe(self._since_s(job.created_at_ms))

    def _ended(self, effect: JobEnded) -> None:
        if effect.failure is None:
            self.completed += 1
        else:
            self.failed[effect.failure.code] += 1
        if effect.usage is not None:
            self.input_tokens += effect.usage.input_tokens
            self.output_tokens += effect.usage.output_tokens
        if (started_ms := self._started.pop(effect.job.id, None)) is not None:
            self.runs.observe(self._since_s(started_ms))
        if effect.job.cancel is not None and (told_ms := self._told_to_stop.pop(effect.job.id, None)) is not None:
            self.stops.observe(self._since_s(told_ms))

    def _since_s(self, wall_ms: int) -> float:
        """Never less than nothing, whatever becomes of the wall clock."""
        elapsed_ms = self._wall_ms() - wall_ms
        return elapsed_ms / 1000 if elapsed_ms > 0 else 0.0
