"""Stop of everything a tenant has: what waits never starts, what runs is told at once, and it holds until released."""

from __future__ import annotations

import math

import msgspec
import pytest

from cavvy.core.commands import CancelThread, ReleaseStop, StopTenant, SubmitJob
from cavvy.core.effects import Assign, JobEnded, Reply, ReplyCode, StopAttempt, StopChanged, StopUnanswered, Verdict
from cavvy.core.job import FailureCode, JobStatus, Terms
from cavvy.core.latch import StopLatch, Stopped
from cavvy.core.writes import FailJob, RequestCancel, SetStop
from cavvy.testing import FakeWorker, Stack


@pytest.fixture
async def stack() -> Stack:
    stack = Stack(stop_slice=3)
    await stack.start()
    return stack


def stop(stack: Stack, *, latch: bool = True, by: str = "ann", tenant: str = "default") -> StopTenant:
    return StopTenant(ref=stack.next_ref(), tenant=tenant, by=by, reason="it went wild", latch=latch)


def release(stack: Stack) -> ReleaseStop:
    return ReleaseStop(ref=stack.next_ref(), tenant="default")


def unfinished(stack: Stack) -> bool:
    return stack.core.due_s == -math.inf


async def to_the_end(stack: Stack) -> None:
    while unfinished(stack):
        await stack.do()


async def refused(stack: Stack) -> StopLatch | None:
    """The stop that keeps a new job out; None when it is taken."""
    command = stack.submission()
    effects = await stack.do(command)
    reply = next(one for one in effects if isinstance(one, Reply) and one.ref == command.ref)
    return reply.stop if reply.code is ReplyCode.STOPPED else None


async def latches(stack: Stack) -> list[StopLatch]:
    return [row async for page in stack.store.load() for row in page if isinstance(row, StopLatch)]


async def statuses(stack: Stack, *job_ids: str) -> list[str]:
    return [(await stack.job(job_id)).status.value for job_id in job_ids]


async def test_p10_a_stop_tells_what_runs_and_ends_what_waits_in_one_commit(stack: Stack, worker: FakeWorker) -> None:
    running, waiting = await stack.submit(), await stack.submit()
    stack.writes.clear()
    effects = await stack.do(stop(stack))
    assert [type(one) for one in stack.writes] == [RequestCancel, SetStop, FailJob]
    assert [one.job_id for one in effects if isinstance(one, StopAttempt)] == [running]
    assert stack.last(Reply).stopped == Stopped(running=1, pending=1)
    failure = (await stack.job(waiting)).failure
    assert failure is not None
    assert (failure.code, failure.by, failure.reason) == (FailureCode.ABORTED, "ann", "it went wild")


async def test_p10_a_stopped_job_ends_when_its_worker_says_so(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(stop(stack))
    await stack.do(worker.stopped(grant))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code, job.failure.by) == ("failed", FailureCode.ABORTED, "ann")


async def test_p10_nothing_that_waits_starts_after_a_stop_however_many_there_are(
    stack: Stack, worker: FakeWorker
) -> None:
    first = await stack.submit()
    waiting = [await stack.submit() for _ in range(10)]
    await stack.do(stop(stack), worker.stopped(stack.assigned(first)))
    assert (await statuses(stack, *waiting)).count("pending") == 7
    while unfinished(stack):
        await stack.do(worker.beat())
    assert set(await statuses(stack, *waiting)) == {"failed"}
    assert {one.job_id for one in stack.all(Assign)} == {first}


async def test_what_waits_ends_in_slices_the_oldest_first(stack: Stack) -> None:
    jobs = [await stack.submit() for _ in range(7)]
    ended = [[one.job.id for one in effects if isinstance(one, JobEnded)] for effects in [await stack.do(stop(stack))]]
    while unfinished(stack):
        ended.append([one.job.id for one in await stack.do() if isinstance(one, JobEnded)])
    assert ended == [jobs[:3], jobs[3:6], jobs[6:]]


async def test_p10_a_thousand_that_run_and_ten_thousand_that_wait_end_in_ten_commits() -> None:
    stack = Stack()
    await stack.start()
    worker = FakeWorker(stack, slots=1_000)
    await worker.join()
    await stack.do(*(stack.submission() for _ in range(11_000)))
    grants = stack.all(Assign)
    await stack.do(stop(stack))
    assert stack.last(Reply).stopped == Stopped(running=1_000, pending=10_000)
    await stack.do(*(worker.stopped(grant) for grant in grants))
    commits = 2
    while unfinished(stack):
        await stack.do()
        commits += 1
    assert (commits, len(stack.all(Assign)), len(stack.all(JobEnded))) == (10, 1_000, 11_000)


async def test_p10_what_is_submitted_after_a_stop_is_refused_and_told_by_whom_and_why(stack: Stack) -> None:
    await stack.do(stop(stack))
    found = await refused(stack)
    assert found is not None
    assert (found.by, found.reason, found.at_ms) == ("ann", "it went wild", stack.clock().wall_ms)


async def test_p10_a_job_submitted_in_the_same_batch_before_the_stop_ends_and_one_after_it_is_refused(
    stack: Stack, worker: FakeWorker
) -> None:
    before, after = stack.submission(), stack.submission()
    effects = await stack.do(before, stop(stack), after)
    replies = {one.ref: one.code for one in effects if isinstance(one, Reply)}
    assert (replies[before.ref], replies[after.ref]) == (ReplyCode.OK, ReplyCode.STOPPED)
    assert (await stack.job(before.id)).status is JobStatus.FAILED
    assert stack.all(Assign) == []


async def test_a_repeated_submit_still_finds_its_job_while_stopped(stack: Stack) -> None:
    job_id = await stack.submit(key="k")
    await stack.do(stop(stack))
    assert await stack.submit(key="k") == job_id


async def test_p10_a_stop_outlives_a_restart_and_goes_on_where_it_was(stack: Stack) -> None:
    jobs = [await stack.submit() for _ in range(7)]
    await stack.do(stop(stack))
    await stack.restart()
    worker = FakeWorker(stack)
    await worker.join()
    await to_the_end(stack)
    assert set(await statuses(stack, *jobs)) == {"failed"}
    assert stack.all(Assign) == []
    assert await refused(stack) is not None


async def test_released_work_is_taken_again_and_the_stop_is_forgotten(stack: Stack, worker: FakeWorker) -> None:
    await stack.do(stop(stack))
    effects = await stack.do(release(stack))
    assert [one.latch.latched for one in effects if isinstance(one, StopChanged)] == [False]
    assert await refused(stack) is None
    assert await latches(stack) == []


async def test_p10_what_a_released_stop_has_not_ended_yet_still_ends(stack: Stack, worker: FakeWorker) -> None:
    first = await stack.submit()
    waiting = [await stack.submit() for _ in range(7)]
    await stack.do(stop(stack), worker.stopped(stack.assigned(first)))
    await stack.do(release(stack))
    assert [one.latched for one in await latches(stack)] == [False]
    fresh = await stack.submit()
    await stack.restart()
    await to_the_end(stack)
    assert set(await statuses(stack, *waiting)) == {"failed"}
    assert {one.job_id for one in stack.all(Assign)} == {first, fresh}
    assert await latches(stack) == []


async def test_releasing_what_is_not_stopped_changes_nothing(stack: Stack) -> None:
    stack.writes.clear()
    await stack.do(release(stack))
    assert (stack.last(Reply).code, stack.last(Reply).stop, stack.writes) == (ReplyCode.OK, None, [])


async def test_a_second_stop_keeps_the_name_of_the_first_and_counts_what_is_left(
    stack: Stack, worker: FakeWorker
) -> None:
    await stack.submit()
    await stack.do(stop(stack))
    stack.writes.clear()
    await stack.do(stop(stack, by="bob", latch=False))
    reply = stack.last(Reply)
    assert reply.stop is not None
    assert (reply.stop.by, reply.stop.latched, reply.stopped) == ("ann", True, Stopped(running=1, pending=0))
    assert stack.writes == []


async def test_without_the_latch_what_is_there_ends_and_new_work_is_taken(stack: Stack, worker: FakeWorker) -> None:
    jobs = [await stack.submit() for _ in range(6)]
    await stack.do(stop(stack, latch=False), worker.stopped(stack.assigned(jobs[0])))
    fresh = await stack.submit()
    await to_the_end(stack)
    assert set(await statuses(stack, *jobs)) == {"failed"}
    assert await statuses(stack, fresh) == ["assigned"]
    assert await latches(stack) == []


async def test_p10_two_stops_without_a_latch_one_behind_the_other_are_both_kept_until_both_are_done(
    stack: Stack,
) -> None:
    jobs = [await stack.submit() for _ in range(4)]
    await stack.do(stop(stack, latch=False))
    jobs += [await stack.submit(), await stack.submit(), await stack.submit(), await stack.submit()]
    await stack.do(stop(stack, latch=False, by="bob"))
    await stack.restart()
    await to_the_end(stack)
    assert set(await statuses(stack, *jobs)) == {"failed"}


async def test_p18_a_stop_ends_nothing_of_another_tenant(stack: Stack, worker: FakeWorker) -> None:
    mine = [await stack.submit(), await stack.submit()]
    await stack.do(stop(stack, tenant="other"))
    assert await statuses(stack, *mine) == ["assigned", "pending"]
    assert await refused(stack) is None


async def test_p10_a_lost_attempt_does_not_come_back_after_a_stop(stack: Stack, worker: FakeWorker) -> None:
    jobs = [await stack.submit() for _ in range(8)]
    lost = stack.assigned(jobs[0])
    await stack.do(worker.started(lost))
    await worker.disconnect()
    await stack.later(6.0)
    late = await worker.completed(lost)
    await stack.do(stop(stack))
    answer = await worker.connect(held=(worker.ref(lost),))
    assert answer.resume[0].verdict in (Verdict.STALE, Verdict.UNKNOWN)
    await stack.do(late)
    await to_the_end(stack)
    assert await statuses(stack, jobs[0]) == ["failed"]


async def test_a_job_cancelled_by_itself_while_a_stop_has_not_reached_it_ends_once(stack: Stack) -> None:
    jobs = [await stack.submit() for _ in range(7)]
    await stack.do(stop(stack))
    await stack.do(stack.cancellation(jobs[-1], "mine first"))
    await to_the_end(stack)
    failure = (await stack.job(jobs[-1])).failure
    assert failure is not None
    assert (failure.by, failure.reason) == ("owner", "mine first")


# -- a thread


def in_thread(stack: Stack, thread_id: str | None, tenant: str = "default") -> SubmitJob:
    return msgspec.structs.replace(stack.submission(tenant=tenant), thread_id=thread_id)


async def test_p10_everything_of_a_thread_is_stopped_and_nothing_else(stack: Stack, worker: FakeWorker) -> None:
    first, second, other, plain = [in_thread(stack, name) for name in ("chat", "chat", "else", None)]
    foreign = in_thread(stack, "chat", tenant="other")
    await stack.do(first, second, other, plain, foreign)
    command = CancelThread(ref=stack.next_ref(), tenant="default", thread="chat", by="ann", reason="wild")
    effects = await stack.do(command)
    assert stack.last(Reply).stopped == Stopped(running=1, pending=1)
    assert [one.job_id for one in effects if isinstance(one, StopAttempt)] == [first.id]
    assert await statuses(stack, second.id, other.id, plain.id) == ["failed", "pending", "pending"]
    assert (await stack.store.job("other", foreign.id)).status is JobStatus.PENDING  # type: ignore[union-attr]


async def test_p10_a_thread_is_known_again_after_a_restart_and_forgotten_with_its_last_job(stack: Stack) -> None:
    submission = in_thread(stack, "chat")
    await stack.do(submission)
    await stack.restart()
    command = CancelThread(ref=stack.next_ref(), tenant="default", thread="chat", by="ann")
    await stack.do(command)
    assert await statuses(stack, submission.id) == ["failed"]
    await stack.do(command)
    assert stack.last(Reply).stopped == Stopped(running=0, pending=0)


async def test_p10_a_job_that_rests_is_stopped_like_one_that_waits(stack: Stack, worker: FakeWorker) -> None:
    later = msgspec.structs.replace(stack.submission(), terms=Terms(not_before_ms=stack.clock().wall_ms + 60_000))
    await stack.do(later)
    await stack.do(stop(stack, latch=False))
    await stack.later(70.0, worker.beat(), step_s=2.0)
    assert await statuses(stack, later.id) == ["failed"]
    assert stack.all(Assign) == []


# -- a worker that does not answer


async def test_p10_a_stop_nobody_answers_ends_the_job_and_marks_its_worker(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.cancellation(grant.job_id))
    effects = await stack.later(5.0)
    assert [(one.session, one.job_id) for one in effects if isinstance(one, StopUnanswered)] == [
        (worker.session, grant.job_id)
    ]
    failure = (await stack.job(grant.job_id)).failure
    assert failure is not None
    assert (failure.code, failure.by) == (FailureCode.ABORTED, "owner")
    assert "did not answer" in failure.message


async def test_p10_it_waits_no_longer_for_an_answer_because_it_was_away_before_the_stop(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    stack.clock.advance(3600)
    await stack.do(stack.cancellation(grant.job_id))
    await stack.later(5.0)
    assert await statuses(stack, grant.job_id) == ["failed"]


async def test_p10_its_slot_is_taken_until_it_says_otherwise(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.cancellation(grant.job_id))
    await stack.later(5.0)
    waiting = await stack.submit()
    await stack.do(worker.beat(worker.ref(grant)))
    assert await statuses(stack, waiting) == ["pending"]
    await stack.do(worker.beat(free=0))
    assert await statuses(stack, waiting) == ["pending"]
    await stack.do(worker.beat())
    assert await statuses(stack, waiting) == ["assigned"]


async def test_p10_an_aborted_job_says_how_long_its_model_took_to_be_idle(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.cancellation(grant.job_id))
    await stack.do(msgspec.structs.replace(worker.stopped(grant), stopped_ms=120))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert job.attempts[-1].usage is not None
    assert (job.failure.stop_ms, job.attempts[-1].usage.output_tokens) == (120, 3)
