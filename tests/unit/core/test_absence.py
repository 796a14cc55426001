"""The coordinator was away (suspended, or in a long commit): nobody else is to blame for the silence."""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.core.effects import Assign, CloseSession
from cavvy.core.job import AttemptEnd, JobStatus, Terms
from cavvy.store.base import JobRecord
from cavvy.testing import FakeWorker, Stack

AWAY_S = 300.0
MOMENT_S = 0.25


class Away(Stack):
    """A worker that runs one job."""

    async def open(self) -> None:
        await self.start()
        self.worker = FakeWorker(self)
        await self.worker.join()

    async def run(self, **terms: float) -> Assign:
        grant = await self.granted(**terms)
        await self.do(self.worker.started(grant))
        return grant

    async def granted(self, **terms: float) -> Assign:
        return self.assigned(await self.submit(terms=Terms(**terms)))  # type: ignore[arg-type]

    async def be_away(self) -> None:
        """No command and no tick; then the clocks are looked at again."""
        self.clock.advance(AWAY_S)
        await self.do()

    async def last_end(self, grant: Assign) -> AttemptEnd | None:
        return (await self.record(grant)).attempts[-1].end

    async def record(self, grant: Assign) -> JobRecord:
        return await self.job(grant.job_id)


@pytest.fixture
async def stack() -> Away:
    away = Away()
    await away.open()
    return away


async def test_a_lease_has_as_long_to_go_as_it_had(stack: Away) -> None:
    grant = await stack.run()
    await stack.do(stack.worker.beat(stack.worker.ref(grant)))
    await stack.be_away()
    await stack.later(defaults.LEASE_TTL_S - MOMENT_S)
    assert await stack.last_end(grant) is None
    await stack.later(defaults.SWEEP_S + 2 * MOMENT_S)
    assert await stack.last_end(grant) is AttemptEnd.LOST


async def test_a_socket_is_not_closed_for_a_silence_in_which_nobody_listened(stack: Away) -> None:
    await stack.be_away()
    await stack.later(defaults.LEASE_TTL_S - defaults.SWEEP_S)
    assert stack.all(CloseSession) == []
    await stack.later(2 * defaults.SWEEP_S)
    assert [one.code for one in stack.all(CloseSession)] == [4408]


async def test_whose_socket_was_lost_has_as_long_to_come_back(stack: Away) -> None:
    grant = await stack.run()
    await stack.worker.disconnect()
    await stack.be_away()
    assert stack.core.due_s == stack.clock().mono_s + defaults.REQUEUE_AFTER_S
    await stack.later(defaults.REQUEUE_AFTER_S - MOMENT_S)
    assert await stack.last_end(grant) is None
    await stack.later(2 * MOMENT_S, step_s=MOMENT_S)
    assert await stack.last_end(grant) is AttemptEnd.LOST


async def test_a_grant_that_was_under_way_is_not_taken_back(stack: Away) -> None:
    grant = await stack.granted()
    await stack.be_away()
    await stack.later(defaults.ACCEPT_TIMEOUT_S - MOMENT_S)
    assert await stack.last_end(grant) is None
    await stack.later(defaults.SWEEP_S + 2 * MOMENT_S)
    assert (await stack.record(grant)).attempts[0].end is AttemptEnd.UNDELIVERED


async def test_who_was_told_to_stop_has_as_long_to_answer(stack: Away) -> None:
    grant = await stack.run()
    await stack.do(stack.cancellation(grant.job_id))
    await stack.be_away()
    await stack.later(defaults.STOP_ACK_TIMEOUT_S - MOMENT_S)
    assert (await stack.record(grant)).status is JobStatus.RUNNING
    await stack.later(defaults.SWEEP_S + 2 * MOMENT_S)
    assert (await stack.record(grant)).status is JobStatus.FAILED


@pytest.mark.parametrize("terms", [{"timeout_s": 20.0}, {"first_token_timeout_s": 20.0}])
async def test_an_attempt_has_as_long_to_run_and_to_show_life(stack: Away, terms: dict[str, float]) -> None:
    grant = await stack.run(**terms)
    await stack.be_away()
    for _ in range(19):
        await stack.later(1.0, stack.worker.beat(stack.worker.ref(grant)))
    assert (await stack.record(grant)).status is JobStatus.RUNNING
    for _ in range(3):
        await stack.later(1.0, stack.worker.beat(stack.worker.ref(grant)))
    assert (await stack.record(grant)).status is JobStatus.FAILED


async def test_who_is_away_for_less_than_a_sweep_forgives_nothing(stack: Away) -> None:
    grant = await stack.run()
    for _ in range(int(defaults.LEASE_TTL_S + 2)):
        stack.clock.advance(1.0)
        await stack.do()
    assert await stack.last_end(grant) is AttemptEnd.LOST
