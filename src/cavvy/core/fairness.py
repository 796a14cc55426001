"""In which order jobs are granted: whose turn it is, and what a job's place in its user's line is.

Each kind of worker (each profile) keeps its own turns, so nobody waits on one machine for what he got on another.

1. Tenants take turns by weighted fair share: each grant charges its tenant `charge(job) / weight`, and whoever was
   charged least is next. Who was away comes back level with the others: neither rich nor in debt.
2. `critical` jobs of a tenant go before its others, but while others wait at most `CRITICAL_RUN` in a row.
3. Users of a tenant take turns in the same way, all with one weight.
4. Of one user's jobs the least place is next: when it was submitted, less the head start of its effort. Places never
   change, so a job that comes back stands where it stood.

P9, the bound. On every kind of worker that can run a waiting job, before the next grant goes to its tenant each other
tenant gets at most `TURN_BOUND × (their weight ÷ its weight) + 1` grants there (with jobs of one size: the ratio + 1);
the same holds between users, of the grants their tenant gets. One in `CRITICAL_RUN + 1` of a tenant's grants is for
its other jobs. A job is overtaken, in its user's line, only by jobs that were submitted at most `MAX_HEAD_START_S`
after it.
"""

from __future__ import annotations

import heapq
from typing import Generic, Protocol, TypeVar

from cavvy import defaults
from cavvy.core.job import Effort, JobHeader, Now
from cavvy.core.line import Line

__all__ = ["CRITICAL_RUN", "MAX_HEAD_START_S", "TURN_BOUND", "Ages", "Node", "Turns", "charge", "place"]

CRITICAL_RUN = defaults.CRITICAL_RUN
#: How many of the cheapest grants one of the dearest is worth.
TURN_BOUND = defaults.CHARGE_MAX_TOKENS // defaults.CHARGE_MIN_TOKENS

#: `critical` has no head start, since it has a lane of its own.
HEAD_START_S = {
    Effort.TRIVIAL: 0.0,
    Effort.QUICK: defaults.EFFORT_STEP_S,
    Effort.STANDARD: 2 * defaults.EFFORT_STEP_S,
    Effort.DEEP: 3 * defaults.EFFORT_STEP_S,
    Effort.CRITICAL: 0.0,
}
MAX_HEAD_START_S = max(HEAD_START_S.values())
_HEAD_START_MS = {effort: int(seconds * 1000) for effort, seconds in HEAD_START_S.items()}
_SEQ_BITS = 48


def charge(job: JobHeader) -> float:
    """What a grant of this job costs its tenant and its user."""
    return min(max(job.estimated_tokens, defaults.CHARGE_MIN_TOKENS), defaults.CHARGE_MAX_TOKENS)


def place(effort: Effort, submitted_ms: int, seq: int) -> int:
    """Where a job stands in its user's line: less is earlier. Those submitted in one millisecond go by `seq`."""
    return (submitted_ms - _HEAD_START_MS[effort] << _SEQ_BITS) + seq


class Ages:
    """When jobs were submitted, on a clock that never goes back: a stepped wall clock changes no order.

    What is restored keeps the wall-clock times it was stored with, as far as they rise and have passed.
    """

    def __init__(self) -> None:
        self._offset_ms: float | None = None
        self._latest_ms = 0

    def restored(self, created_at_ms: int, now: Now) -> int:
        """To be called in the order of submission."""
        return self._at(min(created_at_ms, now.wall_ms))

    def submitted(self, now: Now) -> int:
        if self._offset_ms is None:
            self._offset_ms = now.wall_ms - now.mono_s * 1000
        return self._at(int(now.mono_s * 1000 + self._offset_ms))

    def _at(self, ms: int) -> int:
        self._latest_ms = max(self._latest_ms, ms)
        return self._latest_ms


class Node(Protocol):
    """What takes turns: it has lines."""

    def first(self, worker: str | None) -> Line | None:
        """The line whose head is next for `worker`; for None, the next for anybody. None: there is none."""


N = TypeVar("N", bound=Node)


class _Member(Generic[N]):
    __slots__ = ("entry", "node", "start")

    def __init__(self, node: N) -> None:
        self.node = node
        self.start = 0.0
        self.entry = 0


class Turns(Generic[N]):
    """Start-time fair queueing: who has the least `start` is next, of equals who has had it longest; a charge puts it
    back by what it costs.

    `_now` is the start of the last that was served. Who has nothing left goes when that is noticed, and its start is
    remembered for as long as it is ahead of the others. Of a member's entries in the heap only the last pushed counts.
    """

    __slots__ = ("_debts", "_heap", "_limit", "_members", "_now", "_pushed")

    def __init__(self) -> None:
        self._members: dict[str, _Member[N]] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._debts: dict[str, float] = {}
        self._now = 0.0
        self._pushed = 0
        self._limit = 64

    def get(self, name: str) -> N | None:
        member = self._members.get(name)
        return member.node if member is not None else None

    def enter(self, name: str, node: N) -> None:
        """One that was not there has something now."""
        self._members[name] = member = _Member(node)
        self._push(name, member, max(self._now, self._debts.pop(name, 0.0)))

    def first(self, worker: str | None) -> Line | None:
        """See Node.first. Who has nothing for this worker is passed over and keeps its turn."""
        heap, members = self._heap, self._members
        found: Line | None = None
        passed: list[tuple[float, int, str]] = []
        while heap:
            _, number, name = heap[0]
            member = members.get(name)
            if member is None or member.entry != number:
                heapq.heappop(heap)
            elif (found := member.node.first(worker)) is not None:
                break
            elif worker is not None and member.node.first(None) is not None:
                passed.append(heapq.heappop(heap))
            else:
                heapq.heappop(heap)
                self._leave(name)
        for entry in passed:
            heapq.heappush(heap, entry)
        return found

    def charge(self, name: str, cost: float) -> None:
        """It was served."""
        member = self._members[name]
        self._now = max(self._now, member.start)
        if self._heap[0][1] == member.entry:
            heapq.heappop(self._heap)
        self._push(name, member, member.start + cost)

    def refund(self, name: str, cost: float) -> None:
        """A grant came to nothing: it is put forward again, at most to whose turn it is."""
        member = self._members.get(name)
        if member is not None:
            self._push(name, member, max(self._now, member.start - cost))
        elif name in self._debts:
            self._debts[name] -= cost

    def _push(self, name: str, member: _Member[N], start: float) -> None:
        self._pushed += 1
        member.start, member.entry = start, self._pushed
        heapq.heappush(self._heap, (start, self._pushed, name))
        if len(self._heap) > self._limit:
            self._tidy()

    def _leave(self, name: str) -> None:
        start = self._members.pop(name).start
        if start > self._now:
            self._debts[name] = start
            if len(self._debts) > 2 * len(self._members) + 64:
                self._debts = {one: debt for one, debt in self._debts.items() if debt > self._now}

    def _tidy(self) -> None:
        """Forgets who left while nobody looked; each time it looks at no more than what came since the last."""
        for name in [name for name, member in self._members.items() if member.node.first(None) is None]:
            self._leave(name)
        self._heap = [(member.start, member.entry, name) for name, member in self._members.items()]
        heapq.heapify(self._heap)
        self._limit = max(64, 2 * len(self._heap))
