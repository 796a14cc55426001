"""Maintenance on virtual time: what goes, and when it is left alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from cavvy import defaults
from cavvy.coordinator.engine import Engine
from cavvy.coordinator.maintenance import Maintenance
from cavvy.core.retention import Policy
from cavvy.store.base import JobRecord
from cavvy.testing import Stack, VirtualClock, dice
from tests.unit.coordinator.test_engine import RecordingOutlet

DAY_S = 24 * 3600
POLICY = Policy(texts_days=2, jobs_days=5)


class Rig:
    """An engine, its clock in the test's hands, and its maintenance."""

    def __init__(self) -> None:
        self.stack = Stack()  # makes commands; its store is the engine's
        self.clock = VirtualClock()
        self.engine = Engine(
            self.stack.store, self.stack.settings, clock=self.clock, dice=dice(), outlet=RecordingOutlet()
        )
        self.maintenance = Maintenance(self.engine, POLICY, self.clock)

    async def ended(self) -> str:
        """A job that has been cancelled."""
        submission = self.stack.submission("secret")
        cancellation = self.stack.cancellation(submission.id)
        await self.engine.ask(submission, submission.ref)
        await self.engine.ask(cancellation, cancellation.ref)
        return submission.id

    async def job(self, job_id: str) -> JobRecord | None:
        return await self.engine.store.job("default", job_id)

    async def look_after(self, seconds: float) -> bool:
        """Looks every minute; whether anything went at the end of that time."""
        while seconds > 0:
            self.clock.advance(min(60.0, seconds))
            seconds -= 60.0
            found = await self.maintenance.look()
        return found


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.engine.open()
    running = asyncio.create_task(rig.engine.run())
    await asyncio.sleep(0)
    yield rig
    rig.engine.stop()
    await running


async def test_texts_go_first_and_the_job_later(rig: Rig) -> None:
    job_id = await rig.ended()
    await rig.look_after(2 * DAY_S)
    record = await rig.job(job_id)
    assert record is not None
    assert record.erased_at_ms is None
    await rig.look_after(120)
    record = await rig.job(job_id)
    assert record is not None
    assert record.erased_at_ms is not None
    await rig.look_after(3 * DAY_S + 120)
    assert await rig.job(job_id) is None


async def test_a_pending_job_stays_however_old_it_is(rig: Rig) -> None:
    submission = rig.stack.submission("secret")
    await rig.engine.ask(submission, submission.ref)
    await rig.look_after(10 * DAY_S)
    record = await rig.job(submission.id)
    assert record is not None
    assert record.input == submission.input


async def test_a_clock_set_a_year_ahead_takes_nothing_at_once(rig: Rig) -> None:
    job_id = await rig.ended()
    await rig.look_after(defaults.RETENTION_STEADY_S + 60)
    rig.clock.step_wall(365 * DAY_S)
    assert not await rig.look_after(60)
    rig.clock.step_wall(-365 * DAY_S)
    await rig.look_after(2 * defaults.RETENTION_STEADY_S)
    record = await rig.job(job_id)
    assert record is not None
    assert record.erased_at_ms is None


async def test_a_store_that_takes_no_writes_is_left_alone(rig: Rig) -> None:
    await rig.ended()
    await rig.look_after(2 * DAY_S - 60)
    rig.engine._door.shut = "the disk is full"
    assert not await rig.look_after(600)
    rig.engine._door.shut = None
    assert await rig.look_after(60)


async def test_a_busy_coordinator_puts_it_off_but_not_for_ever(rig: Rig) -> None:
    await rig.ended()
    await rig.look_after(2 * DAY_S - 60)
    found = []
    for _ in range(int(defaults.RETENTION_PUT_OFF_S / 60) + 1):
        rig.engine.handled += int(60 * defaults.RETENTION_CALM_PER_S) + 60
        found.append(await rig.look_after(60))
    assert found.index(True) == defaults.RETENTION_PUT_OFF_S / 60 - 1


async def test_what_is_erased_is_scrubbed_soon_and_once_for_all_of_that_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "SCRUB_AFTER_S", 0.001)
    scrubs: list[bool] = []
    scrubbed = asyncio.Event()

    async def scrub() -> bool:
        scrubs.append(len(scrubs) > 0)  # the first one finds something in its way
        if scrubs[-1]:
            scrubbed.set()
        return scrubs[-1]

    monkeypatch.setattr(rig.engine, "scrub", scrub)
    running = asyncio.create_task(rig.maintenance.run())
    for _ in range(3):
        rig.maintenance.erased()
    await scrubbed.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert scrubs == [False, True]
