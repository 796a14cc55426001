"""All jobs that wait for a worker, by kind of need and by kind of worker: what nobody can run costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from cavvy.core.fairness import CRITICAL_RUN
from cavvy.core.job import Effort, JobHeader, Needs
from cavvy.core.line import Line
from cavvy.core.matching import Profile, refusal
from cavvy.core.pairings import User
from cavvy.core.resting import DueTimes
from cavvy.core.standing import Standing

__all__ = ["Queue", "WaitingJobs"]

_NOBODY: frozenset[str] = frozenset()
#: A job's position counts so many kinds of need that one kind of worker can run.
_RIVALS = 100


class Queue(NamedTuple):
    """Where a job stands, and in how many seconds it starts, as far as that can be told."""

    position: int
    estimate_s: float | None


class _Lane:
    """The jobs of one kind, critical or not: each user's in a line."""

    __slots__ = ("_limit", "_lines", "_sizes", "total")

    def __init__(self) -> None:
        self._lines: dict[tuple[str, frozenset[str]], Line] = {}
        self._sizes: dict[int, int] = {}
        self._limit = 64
        self.total = 0

    def lines(self) -> Iterable[Line]:
        return self._lines.values()

    def line(self, user_id: str, barred: frozenset[str]) -> Line | None:
        return self._lines.get((user_id, barred))

    def open_line(self, user_id: str, barred: frozenset[str], number: int) -> Line:
        if len(self._lines) >= self._limit:
            self._lines = {key: line for key, line in self._lines.items() if line.count}
            self._limit = max(64, 2 * len(self._lines))
        line = self._lines[user_id, barred] = Line(user_id, barred, number)
        return line

    def resized(self, line: Line, change: int) -> None:
        """A job came or went."""
        self.total += change
        sizes, size = self._sizes, line.count
        sizes[size] = sizes.get(size, 0) + 1
        before = size - change
        left = sizes.get(before, 0) - 1
        if left > 0:
            sizes[before] = left
        else:
            sizes.pop(before, None)

    def within(self, rounds: int) -> int:
        """How many jobs go in so many rounds, in which each line gives one. There are few different lengths."""
        return sum(min(size, rounds) * count for size, count in self._sizes.items())


class _Kind:
    """The waiting jobs of one kind of need, and whose turns they are part of."""

    __slots__ = ("critical", "fits", "needs", "others")

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self.critical = _Lane()
        self.others = _Lane()
        self.fits: dict[Standing, None] = {}

    @property
    def total(self) -> int:
        return self.critical.total + self.others.total

    def lane(self, effort: Effort) -> _Lane:
        return self.critical if effort is Effort.CRITICAL else self.others

    def lines(self) -> Iterator[Line]:
        """Those with somebody in them."""
        return (line for lane in (self.critical, self.others) for line in lane.lines() if line.count)


class WaitingJobs:
    """All of them. Whoever adds one has given it its `place`. Empty kinds and lines are kept for a while, since the
    next job is often like the last.
    """

    def __init__(self) -> None:
        self.total = 0
        self._kinds: dict[Needs, _Kind] = {}
        self._owned: dict[User | None, dict[Needs, _Kind]] = {}  # the same, by whose PRIVATE jobs they are
        self._kinds_limit = 1024
        self._standings: dict[Profile, Standing] = {}
        self._weights: dict[str, float] = {}
        self._by_tenant: dict[str, int] = {}
        self._barred: dict[str, frozenset[str]] = {}
        self._unbar = DueTimes()
        self._opened = 0

    def of_tenant(self, tenant: str) -> int:
        return self._by_tenant.get(tenant, 0)

    def weigh(self, tenant: str, weight: float) -> None:
        """From now on the tenant's share is as large as this."""
        self._weights[tenant] = weight

    # -- workers

    def know(self, profile: Profile) -> None:
        """A worker of this profile came."""
        if profile not in self._standings:
            standing = self._standings[profile] = Standing(profile)
            for user in (None, *sorted(profile.pairs & self._owned.keys())):
                for kind in self._owned.get(user, {}).values():
                    self._place(kind, standing)

    def forget(self, profile: Profile) -> None:
        """The last worker of this profile went."""
        standing = self._standings.pop(profile)
        for of_tenant in standing.kinds.values():
            for needs in of_tenant:
                del self._kinds[needs].fits[standing]

    def _place(self, kind: _Kind, standing: Standing) -> None:
        if refusal(kind.needs, standing.profile) is None:
            kind.fits[standing] = None
            standing.kinds.setdefault(kind.needs.tenant, {})[kind.needs] = None
            for line in kind.lines():
                standing.enter(line)

    # -- jobs

    def add(self, job: JobHeader, now_s: float) -> None:
        """It comes, or comes back to its place."""
        kind = self._kinds.get(job.needs) or self._open_kind(job.needs)
        barred = self._bar(job, now_s) if job.excluded else _NOBODY
        lane = kind.lane(job.effort)
        line = lane.line(job.user_id, barred)
        if line is None:
            self._opened += 1
            line = lane.open_line(job.user_id, barred, self._opened)
        if not line.count:
            for standing in kind.fits:
                standing.awaken(job.needs.tenant, now_s)
        line.add(job)
        lane.resized(line, 1)
        self._count(job.needs.tenant, 1)
        if line.head() is job:
            for standing in kind.fits:
                standing.enter(line)

    def discard(self, job: JobHeader) -> None:
        """It leaves. Raises KeyError if it is not here."""
        lane = self._kinds[job.needs].lane(job.effort)
        line = lane.line(job.user_id, self._unbarred(job))
        if line is None:
            raise KeyError(job.id)
        line.remove(job)
        lane.resized(line, -1)
        self._count(job.needs.tenant, -1)

    def _open_kind(self, needs: Needs) -> _Kind:
        if len(self._kinds) >= self._kinds_limit:
            self._drop_empty_kinds()
        kind = self._kinds[needs] = self._owned.setdefault(_whose(needs), {})[needs] = _Kind(needs)
        for standing in self._standings.values():
            self._place(kind, standing)
        return kind

    def _drop_empty_kinds(self) -> None:
        for kind in [kind for kind in self._kinds.values() if not kind.total]:
            self._drop(kind)
        self._kinds_limit = max(1024, 2 * len(self._kinds))

    def _drop(self, kind: _Kind) -> None:
        user = _whose(kind.needs)
        alike = self._owned[user]
        del self._kinds[kind.needs], alike[kind.needs]
        if not alike:
            del self._owned[user]
        for standing in kind.fits:
            del standing.kinds[kind.needs.tenant][kind.needs]

    def _count(self, tenant: str, change: int) -> None:
        self.total += change
        self._by_tenant[tenant] = self._by_tenant.get(tenant, 0) + change

    # -- workers that shall not get a job for now

    def _bar(self, job: JobHeader, now_s: float) -> frozenset[str]:
        """Jobs that are kept from the same workers have a line of their own, which those pass over."""
        left = {worker: until_s for worker, until_s in (job.excluded or {}).items() if until_s > now_s}
        if not left:
            return _NOBODY
        self._barred[job.id] = barred = frozenset(left)
        self._unbar.put(job.id, min(left.values()))
        return barred

    def _unbarred(self, job: JobHeader) -> frozenset[str]:
        barred = self._barred.pop(job.id, _NOBODY)
        if barred:
            self._unbar.discard(job.id)
        return barred

    def unbar(self, jobs: Mapping[str, JobHeader], now_s: float) -> None:
        """Those of which a worker's time is over go where it may get them."""
        if self._barred:
            for job_id in self._unbar.due(now_s):
                self.discard(jobs[job_id])
                self.add(jobs[job_id], now_s)

    # -- grants

    def wants(self, profile: Profile) -> bool:
        """Whether there is something to do for workers of this profile."""
        return self._standings[profile].first(None) is not None

    def first(self, profile: Profile, worker: str) -> JobHeader | None:
        """The job that is next for this worker."""
        return self._standings[profile].first(worker)

    def grant(self, job: JobHeader, profile: Profile, now_s: float) -> None:
        """A worker of this profile gets what was `first` for it."""
        self.discard(job)
        self._standings[profile].granted(job, self._weight(job), now_s)

    def refund(self, job: JobHeader, profile: Profile) -> None:
        """The grant came to nothing: it is not charged."""
        standing = self._standings.get(profile)
        if standing is not None:
            standing.refund(job, self._weight(job))

    def _weight(self, job: JobHeader) -> float:
        return self._weights.get(job.needs.tenant, 1.0)

    # -- what a job is told

    def kept_s(self, job: JobHeader, able: frozenset[str], now_s: float) -> float | None:
        """For how many seconds every one of the workers `able` to run the job shall not get it; None if one may now."""
        barred = self._barred.get(job.id, _NOBODY)
        if not able or not able <= barred:
            return None
        return max(0.0, min(until_s for worker, until_s in (job.excluded or {}).items() if worker in able) - now_s)

    def queue(self, job: JobHeader, now_s: float, serves: Callable[[Profile], bool]) -> Queue:
        """Where the job stands among those of its tenant that a worker which could run it could run as well, when users
        take turns and nothing new comes. The estimate is for the profiles of which somebody `serves`.
        """
        mine = self._kinds[job.needs]
        rivals = {mine.needs: mine}
        for standing in mine.fits:
            kinds = standing.kinds[job.needs.tenant]
            rivals.update((needs, self._kinds[needs]) for needs in islice(kinds, _RIVALS))
        position = self._position(job, list(rivals.values()))
        serving = [one for one in mine.fits if serves(one.profile)]
        paces = [pace for one in serving if (pace := one.per_s(job.needs.tenant, now_s)) is not None]
        return Queue(position, position / math.fsum(paces) if paces else None)

    def _position(self, job: JobHeader, kinds: list[_Kind]) -> int:
        critical = job.effort is Effort.CRITICAL
        position = self._turn(job, [kind.lane(job.effort) for kind in kinds])
        rest = sum((kind.others if critical else kind.critical).total for kind in kinds)
        passing = (position - 1) // CRITICAL_RUN if critical else position * CRITICAL_RUN
        return position + min(rest, passing)

    def _turn(self, job: JobHeader, lanes: list[_Lane]) -> int:
        """In its lane: behind those of its own line that stand before it, and as many of each other user's."""
        barred = self._barred.get(job.id, _NOBODY)
        own = [line for lane in lanes if (line := lane.line(job.user_id, barred)) is not None]
        before = sum(line.before(job.place) for line in own)
        others = sum(lane.within(before + 1) for lane in lanes) - sum(min(line.count, before + 1) for line in own)
        return 1 + before + others


def _whose(needs: Needs) -> User | None:
    """The user whose PRIVATE jobs these are; None for PUBLIC ones."""
    return None if needs.owner is None else (needs.tenant, needs.owner)
