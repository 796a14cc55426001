"""When a slot is free: when its worker says so, and not because a frame crossed another."""

from __future__ import annotations

from cavvy.core.job import JobStatus
from cavvy.testing import FakeWorker, Stack


async def waits(stack: Stack) -> bool:
    """Whether another job finds no free slot."""
    return (await stack.job(await stack.submit())).status is JobStatus.PENDING


async def test_a_heartbeat_that_crosses_a_grant_frees_no_slot(stack: Stack, worker: FakeWorker) -> None:
    await stack.submit()
    await stack.do(worker.beat())
    assert await waits(stack)


async def test_a_slot_that_its_worker_calls_busy_is_busy(stack: Stack, worker: FakeWorker) -> None:
    await stack.do(worker.beat(free=0))
    assert await waits(stack)


async def test_a_slot_is_busy_until_its_worker_says_that_it_is_free(stack: Stack, worker: FakeWorker) -> None:
    await stack.do(worker.beat(free=0))
    waiting = await stack.submit()
    await stack.do(worker.beat())
    assert (await stack.job(waiting)).status is JobStatus.ASSIGNED


async def test_the_slot_of_an_attempt_that_was_ended_is_busy_until_its_worker_drops_it(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.cancellation(grant.job_id))
    await stack.later(stack.settings.stop_ack_timeout_s + 2 * stack.settings.sweep_s)
    assert (await stack.job(grant.job_id)).status is JobStatus.FAILED
    waiting = await stack.submit()
    await stack.do(worker.beat(worker.ref(grant), free=0))
    assert (await stack.job(waiting)).status is JobStatus.PENDING
    await stack.do(worker.beat())
    assert (await stack.job(waiting)).status is JobStatus.ASSIGNED


async def test_the_slot_of_what_a_worker_comes_with_and_has_to_drop_is_free_when_it_says_so(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.failed(grant, "input_too_large"))
    await worker.connect(held=(worker.ref(grant),))
    waiting = await stack.submit()
    assert (await stack.job(waiting)).status is JobStatus.PENDING
    await stack.do(worker.beat())
    assert (await stack.job(waiting)).status is JobStatus.ASSIGNED
