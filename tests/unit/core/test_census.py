"""The census says at any time how many live jobs there are, as if somebody had counted; who watches is told of each."""

from __future__ import annotations

from collections import Counter

from cavvy.core.effects import JobChanged, JobEnded
from cavvy.core.job import TERMINAL, AttemptEnd, Effort, FailureCode, JobStatus
from cavvy.core.writes import Usage
from cavvy.testing import FakeWorker, Stack


def counted(stack: Stack) -> dict[str, int]:
    """What the census says, without noughts."""
    census = stack.core.census
    live = {one: sum(census.count(one, effort) for effort in Effort) for one in JobStatus if one not in TERMINAL}
    return {status.value: count for status, count in live.items() if count}


async def test_the_census_follows_a_job_to_its_completion(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    waits = await stack.submit()
    seen = [counted(stack)]
    await stack.do(worker.started(grant))
    seen.append(counted(stack))
    await stack.do(await worker.completed(grant))
    seen.append(counted(stack))
    assert seen == [{"assigned": 1, "pending": 1}, {"running": 1, "pending": 1}, {"assigned": 1}]
    await stack.do(stack.cancellation(waits), worker.stopped(stack.assigned(waits)))
    assert counted(stack) == {}


async def test_a_lost_attempt_is_counted_among_the_waiting_and_its_revival_among_the_running(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await worker.disconnect()
    await stack.later(20)
    assert counted(stack) == {"pending": 1}
    lost = stack.last(JobChanged)
    assert (lost.job.status, lost.end, lost.job.needs.tenant) == (JobStatus.PENDING, AttemptEnd.LOST, "default")
    await worker.connect(held=(worker.ref(grant),))
    assert counted(stack) == {"running": 1}


async def test_after_a_rebuild_the_census_counts_what_the_store_holds(stack: Stack, worker: FakeWorker) -> None:
    for _ in range(3):
        await stack.submit()
    await stack.rebuild()
    assert counted(stack) == {"assigned": 1, "pending": 2}
    assert Counter(job.status.value for job in stack.core._board.jobs.values()) == counted(stack)


async def test_whoever_watches_hears_of_a_new_job_before_it_is_granted(stack: Stack, worker: FakeWorker) -> None:
    job_id = await stack.submit()
    told = [(one.job.status, one.job.epoch, one.job.worker) for one in stack.all(JobChanged) if one.job.id == job_id]
    assert told == [(JobStatus.PENDING, 0, None), (JobStatus.ASSIGNED, 1, worker.key)]


async def test_the_end_says_how_why_and_what_was_used(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(stack.cancellation(grant.job_id), worker.stopped(grant))
    ended = stack.last(JobEnded)
    assert ended.failure is not None
    assert (ended.failure.code, ended.end, ended.job.worker) == (FailureCode.ABORTED, AttemptEnd.ABORTED, worker.key)
    assert ended.usage == Usage(output_tokens=3)
