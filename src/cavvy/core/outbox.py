"""What one round decided, until the shell takes it: writes, lazy writes, effects."""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from cavvy.core.census import Census
from cavvy.core.effects import Effect, JobChanged, JobEnded, Reply, ReplyCode, StopAttempt
from cavvy.core.job import AttemptEnd, CancelRequest, Failure, JobHeader, JobStatus, Now
from cavvy.core.writes import StartAttempt, Usage, Write

__all__ = ["Batch", "Outbox"]


class Batch(NamedTuple):
    """What one round decided. There are writes only when something must be durable now."""

    writes: list[Write]
    effects: list[Effect]


class Outbox:
    """Collects one round.

    A started attempt is written lazily: with the next urgent write, or when its time has come.
    """

    def __init__(self, lazy_write_s: float) -> None:
        self.census = Census()
        self._lazy_write_s = lazy_write_s
        self._writes: list[Write] = []
        self._lazy: dict[str, StartAttempt] = {}
        self._lazy_since_s = 0.0
        self._effects: list[Effect] = []

    def write(self, write: Write) -> None:
        self._writes.append(write)

    def write_lazily(self, start: StartAttempt, now: Now) -> None:
        if not self._lazy:
            self._lazy_since_s = now.mono_s
        self._lazy[start.job_id] = start

    def flush_start(self, job_id: str) -> None:
        """A lazy write goes before the one that ends its attempt."""
        start = self._lazy.pop(job_id, None)
        if start is not None:
            self._writes.append(start)

    def effect(self, effect: Effect) -> None:
        self._effects.append(effect)

    def changed(self, job: JobHeader, *, started_at_ms: int | None = None, end: AttemptEnd | None = None) -> None:
        """Tells of the job's status as it is now; `end` is how the attempt ended that it waits after."""
        self.census.see(job)
        self._effects.append(JobChanged(job=replace(job), started_at_ms=started_at_ms, end=end))

    def ended(
        self,
        job: JobHeader,
        *,
        result: bytes | None = None,
        failure: Failure | None = None,
        usage: Usage | None = None,
        end: AttemptEnd | None = None,
    ) -> None:
        """Tells that the job is terminal."""
        self.census.see(job)
        self._effects.append(JobEnded(job=replace(job), result=result, failure=failure, usage=usage, end=end))

    def reply(
        self,
        ref: int,
        code: ReplyCode,
        *,
        job_id: str | None = None,
        status: JobStatus | None = None,
        cancel: CancelRequest | None = None,
    ) -> None:
        self._effects.append(Reply(ref=ref, code=code, job_id=job_id, status=status, cancel=cancel))

    def stop(self, session: int, job_id: str, epoch: int, reason: str) -> None:
        self._effects.append(StopAttempt(session=session, job_id=job_id, epoch=epoch, reason=reason))

    def take(self, now: Now, *, final: bool) -> Batch:
        """Hands everything over; lazy writes stay behind unless something urgent goes or `final` is asked."""
        due = bool(self._lazy) and (final or now.mono_s >= self._lazy_since_s + self._lazy_write_s)
        writes: list[Write] = []
        if self._writes or due:
            writes = [*self._lazy.values(), *self._writes]
            self._lazy, self._writes = {}, []
        effects, self._effects = self._effects, []
        return Batch(writes, effects)
