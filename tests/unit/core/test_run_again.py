"""Running a failed job again: the one way out of `failed`, by explicit call."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cavvy.core.commands import RunAgain, StopTenant
from cavvy.core.effects import Assign, JobChanged, Reply, ReplyCode
from cavvy.core.job import AttemptEnd, FailureCode, JobStatus, Terms
from cavvy.errors import Refused
from cavvy.store.base import header_of
from cavvy.testing import FakeWorker, Stack


async def again(stack: Stack, job_id: str) -> RunAgain:
    """The command the shell makes, from what is stored."""
    return RunAgain(ref=stack.next_ref(), job=header_of(await stack.job(job_id)))


async def failed(stack: Stack, worker: FakeWorker) -> Assign:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), worker.failed(grant))
    assert (await stack.job(grant.job_id)).status is JobStatus.FAILED
    return grant


async def test_a_failed_job_runs_again_under_the_next_epoch_in_the_same_batch(stack: Stack, worker: FakeWorker) -> None:
    grant = await failed(stack, worker)
    await stack.do(await again(stack, grant.job_id))
    new = stack.assigned(grant.job_id)
    assert (stack.last(Reply).code, new.epoch) == (ReplyCode.OK, 2)
    await stack.do(await worker.completed(new))
    job = await stack.job(grant.job_id)
    assert (job.status, job.number, job.failure) == (JobStatus.COMPLETED, 1, None)
    assert [one.end for one in job.attempts] == [AttemptEnd.FAILED, AttemptEnd.COMPLETED]


async def test_who_watches_sees_it_wait_then_the_new_attempt(stack: Stack, worker: FakeWorker) -> None:
    grant = await failed(stack, worker)
    effects = await stack.do(await again(stack, grant.job_id))
    seen = [(one.job.status, one.job.epoch) for one in effects if isinstance(one, JobChanged)]
    assert seen == [("pending", 1), ("assigned", 2)]


async def test_its_tries_start_anew(stack: Stack, worker: FakeWorker) -> None:
    grant = await failed(stack, worker)
    assert (await stack.job(grant.job_id)).tries == 1
    await stack.do(await again(stack, grant.job_id))
    for _ in range(2):
        await stack.do(worker.started(stack.assigned(grant.job_id)))
        await worker.disconnect()
        await worker.connect(instance=f"{worker.instance}+")
    assert (await stack.job(grant.job_id)).status is JobStatus.ASSIGNED
    assert (await stack.job(grant.job_id)).tries == 2


async def test_a_stopped_job_runs_again_with_no_trace_of_the_stop(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(stack.cancellation(grant.job_id), worker.stopped(grant))
    await stack.do(await again(stack, grant.job_id))
    job = await stack.job(grant.job_id)
    assert (job.status, job.cancel, job.failure, job.completed_at_ms) == (JobStatus.ASSIGNED, None, None, None)


async def test_one_that_failed_before_any_attempt_runs_too(stack: Stack, worker: FakeWorker) -> None:
    busy = stack.assigned(await stack.submit())
    waiting = await stack.submit()
    await stack.do(stack.cancellation(waiting))
    await stack.do(await again(stack, waiting), await worker.completed(busy))
    assert stack.assigned(waiting).epoch == 1


@pytest.mark.parametrize("how", ["live", "restart"])
async def test_an_attempt_of_the_run_before_never_comes_back(stack: Stack, worker: FakeWorker, how: str) -> None:
    command = replace(stack.submission(), terms=Terms(max_attempts=1))
    await stack.do(command)
    grant = stack.assigned(command.id)
    await stack.do(worker.started(grant))
    done = await worker.completed(grant)
    await worker.disconnect()
    await stack.later(6.0)
    failure = (await stack.job(grant.job_id)).failure
    assert failure is not None
    assert failure.code is FailureCode.WORKER_LOST
    await stack.do(await again(stack, grant.job_id))
    if how == "restart":
        await stack.restart()
    registered = await worker.connect(held=(worker.ref(grant),))
    assert [one.verdict for one in registered.resume] == ["stale"]
    await stack.do(replace(done, session=worker.session), worker.beat())
    job = await stack.job(grant.job_id)
    assert (job.status, job.epoch, job.tries) == (JobStatus.ASSIGNED, 2, 0)


async def test_a_live_job_is_left_alone_and_its_status_is_told(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), await again(stack, grant.job_id))
    reply = stack.last(Reply)
    assert (reply.code, reply.status) == (ReplyCode.NOT_FAILED, JobStatus.RUNNING)
    assert (await stack.job(grant.job_id)).epoch == 1


async def test_two_at_once_run_it_once(stack: Stack, worker: FakeWorker) -> None:
    grant = await failed(stack, worker)
    effects = await stack.do(await again(stack, grant.job_id), await again(stack, grant.job_id))
    assert [one.code for one in effects if isinstance(one, Reply)] == [ReplyCode.OK, ReplyCode.NOT_FAILED]
    assert stack.assigned(grant.job_id).epoch == 2


async def test_a_decision_on_what_has_changed_since_is_refused_by_the_store(stack: Stack, worker: FakeWorker) -> None:
    grant = await failed(stack, worker)
    stale = await again(stack, grant.job_id)
    await stack.do(await again(stack, grant.job_id))
    await stack.do(worker.failed(stack.assigned(grant.job_id)))
    with pytest.raises(Refused):
        await stack.do(stale)


async def test_after_its_deadline_it_does_not_run_again(stack: Stack, worker: FakeWorker) -> None:
    command = replace(stack.submission(), terms=Terms(deadline_at_ms=stack.clock().wall_ms + 1000))
    await stack.do(command)
    await stack.do(worker.failed(stack.assigned(command.id)))
    stack.clock.advance(2.0)
    await stack.do(await again(stack, command.id))
    assert stack.last(Reply).code is ReplyCode.DEADLINE_PASSED
    assert (await stack.job(command.id)).status is JobStatus.FAILED


async def test_with_its_deadline_ahead_it_does_and_ends_there(stack: Stack, worker: FakeWorker) -> None:
    command = replace(stack.submission(), terms=Terms(deadline_at_ms=stack.clock().wall_ms + 5000))
    await stack.do(command)
    await stack.do(worker.failed(stack.assigned(command.id)))
    await worker.disconnect()
    await stack.do(await again(stack, command.id))
    await stack.later(6.0)
    failure = (await stack.job(command.id)).failure
    assert failure is not None
    assert failure.code is FailureCode.DEADLINE


async def test_a_full_queue_refuses_it_like_a_new_job(worker: FakeWorker) -> None:
    stack = Stack(max_pending_per_tenant=1)
    await stack.start()
    job_id = await stack.submit()
    await stack.do(stack.cancellation(job_id))
    await stack.submit()
    await stack.do(await again(stack, job_id))
    assert stack.last(Reply).code is ReplyCode.QUEUE_FULL


async def test_p10_while_its_tenant_is_stopped_it_does_not_run(stack: Stack, worker: FakeWorker) -> None:
    grant = await failed(stack, worker)
    await stack.do(StopTenant(ref=stack.next_ref(), tenant="default", by="owner"))
    await stack.do(await again(stack, grant.job_id))
    reply = stack.last(Reply)
    assert (reply.code, reply.stop is not None) == (ReplyCode.STOPPED, True)
    assert (await stack.job(grant.job_id)).status is JobStatus.FAILED
