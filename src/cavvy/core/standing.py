"""What one kind of worker can run, in the order in which it is granted: tenants, their two lanes, users, lines."""

from __future__ import annotations

import heapq

from cavvy.core.fairness import CRITICAL_RUN, Turns, charge
from cavvy.core.job import Effort, JobHeader, Needs
from cavvy.core.line import Line
from cavvy.core.matching import Profile
from cavvy.core.pace import Pace

__all__ = ["Standing"]


class _UserLines:
    """One user's lines, by the places of their heads. A line stands in the heap with a place its head has, or had."""

    __slots__ = ("_at", "_heap", "_limit")

    def __init__(self) -> None:
        self._at: dict[Line, int] = {}
        self._heap: list[tuple[int, int, Line]] = []
        self._limit = 16

    def enter(self, line: Line, place: int) -> None:
        """The line's head stands at `place` now; to be called whenever that is less than before."""
        at = self._at.get(line)
        if at is None or place < at:
            if len(self._heap) >= self._limit:
                self._tidy()
            self._push(line, place)

    def first(self, worker: str | None) -> Line | None:
        heap = self._heap
        found: Line | None = None
        passed: list[tuple[int, int, Line]] = []
        while heap and found is None:
            place, _, line = heap[0]
            head = line.head()
            if self._at.get(line) != place:
                heapq.heappop(heap)
            elif head is None:
                heapq.heappop(heap)
                del self._at[line]
            elif head.place != place:
                heapq.heappop(heap)
                self._push(line, head.place)
            elif worker is not None and worker in line.barred:
                passed.append(heapq.heappop(heap))
            else:
                found = line
        for entry in passed:
            heapq.heappush(heap, entry)
        return found

    def _push(self, line: Line, place: int) -> None:
        self._at[line] = place
        heapq.heappush(self._heap, (place, line.number, line))

    def _tidy(self) -> None:
        """Forgets the lines that ended while nobody looked."""
        heads = [(line, line.head()) for line in self._at]
        self._at = {line: head.place for line, head in heads if head is not None}
        self._heap = [(place, line.number, line) for line, place in self._at.items()]
        heapq.heapify(self._heap)
        self._limit = max(16, 2 * len(self._heap))


class _Lanes:
    """One tenant's jobs: the critical ones go before the others, a bounded number in a row."""

    __slots__ = ("_critical", "_others", "_run")

    def __init__(self) -> None:
        self._critical: Turns[_UserLines] = Turns()
        self._others: Turns[_UserLines] = Turns()
        self._run = 0

    def enter(self, line: Line, head: JobHeader) -> None:
        lane = self._lane(head)
        user = lane.get(line.user_id)
        if user is not None:
            user.enter(line, head.place)
        else:
            user = _UserLines()
            user.enter(line, head.place)
            lane.enter(line.user_id, user)

    def first(self, worker: str | None) -> Line | None:
        if self._run >= CRITICAL_RUN:
            return self._others.first(worker) or self._critical.first(worker)
        return self._critical.first(worker) or self._others.first(worker)

    def charge(self, job: JobHeader, cost: float) -> None:
        if job.effort is Effort.CRITICAL:
            self._critical.charge(job.user_id, cost)
            self._run = self._run + 1 if self._others.first(None) is not None else 0
        else:
            self._others.charge(job.user_id, cost)
            self._run = 0

    def refund(self, job: JobHeader) -> None:
        self._lane(job).refund(job.user_id, charge(job))

    def _lane(self, job: JobHeader) -> Turns[_UserLines]:
        return self._critical if job.effort is Effort.CRITICAL else self._others


class Standing:
    """All of it for one profile. `kinds` are the needs it can serve that somebody has, or had a while ago, by
    tenant.
    """

    __slots__ = ("_paces", "_tenants", "kinds", "profile")

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.kinds: dict[str, dict[Needs, None]] = {}
        self._tenants: Turns[_Lanes] = Turns()
        self._paces: dict[str, Pace] = {}

    def awaken(self, tenant: str, now_s: float) -> None:
        """A line of this tenant that was empty is about to have a job."""
        lanes = self._tenants.get(tenant)
        if lanes is None or lanes.first(None) is None:
            self._paces.setdefault(tenant, Pace(now_s)).began(now_s)

    def enter(self, line: Line) -> None:
        """The line has a head that stands before the one it had."""
        head = line.head()
        assert head is not None
        tenant = head.needs.tenant
        lanes = self._tenants.get(tenant)
        if lanes is not None:
            lanes.enter(line, head)
        else:
            lanes = _Lanes()
            lanes.enter(line, head)
            self._tenants.enter(tenant, lanes)

    def first(self, worker: str | None) -> JobHeader | None:
        """The job that is next for this worker; for None, the next for any."""
        line = self._tenants.first(worker)
        return line.head() if line is not None else None

    def granted(self, job: JobHeader, weight: float, now_s: float) -> None:
        """A worker of this profile was given what was first; to be called when the job has left its line."""
        tenant = job.needs.tenant
        lanes = self._tenants.get(tenant)
        assert lanes is not None
        cost = charge(job)
        lanes.charge(job, cost)
        self._tenants.charge(tenant, cost / weight)
        if tenant not in self._paces:
            self._paces[tenant] = Pace(now_s)
        self._paces[tenant].granted(now_s)

    def refund(self, job: JobHeader, weight: float) -> None:
        """The grant came to nothing and does not count."""
        tenant = job.needs.tenant
        lanes = self._tenants.get(tenant)
        if lanes is not None:
            lanes.refund(job)
        self._tenants.refund(tenant, charge(job) / weight)

    def per_s(self, tenant: str, now_s: float) -> float | None:
        """How many of this tenant's jobs are granted here a second; None when that was not measured."""
        pace = self._paces.get(tenant)
        return pace.per_s(now_s) if pace is not None else None
