"""The promises under seeded chaos; `make simulate SEEDS=N` runs more seeds."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from cavvy.core.job import JobType
from cavvy.core.legacy_receipt import is_legacy
from cavvy.testing.simulation import Plan, Simulation
from cavvy.testing.simulation.legacy_worker import Odd
from tests.simulation.twins import ROUGH, TWINS, Twin
from tests.simulation.twins.dispatch import ODD

SEEDS = int(os.environ.get("SEEDS", "200"))
#: Seeds that once showed a fault, with what it was. They are run for good.
KEPT = tuple(int(line.split()[0]) for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines() if line)
PACK = 20


@pytest.mark.parametrize("first", range(0, SEEDS, PACK), ids=lambda first: f"{first}-{first + PACK - 1}")
def test_no_promise_is_broken_whatever_happens(first: int) -> None:
    for seed in range(first, min(first + PACK, SEEDS)):
        simulation = Simulation(seed)
        assert simulation.run() == [], simulation.report()


@pytest.mark.parametrize("seed", KEPT)
def test_no_promise_is_broken_in_a_run_that_once_broke_one(seed: int) -> None:
    simulation = Simulation(seed)
    assert simulation.run() == [], simulation.report()


@pytest.mark.parametrize(("twin", "promises", "plan"), TWINS.values(), ids=TWINS)
def test_a_broken_twin_is_noticed(twin: Twin, promises: str, plan: Plan) -> None:
    with twin():
        for seed in range(100):
            broken = {one.promise for one in Simulation(seed, plan).run()}
            if broken & set(promises.split()):
                return
    pytest.fail("no seed showed the fault that was put in")


@pytest.mark.parametrize("plan", [ROUGH, replace(ODD, faults=12)], ids=["Cavvy's own", "with Dispatch's"])
def test_the_same_seed_gives_the_same_history(plan: Plan) -> None:
    one, two = Simulation(7, plan), Simulation(7, plan)
    one.run()
    two.run()
    assert one.history.events == two.history.events


def test_a_run_does_what_it_is_for() -> None:
    """Jobs complete, are cancelled and run more than once; processes die; commits fail."""
    seen = "".join(event for seed in range(5) for event in _events(Simulation(seed, ROUGH)))
    for what in ("accepted", "client cancelled", "epoch 2", "is killed", "coordinator is dead", "commit of"):
        assert what in seen


def test_a_run_with_dispatchs_workers_does_what_it_is_for() -> None:
    """They do jobs and tasks, and whatever else they may do with one."""
    runs = [Simulation(seed, replace(ODD, tasks=0.4)) for seed in range(5)]
    seen = "".join(event for run in runs for event in _events(run))
    for what in ("as it should", *Odd):
        assert f": {what}" in seen
    assert {JobType.LLM_INFER, JobType.TASK} == {
        job_type for run in runs for job_type in asyncio.run(_done_by_them(run))
    }


async def _done_by_them(simulation: Simulation) -> set[JobType]:
    jobs = [job async for job in simulation.coordinator.jobs()]
    return {job.job_type for job in jobs if job.receipt is not None and is_legacy(job.receipt)}


def _events(simulation: Simulation) -> list[str]:
    simulation.run()
    return [event for _, event in simulation.history.events]
