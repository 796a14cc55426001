"""The fence: only the job's highest attempt is spoken for, by nobody but the worker that was granted it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from cavvy import defaults
from cavvy.core.commands import Command
from cavvy.core.effects import Assign, CompletionAnswered, FrameRefused, JobChanged, StopAttempt, Verdict
from cavvy.core.job import AttemptEnd, AttemptRef, FailureCode, JobStatus
from cavvy.testing import FakeWorker, Stack

Frame = Callable[[FakeWorker, Assign], Awaitable[Command]]


async def started(worker: FakeWorker, grant: Assign) -> Command:
    return worker.started(grant)


async def completed(worker: FakeWorker, grant: Assign) -> Command:
    return await worker.completed(grant)


async def failed(worker: FakeWorker, grant: Assign) -> Command:
    return worker.failed(grant)


async def failed_for_now(worker: FakeWorker, grant: Assign) -> Command:
    return worker.failed(grant, retryable=True)


async def stopped(worker: FakeWorker, grant: Assign) -> Command:
    return worker.stopped(grant)


async def rejected(worker: FakeWorker, grant: Assign) -> Command:
    return worker.rejected(grant)


async def standing(stack: Stack, grant: Assign) -> tuple[object, ...]:
    """What has become of the job; what an attempt had used may be told late."""
    job = await stack.job(grant.job_id)
    ends = [(one.epoch, one.end, one.counted) for one in job.attempts]
    return job.status, job.epoch, job.tries, job.failure, job.result, ends


FRAMES = pytest.mark.parametrize("frame", [started, completed, failed, failed_for_now, stopped, rejected])


async def granted_again(stack: Stack, worker: FakeWorker) -> tuple[Assign, Assign]:
    """The worker lost its attempt, and has the job again."""
    first = stack.assigned(await stack.submit())
    await stack.do(worker.started(first))
    for _ in range(int(defaults.LEASE_TTL_S) + 3):
        await stack.later(1.0, worker.beat())
    second = stack.assigned(first.job_id)
    assert (second.session, second.epoch) == (worker.session, 2)
    return first, second


@FRAMES
async def test_p03_what_a_worker_says_of_a_lost_attempt_is_not_said_of_the_one_it_has_now(
    stack: Stack, worker: FakeWorker, frame: Frame
) -> None:
    first, second = await granted_again(stack, worker)
    late = await frame(worker, first)
    before = await standing(stack, first)
    await stack.do(late)
    assert await standing(stack, first) == before
    assert stack.all(FrameRefused) == []
    assert all(one.verdict is Verdict.STALE for one in stack.all(CompletionAnswered))
    await stack.do(worker.started(second), await worker.completed(second))
    assert (await stack.job(first.job_id)).status is JobStatus.COMPLETED


@FRAMES
async def test_p03_what_another_worker_says_of_an_attempt_changes_nothing_and_is_refused(
    stack: Stack, worker: FakeWorker, frame: Frame
) -> None:
    grant = stack.assigned(await stack.submit())
    other = FakeWorker(stack, "other")
    await other.join()
    before = await standing(stack, grant)
    effects = await stack.do(await frame(other, grant))
    assert await standing(stack, grant) == before
    assert [(one.session, one.code) for one in effects if isinstance(one, FrameRefused)] == [
        (other.session, "not_yours")
    ]
    assert stack.all(CompletionAnswered) == []


@pytest.mark.parametrize("end", [failed_for_now, rejected])
@pytest.mark.parametrize("frame", [started, completed])
async def test_p03_an_attempt_that_its_worker_has_given_back_does_not_come_back(
    stack: Stack, worker: FakeWorker, end: Frame, frame: Frame
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(await end(worker, grant))
    before = await standing(stack, grant)
    assert before[0] is JobStatus.PENDING
    await stack.do(await frame(worker, grant))
    assert await standing(stack, grant) == before
    assert all(one.verdict is Verdict.STALE for one in stack.all(CompletionAnswered))


async def test_p15_who_sends_a_receipt_that_does_not_verify_is_told_why_and_to_forget_it(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(await worker.completed(grant, job_id="another"))
    assert stack.last(FrameRefused).code == "rejected_receipt"
    assert stack.last(CompletionAnswered).verdict is Verdict.STALE


async def test_an_output_that_is_too_long_fails_its_job_and_is_forgotten(
    stack: Stack, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "MAX_OUTPUT_BYTES", 10)
    grant = stack.assigned(await stack.submit())
    await stack.do(await worker.completed(grant, "x" * 11))
    failure = (await stack.job(grant.job_id)).failure
    assert failure is not None
    assert failure.code is FailureCode.OUTPUT_TOO_LARGE
    assert stack.last(CompletionAnswered).verdict is Verdict.STALE


async def test_an_output_as_long_as_it_may_be_is_taken(
    stack: Stack, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "MAX_OUTPUT_BYTES", 10)
    grant = stack.assigned(await stack.submit())
    await stack.do(await worker.completed(grant, "x" * 10))
    assert stack.last(CompletionAnswered).verdict is Verdict.ACCEPTED


async def lost(stack: Stack, worker: FakeWorker) -> Assign:
    """Its lease is over, nobody else has the job, and its worker's socket is still there."""
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    for _ in range(int(defaults.LEASE_TTL_S) + 3):
        await stack.later(1.0, worker.beat(free=0))
    assert (await stack.job(grant.job_id)).attempts[-1].end is AttemptEnd.LOST
    return grant


async def test_the_late_result_of_a_lost_attempt_is_taken_while_nobody_else_has_the_job(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = await lost(stack, worker)
    await stack.do(await worker.completed(grant))
    job = await stack.job(grant.job_id)
    assert stack.last(CompletionAnswered).verdict is Verdict.ACCEPTED
    assert (job.status, job.epoch, len(job.attempts)) == (JobStatus.COMPLETED, 1, 1)


async def test_a_lost_attempt_whose_worker_says_that_it_began_goes_on(stack: Stack, worker: FakeWorker) -> None:
    grant = await lost(stack, worker)
    await stack.do(worker.started(grant))
    job = await stack.job(grant.job_id)
    assert (job.status, job.epoch, job.tries) == (JobStatus.RUNNING, 1, 0)


@pytest.mark.parametrize("frame", [failed, failed_for_now, stopped, rejected])
async def test_the_end_of_a_lost_attempt_without_a_result_changes_nothing(
    stack: Stack, worker: FakeWorker, frame: Frame
) -> None:
    grant = await lost(stack, worker)
    before = await standing(stack, grant)
    await stack.do(worker.draining(), await frame(worker, grant))
    assert await standing(stack, grant) == before


async def test_who_begins_a_job_that_has_ended_is_told_to_stop(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.failed(grant, "input_too_large"))
    (told,) = await stack.do(worker.started(grant))
    assert isinstance(told, StopAttempt)
    assert (told.session, told.job_id, told.epoch) == (worker.session, grant.job_id, 1)


async def test_a_socket_that_is_gone_is_told_nothing(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.failed(grant, "input_too_large"))
    await worker.disconnect()
    assert await stack.do(worker.started(grant)) == []


async def test_a_slot_is_taken_by_an_attempt_that_began_though_nobody_wants_it(
    stack: Stack, worker: FakeWorker
) -> None:
    first, second = await granted_again(stack, worker)
    await stack.do(worker.failed(second))
    await stack.do(worker.started(first))
    waiting = await stack.submit()
    assert (await stack.job(waiting)).status is JobStatus.PENDING
    await stack.do(worker.stopped(first))
    assert (await stack.job(waiting)).status is JobStatus.ASSIGNED


async def test_who_watches_a_job_hears_when_it_began(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    (told,) = await stack.do(worker.started(grant))
    assert isinstance(told, JobChanged)
    assert (told.job.status, told.started_at_ms) == (JobStatus.RUNNING, stack.clock().wall_ms)


async def test_to_say_again_that_an_attempt_began_changes_nothing(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.later(2.0)
    before = await stack.job(grant.job_id)
    assert (await stack.do(worker.started(grant)), await stack.later(2.0)) == ([], [])
    assert await stack.job(grant.job_id) == before
    assert before.attempts[0].started_at_ms is not None


async def test_epochs_rise_with_each_grant_and_none_is_given_twice(stack: Stack, worker: FakeWorker) -> None:
    job_id = await stack.submit()
    for _ in range(4):
        await stack.do(worker.rejected(stack.assigned(job_id)))
        await stack.rebuild()
        await worker.connect()
        await stack.later(60.0)
        await worker.connect()
    grants = [one for one in stack.all(Assign) if one.job_id == job_id]
    assert [one.epoch for one in grants] == [*range(1, len(grants) + 1)]
    assert len(grants) > 4
    assert AttemptRef(job_id, len(grants)) == worker.ref(grants[-1])
