"""A worker comes back while the store is slow, or takes no writes: it goes on with what it runs."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.job import JobStatus
from cavvy.testing.simulation import CommitFault, Plan, Simulation, Strike

PLAN = Plan(workers=1, jobs=3, storm_s=1.0, calm_s=2_000.0, faults=0, cancels=0.0)
TROUBLE_S = 60.0
PIECE_S = 100.0


class Steady(Random):
    """What takes long takes as long each time: longer than the trouble, and not so long that it hangs."""

    def expovariate(self, lambd: float = 1.0) -> float:
        return 1 / lambd


class Trouble(Simulation):
    """The only worker loses its connection after the trouble has begun, in the middle of its calls."""

    async def _storm(self) -> None:
        for worker in self.workers:
            worker.piece_s, worker.fails, worker.hangs, worker.dice = PIECE_S, 0.0, 0.0, Steady(self.seed)
        while len(self.history.working) < min(self.plan.jobs, self.workers[0].slots):
            await asyncio.sleep(1.0)
        self.begin()
        worker = self.workers[0]
        assert worker.link is not None
        worker.link.cut()
        await asyncio.sleep(TROUBLE_S)

    def _clear_up(self) -> None:
        assert self.history.working, "it is in the middle of its calls"
        super()._clear_up()

    def begin(self) -> None:
        raise NotImplementedError

    async def statuses(self) -> list[JobStatus]:
        return [job.status async for job in self.coordinator.jobs()]


class SlowDisk(Trouble):
    def begin(self) -> None:
        longer_s = defaults.LEASE_TTL_S + 2.0
        self.coordinator.commit_delay_s = (longer_s, longer_s)


class LockedStore(Trouble):
    def begin(self) -> None:
        self.coordinator.faults += [CommitFault.BUSY] * 10_000


@pytest.mark.parametrize(
    ("kind", "strikes"),
    [(SlowDisk, (Strike.SLOW_DISK,)), (LockedStore, (Strike.LOCK_STORE,))],
    ids=["slow", "locked"],
)
@pytest.mark.parametrize("seed", range(3))
def test_p13_it_goes_on_and_no_provider_is_called_twice(
    kind: type[Trouble], strikes: tuple[Strike, ...], seed: int
) -> None:
    simulation = kind(seed, replace(PLAN, strikes=strikes))
    assert simulation.run() == [], simulation.report()
    assert asyncio.run(simulation.statuses()) == [JobStatus.COMPLETED] * PLAN.jobs
    assert not simulation.history.gave_up
    calls = [event for _, event in simulation.history.events if "calls its provider" in event]
    assert len(calls) == PLAN.jobs
