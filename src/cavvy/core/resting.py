"""Pending jobs that may not be granted yet, and names by the time they are due."""

from __future__ import annotations

import heapq
from collections import Counter

from cavvy.core.job import JobHeader, Now

__all__ = ["DueTimes", "RestingJobs"]


class DueTimes:
    """Names by the time they are due. One that was discarded stays in the heap until it surfaces."""

    __slots__ = ("_at", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._at)

    def at(self, name: str) -> float | None:
        return self._at.get(name)

    def put(self, name: str, at: float) -> None:
        """It is due then, and at no other time."""
        self._at[name] = at
        heapq.heappush(self._heap, (at, name))

    def discard(self, name: str) -> bool:
        """Whether it was there."""
        if self._at.pop(name, None) is None:
            return False
        if len(self._heap) > 2 * len(self._at) + 64:
            self._heap = [(at, name) for name, at in self._at.items()]
            heapq.heapify(self._heap)
        return True

    def due(self, now: float) -> list[str]:
        """Takes out those that are due, the earliest first."""
        found = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, name = heapq.heappop(heap)
            if self._at.get(name) == at:
                del self._at[name]
                found.append(name)
        return found


class RestingJobs:
    """Each rests until a monotonic time (a pause after a failure) or until a wall-clock time (`not_before`)."""

    def __init__(self) -> None:
        self._mono_s = DueTimes()
        self._wall_ms = DueTimes()
        self._tenants: dict[str, str] = {}
        self._by_tenant: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return len(self._tenants)

    def of_tenant(self, tenant: str) -> int:
        return self._by_tenant[tenant]

    def until(self, job_id: str, now: Now) -> float | None:
        """How many seconds it still rests; None when it does not."""
        if (until_s := self._mono_s.at(job_id)) is not None:
            return max(0.0, until_s - now.mono_s)
        if (until_ms := self._wall_ms.at(job_id)) is not None:
            return max(0.0, (until_ms - now.wall_ms) / 1000)
        return None

    def add(self, job: JobHeader, *, until_s: float | None = None, until_ms: int | None = None) -> None:
        """It rests until one of the two."""
        if until_s is not None:
            self._mono_s.put(job.id, until_s)
        elif until_ms is not None:
            self._wall_ms.put(job.id, until_ms)
        self._tenants[job.id] = job.needs.tenant
        self._by_tenant[job.needs.tenant] += 1

    def discard(self, job: JobHeader) -> bool:
        """Whether it rested."""
        if not self._tenants:
            return False
        found = self._mono_s.discard(job.id) or self._wall_ms.discard(job.id)
        if found:
            self._forget(job.id)
        return found

    def due(self, now: Now) -> list[str]:
        """Takes out those whose time has come."""
        if not self._tenants:
            return []
        found = [*self._mono_s.due(now.mono_s), *self._wall_ms.due(now.wall_ms)]
        for job_id in found:
            self._forget(job_id)
        return found

    def _forget(self, job_id: str) -> None:
        tenant = self._tenants.pop(job_id)
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]
