"""The coordinator, or the only worker, is away for five minutes while 200 jobs wait: nothing fails."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from cavvy.core.job import JobStatus
from cavvy.testing.simulation import Plan, Simulation, Strike

AWAY_S = 300.0
JOBS = 200
PLAN = Plan(workers=1, jobs=JOBS, storm_s=20.0, calm_s=3_000.0, faults=0, cancels=0.0)
#: Virtual time, which begins at 1,000 s, of its return.
BACK_S = 1_000.0 + PLAN.storm_s + AWAY_S


class Away(Simulation):
    """All is calm but for the one that goes away."""

    async def _storm(self) -> None:
        await asyncio.sleep(self.plan.storm_s)
        self.go_away()

    def go_away(self) -> None:
        raise NotImplementedError

    async def statuses(self) -> list[JobStatus]:
        return [job.status async for job in self.coordinator.jobs()]


class CoordinatorAway(Away):
    def go_away(self) -> None:
        self.coordinator.down_s = (AWAY_S, AWAY_S)
        self.coordinator.kill()


class WorkerAway(Away):
    def go_away(self) -> None:
        self.workers[0].down_s = (AWAY_S, AWAY_S)
        self.workers[0].kill()


@pytest.mark.parametrize(
    ("kind", "strikes"),
    [(CoordinatorAway, (Strike.KILL_COORDINATOR,)), (WorkerAway, (Strike.KILL_WORKER,))],
    ids=["the coordinator", "the only worker"],
)
def test_p02_five_minutes_without_it_fail_nothing(kind: type[Away], strikes: tuple[Strike, ...]) -> None:
    simulation = kind(1, replace(PLAN, strikes=strikes))
    assert simulation.run() == [], simulation.report()
    assert asyncio.run(simulation.statuses()) == [JobStatus.COMPLETED] * JOBS
    late = [at_s for at_s, event in simulation.history.events if "calls its provider" in event and at_s > BACK_S]
    assert len(late) > JOBS // 2, "most of them had to wait for it"
