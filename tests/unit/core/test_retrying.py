"""An attempt that did not complete: tried again, elsewhere if possible, and not for ever."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from cavvy.core.effects import Assign, WorkerCooled
from cavvy.core.job import AttemptEnd, FailureCode, JobStatus, RejectReason, Terms
from cavvy.core.writes import Usage
from cavvy.testing import FakeWorker, Stack


async def begun(stack: Stack, worker: FakeWorker, **terms: Any) -> Assign:
    """A new job that runs on the worker."""
    command = replace(stack.submission(), terms=Terms(**terms))
    await stack.do(command)
    grant = stack.assigned(command.id)
    assert grant.session == worker.session
    await stack.do(worker.started(grant))
    return grant


async def die(stack: Stack, worker: FakeWorker) -> None:
    """The worker's process is killed, and another one comes."""
    await worker.disconnect()
    await worker.connect(instance=f"{worker.instance}+")


async def awaited(stack: Stack, job_id: str, seconds: float, *workers: FakeWorker) -> Assign:
    """The newest grant after this time, in which these workers stay connected."""
    for _ in range(int(seconds * 2)):
        await stack.later(0.5, *(worker.beat() for worker in workers))
    return stack.assigned(job_id)


# -- job_failed


async def test_a_failure_that_may_go_better_is_tried_again_after_a_pause(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker)
    await stack.do(worker.failed(grant, retryable=True))
    assert (await stack.job(grant.job_id)).status is JobStatus.PENDING
    assert stack.assigned(grant.job_id).epoch == 1
    assert (await awaited(stack, grant.job_id, 0.5, worker)).epoch == 1
    assert (await awaited(stack, grant.job_id, 0.5, worker)).epoch == 2


async def test_the_pause_doubles(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker)
    await stack.do(worker.failed(grant, retryable=True))
    grant = await awaited(stack, grant.job_id, 1.0, worker)
    await stack.do(worker.started(grant), worker.failed(grant, retryable=True))
    assert (await awaited(stack, grant.job_id, 1.5, worker)).epoch == 2
    assert (await awaited(stack, grant.job_id, 0.5, worker)).epoch == 3


async def test_every_attempt_keeps_why_it_failed_and_what_it_had_used(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker)
    await stack.do(worker.failed(grant, retryable=True))
    first = (await stack.job(grant.job_id)).attempts[0]
    assert (first.end, first.counted, first.usage) == (AttemptEnd.FAILED, True, Usage(output_tokens=2))
    assert (first.code, first.message) == (FailureCode.WORKER_ERROR, "broken")


async def test_a_failure_for_good_fails_the_job_at_once_with_its_code(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker)
    await stack.do(worker.failed(grant, "invalid_output"))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code, job.tries) == (JobStatus.FAILED, FailureCode.INVALID_OUTPUT, 1)


@pytest.mark.parametrize("code", ["input_too_large", "output_too_large", "context_truncated"])
async def test_what_depends_on_the_prompt_is_not_tried_again_whatever_the_worker_says(
    stack: Stack, worker: FakeWorker, code: str
) -> None:
    grant = await begun(stack, worker)
    await stack.do(worker.failed(grant, code, retryable=True))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code) == (JobStatus.FAILED, code)


async def test_the_last_failure_fails_the_job_with_its_code_and_message(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker, max_attempts=2)
    await stack.do(worker.failed(grant, retryable=True))
    grant = await awaited(stack, grant.job_id, 1.0, worker)
    await stack.do(worker.failed(grant, "invalid_output", retryable=True))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.failure.code, job.failure.message, job.tries) == (FailureCode.INVALID_OUTPUT, "broken", 2)


async def test_a_job_asked_to_stop_is_not_tried_again(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker)
    await stack.do(stack.cancellation(grant.job_id), worker.failed(grant, retryable=True))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code) == (JobStatus.FAILED, FailureCode.ABORTED)


async def test_a_job_that_pauses_after_a_failure_can_be_cancelled(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker)
    await stack.do(worker.failed(grant, retryable=True))
    await stack.do(stack.cancellation(grant.job_id))
    assert (await stack.job(grant.job_id)).status is JobStatus.FAILED
    assert (await awaited(stack, grant.job_id, 3.0, worker)).epoch == 1


async def test_a_restart_forgets_the_pause_and_keeps_the_count(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker)
    await stack.do(worker.failed(grant, retryable=True))
    await stack.restart()
    await worker.connect()
    assert stack.assigned(grant.job_id).epoch == 2
    assert (await stack.job(grant.job_id)).tries == 1


# -- p08: a poison job


async def test_p08_a_job_that_kills_its_workers_fails_after_its_tries(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker)
    for epoch in (1, 2, 3):
        grant = stack.assigned(grant.job_id)
        assert grant.epoch == epoch
        await stack.do(worker.started(grant))
        await die(stack, worker)
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code, job.tries) == (JobStatus.FAILED, FailureCode.WORKER_LOST, 3)
    assert [(one.end, one.counted) for one in job.attempts] == [(AttemptEnd.LOST, True)] * 3


async def test_p08_failures_and_losses_count_together(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker, max_attempts=2)
    await stack.do(worker.failed(grant, retryable=True))
    grant = await awaited(stack, grant.job_id, 1.0, worker)
    await stack.do(worker.started(grant))
    await die(stack, worker)
    assert (await stack.job(grant.job_id)).status is JobStatus.FAILED


async def test_p08_a_job_that_hurts_nobody_else_leaves_the_others_alone(stack: Stack, worker: FakeWorker) -> None:
    poison = await begun(stack, worker, max_attempts=1)
    good = await stack.submit()
    await die(stack, worker)
    assert (await stack.job(poison.job_id)).status is JobStatus.FAILED
    await stack.do(await worker.completed(stack.assigned(good)))
    assert (await stack.job(good)).status is JobStatus.COMPLETED


async def test_an_attempt_that_never_started_does_not_count(stack: Stack, worker: FakeWorker) -> None:
    job_id = await stack.submit()
    for _ in range(5):
        await die(stack, worker)
    job = await stack.job(job_id)
    assert (job.status, job.tries, job.epoch) == (JobStatus.ASSIGNED, 0, 6)


async def test_a_lost_attempt_is_granted_again_without_a_pause(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker)
    await die(stack, worker)
    assert stack.assigned(grant.job_id).epoch == 2


async def test_a_loss_that_is_undone_does_not_count(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker, max_attempts=2)
    for _ in range(3):
        await worker.disconnect()
        await stack.later(6.0)
        assert (await stack.job(grant.job_id)).tries == 1
        await worker.connect(held=(worker.ref(grant),))
        assert (await stack.job(grant.job_id)).tries == 0


async def test_after_its_last_try_a_job_stays_failed_whoever_comes_back(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker, max_attempts=1)
    done = await worker.completed(grant)
    await worker.disconnect()
    await stack.later(6.0)
    await worker.connect(finished=(worker.ref(grant),))
    await stack.do(replace(done, session=worker.session))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code) == (JobStatus.FAILED, FailureCode.WORKER_LOST)


# -- receipts


async def test_a_job_whose_receipts_are_all_refused_fails_so(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker, max_attempts=1)
    await stack.do(await worker.completed(grant, output_hash="0" * 64))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code) == (JobStatus.FAILED, FailureCode.REJECTED_RECEIPT)


async def test_a_refused_receipt_fails_the_attempt_and_the_job_goes_to_another_worker(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = await begun(stack, worker)
    other = FakeWorker(stack, "other")
    await other.join()
    await stack.do(await worker.completed(grant, output_hash="0" * 64))
    again = await awaited(stack, grant.job_id, 1.0, worker, other)
    assert again.session == other.session
    first = (await stack.job(grant.job_id)).attempts[0]
    assert (first.end, first.code, first.counted) == (AttemptEnd.FAILED, FailureCode.REJECTED_RECEIPT, True)
    await stack.do(await other.completed(again))
    assert (await stack.job(grant.job_id)).status is JobStatus.COMPLETED


# -- elsewhere


async def test_a_failed_job_goes_to_another_worker_while_there_is_one(stack: Stack, worker: FakeWorker) -> None:
    grant = await begun(stack, worker)
    other = FakeWorker(stack, "other")
    await other.join()
    await stack.do(worker.failed(grant, retryable=True))
    assert (await awaited(stack, grant.job_id, 1.0, worker, other)).session == other.session


async def test_it_comes_back_to_the_one_it_failed_on_if_the_others_have_no_time(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = await begun(stack, worker)
    other = FakeWorker(stack, "other")
    await other.join()
    busy = stack.assigned(await stack.submit())
    assert busy.session == other.session
    await stack.do(other.started(busy), worker.failed(grant, retryable=True))
    for _ in range(60):
        await stack.later(0.5, worker.beat(), other.beat(other.ref(busy)))
    assert stack.assigned(grant.job_id).epoch == 1
    for _ in range(4):
        await stack.later(0.5, worker.beat(), other.beat(other.ref(busy)))
    assert stack.assigned(grant.job_id).session == worker.session


# -- rejections


async def test_a_rejected_job_goes_elsewhere_at_once(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    other = FakeWorker(stack, "other")
    await other.join()
    await stack.do(worker.rejected(grant))
    assert stack.assigned(grant.job_id).session == other.session
    first = (await stack.job(grant.job_id)).attempts[0]
    assert (first.code, first.message) == (None, "no")


async def test_the_worker_that_rejected_a_job_gets_others_meanwhile(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.rejected(grant))
    assert stack.assigned(await stack.submit()).session == worker.session
    assert stack.assigned(grant.job_id).epoch == 1


async def test_a_worker_alone_gets_it_again_after_a_second_then_two_then_four(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    for pause_s in (1.0, 2.0, 4.0):
        epoch = grant.epoch
        await stack.do(worker.started(grant), worker.rejected(grant))
        assert (await awaited(stack, grant.job_id, pause_s - 0.5, worker)).epoch == epoch
        grant = await awaited(stack, grant.job_id, 1.0, worker)
        assert grant.epoch == epoch + 1


async def test_five_rejections_in_a_row_cool_a_worker_down_for_a_while(stack: Stack, worker: FakeWorker) -> None:
    for _ in range(5):
        assert stack.all(WorkerCooled) == []
        await stack.do(worker.rejected(stack.assigned(await stack.submit())))
    assert stack.last(WorkerCooled).until_ms == stack.clock().wall_ms + 30_000
    waiting = await stack.submit()
    for _ in range(58):
        await stack.later(0.5, worker.beat())
    assert (await stack.job(waiting)).epoch == 0
    for _ in range(4):
        await stack.later(0.5, worker.beat())
    assert stack.all(Assign)[-1].session == worker.session


async def test_a_worker_that_starts_one_in_between_does_not_cool_down(stack: Stack, worker: FakeWorker) -> None:
    for number in range(8):
        grant = stack.assigned(await stack.submit())
        if number == 4:
            await stack.do(worker.started(grant))
        await stack.do(worker.rejected(grant))
    assert stack.all(WorkerCooled) == []


async def test_a_job_that_was_rejected_twenty_times_fails(stack: Stack, worker: FakeWorker) -> None:
    job_id = await stack.submit()
    for epoch in range(1, 21):
        while stack.assigned(job_id).epoch < epoch:
            await stack.later(5.0, worker.beat(), step_s=5.0)
        grant = stack.assigned(job_id)
        await stack.do(worker.started(grant), worker.rejected(grant, RejectReason.UNSUPPORTED))
    job = await stack.job(job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code, job.failure.message) == ("failed", FailureCode.NO_ELIGIBLE_WORKER, "no")
    assert (job.tries, job.epoch) == (0, 20)
