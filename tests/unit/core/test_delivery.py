"""Between the grant and the socket: what may still be sent, and what becomes of what was not."""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.core.commands import Undelivered
from cavvy.core.effects import Assign
from cavvy.core.job import AttemptEnd, FailureCode, JobStatus
from cavvy.core.worker_status import WorkerAction
from cavvy.core.writes import DropExpiredTokens
from cavvy.testing import FakeWorker, Stack


@pytest.fixture
async def grant(stack: Stack, worker: FakeWorker) -> Assign:
    return stack.assigned(await stack.submit())


def stands(stack: Stack, grant: Assign, *, session: int | None = None, epoch: int | None = None) -> bool:
    return stack.core.stands(session or grant.session, grant.job_id, epoch or grant.epoch)


def undelivered(grant: Assign, *, session: int | None = None, epoch: int | None = None) -> Undelivered:
    return Undelivered(session=session or grant.session, job_id=grant.job_id, epoch=epoch or grant.epoch)


# -- what may be sent


async def test_a_grant_stands_on_its_own_socket_and_under_its_own_epoch_only(stack: Stack, grant: Assign) -> None:
    other = FakeWorker(stack, "other")
    await other.join()
    assert stands(stack, grant)
    assert not stands(stack, grant, session=other.session)
    assert not stands(stack, grant, epoch=2)
    assert not stack.core.stands(grant.session, "no such job", 1)


async def test_a_grant_under_way_does_not_stand_when_its_job_was_granted_anew(
    stack: Stack, worker: FakeWorker, grant: Assign
) -> None:
    await stack.do(undelivered(grant))
    assert stack.assigned(grant.job_id).epoch == 2
    assert not stands(stack, grant)
    assert stands(stack, stack.assigned(grant.job_id))


async def test_a_grant_does_not_stand_when_its_job_is_cancelled(stack: Stack, grant: Assign) -> None:
    stack.core.handle(stack.cancellation(grant.job_id), stack.clock())
    assert not stands(stack, grant)


async def test_a_grant_does_not_stand_on_a_socket_that_is_gone(stack: Stack, worker: FakeWorker, grant: Assign) -> None:
    await worker.disconnect()
    assert not stands(stack, grant)


async def test_a_grant_does_not_stand_when_its_worker_was_paused_unless_it_has_it_already(
    stack: Stack, worker: FakeWorker, grant: Assign
) -> None:
    stack.core.handle(stack.management(worker.key, WorkerAction.PAUSE), stack.clock())
    assert not stands(stack, grant)
    await stack.do(worker.started(grant))
    assert stands(stack, grant)


# -- what was not sent


async def test_what_was_not_delivered_is_granted_again_at_once_and_uncounted(
    stack: Stack, worker: FakeWorker, grant: Assign
) -> None:
    await stack.do(undelivered(grant))
    job = await stack.job(grant.job_id)
    assert [(one.epoch, one.end, one.counted) for one in job.attempts] == [
        (1, AttemptEnd.UNDELIVERED, False),
        (2, None, False),
    ]
    assert job.tries == 0


async def test_what_is_too_large_for_a_frame_fails_for_good(stack: Stack, worker: FakeWorker, grant: Assign) -> None:
    await stack.do(
        Undelivered(session=grant.session, job_id=grant.job_id, epoch=1, code=FailureCode.INPUT_TOO_LARGE.value)
    )
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.failure.code, len(job.attempts)) == (FailureCode.INPUT_TOO_LARGE, 1)
    assert (await stack.job(await stack.submit())).status is JobStatus.ASSIGNED, "its slot is free"


@pytest.mark.parametrize("where", ["another epoch", "another socket", "after its end"])
async def test_what_was_not_delivered_elsewhere_changes_nothing(
    stack: Stack, worker: FakeWorker, grant: Assign, where: str
) -> None:
    other = FakeWorker(stack, "other")
    await other.join()
    said = {
        "another epoch": undelivered(grant, epoch=7),
        "another socket": undelivered(grant, session=other.session),
        "after its end": undelivered(grant),
    }[where]
    if where == "after its end":
        await stack.do(await worker.completed(grant))
    before = await stack.job(grant.job_id)
    await stack.do(said)
    assert await stack.job(grant.job_id) == before


# -- idle


async def test_what_has_nothing_to_do_writes_nothing(stack: Stack, worker: FakeWorker) -> None:
    before = len(stack.writes)
    for _ in range(5):
        await stack.later(2.0, worker.beat())
    assert len(stack.writes) == before


async def test_a_token_that_nobody_used_in_time_goes_once(stack: Stack) -> None:
    await stack.token(ttl_s=5)
    await stack.later(5 + 5 * defaults.SWEEP_S)
    assert len([one for one in stack.writes if isinstance(one, DropExpiredTokens)]) == 1
