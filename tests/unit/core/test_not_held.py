"""A worker comes without what it was granted: sent again if it cannot have begun, else lost."""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.core.effects import Assign
from cavvy.core.job import AttemptEnd, FailureCode, JobStatus
from cavvy.core.worker_status import WorkerAction
from cavvy.testing import FakeWorker, Stack


async def comes_back(stack: Stack, worker: FakeWorker, way: str) -> None:
    """With nothing in its hands, the same process."""
    if way == "a new socket":
        await worker.connect()
    else:
        await stack.rebuild()
        await stack.do(worker.resumed())


WAYS = pytest.mark.parametrize("way", ["a new socket", "a rebuild"])


async def ends(stack: Stack, job_id: str) -> list[AttemptEnd | None]:
    return [one.end for one in (await stack.job(job_id)).attempts]


@WAYS
async def test_what_cannot_have_begun_is_sent_again_under_the_same_epoch(
    stack: Stack, worker: FakeWorker, way: str
) -> None:
    grant = stack.assigned(await stack.submit())
    await comes_back(stack, worker, way)
    again = stack.assigned(grant.job_id)
    assert len(stack.all(Assign)) == 2
    assert (again.session, again.epoch) == (worker.session, 1)
    assert stack.core.stands(worker.session, grant.job_id, 1)


@WAYS
async def test_what_is_sent_again_has_its_slot_and_a_lease_from_then_on(
    stack: Stack, worker: FakeWorker, way: str
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.later(defaults.ACCEPT_TIMEOUT_S - 1)
    await comes_back(stack, worker, way)
    waiting = await stack.submit()
    await stack.later(defaults.ACCEPT_TIMEOUT_S - 1)
    assert (await stack.job(waiting)).status is JobStatus.PENDING
    await stack.do(worker.beat(worker.ref(grant)))
    await stack.later(defaults.LEASE_TTL_S - 1)
    assert await ends(stack, grant.job_id) == [None]


@WAYS
async def test_what_had_begun_is_lost(stack: Stack, worker: FakeWorker, way: str) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.later(defaults.LAZY_WRITE_S)
    await comes_back(stack, worker, way)
    assert (await ends(stack, grant.job_id))[0] is AttemptEnd.LOST


@WAYS
async def test_what_had_begun_is_lost_also_at_a_worker_that_takes_nothing_new(
    stack: Stack, worker: FakeWorker, way: str
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.management(worker.key, WorkerAction.PAUSE))
    await stack.later(defaults.LAZY_WRITE_S)
    await comes_back(stack, worker, way)
    assert await ends(stack, grant.job_id) == [AttemptEnd.LOST]


@WAYS
async def test_what_was_asked_to_stop_is_not_sent_again_but_ended(stack: Stack, worker: FakeWorker, way: str) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(stack.cancellation(grant.job_id))
    await comes_back(stack, worker, way)
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert job.failure.code is FailureCode.ABORTED
    assert stack.all(Assign) == [grant]


@WAYS
async def test_a_worker_that_takes_nothing_new_is_not_sent_it_again(stack: Stack, worker: FakeWorker, way: str) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(stack.management(worker.key, WorkerAction.PAUSE))
    await comes_back(stack, worker, way)
    assert await ends(stack, grant.job_id) == [AttemptEnd.UNDELIVERED]
    assert stack.all(Assign) == [grant]


async def test_another_process_of_the_worker_is_sent_it_under_a_new_epoch_only(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    await worker.connect(instance="another")
    assert await ends(stack, grant.job_id) == [AttemptEnd.LOST, None]
    assert stack.assigned(grant.job_id).epoch == 2
