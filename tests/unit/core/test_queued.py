"""The order of jobs and what they are told of it, by a coordinator over a store: restarts, lost workers, clocks."""

from __future__ import annotations

import pytest

from cavvy.core.commands import SessionClosed
from cavvy.core.effects import Assign
from cavvy.core.job import Effort, JobStatus
from cavvy.core.queued import Queued
from cavvy.core.worker_status import WorkerAction
from cavvy.testing import FakeWorker, Stack

BUSY = "Every worker that can run this job is busy; it starts when a slot is free."


def queued(stack: Stack, job_id: str) -> Queued | None:
    return stack.core.queued(job_id, [], stack.clock())


def place(stack: Stack, job_id: str) -> int | None:
    found = queued(stack, job_id)
    return found.position if found is not None else None


async def finish(stack: Stack, worker: FakeWorker, job_id: str) -> None:
    grant = stack.assigned(job_id)
    await stack.do(worker.started(grant), await worker.completed(grant))


async def test_500_jobs_at_once_on_4_workers_all_complete_by_priority_then_age(stack: Stack) -> None:
    efforts = [effort for _ in range(100) for effort in Effort if effort is not Effort.CRITICAL]
    efforts += [Effort.CRITICAL] * 100
    submissions = [stack.submission(effort=effort) for effort in efforts]
    await stack.do(*submissions)
    workers = [FakeWorker(stack, f"worker-{number}") for number in range(4)]
    for worker in workers:
        await worker.join()
    holders = {worker.session: worker for worker in workers}
    done = 0
    while done < 500:
        grant = stack.all(Assign)[done]
        await finish(stack, holders[grant.session], grant.job_id)
        done += 1
        stack.clock.advance(0.01)
    order = [grant.job_id for grant in stack.all(Assign)]
    assert len(set(order)) == 500
    assert {(await stack.job(job_id)).status for job_id in order} == {JobStatus.COMPLETED}
    by_effort = {one.id: one.effort for one in submissions}
    # While others wait, one in four of a tenant's grants is for them: the critical jobs are among the first 133.
    assert {by_effort[job_id] for job_id in order[134:]} == {*Effort} - {Effort.CRITICAL}
    others = [job_id for job_id in order if by_effort[job_id] is not Effort.CRITICAL]
    ranked = [one.id for effort in reversed(Effort) for one in submissions if one.effort is effort]
    assert others == [job_id for job_id in ranked if by_effort[job_id] is not Effort.CRITICAL]


async def test_a_job_whose_worker_was_lost_is_the_next(stack: Stack, worker: FakeWorker) -> None:
    first = await stack.submit()
    waiting = [await stack.submit() for _ in range(3)]
    await stack.do(worker.started(stack.assigned(first)))
    await stack.do(SessionClosed(session=worker.session))
    await stack.later(6.0)
    assert [place(stack, job_id) for job_id in (first, *waiting)] == [1, 2, 3, 4]


async def test_a_restart_keeps_the_places(stack: Stack) -> None:
    slow = await stack.submit(effort=Effort.TRIVIAL)
    stack.clock.advance(60)
    soon = [await stack.submit(effort=effort) for effort in (Effort.STANDARD, Effort.DEEP, Effort.CRITICAL)]
    before = [place(stack, job_id) for job_id in (*soon, slow)]
    await stack.restart()
    assert [place(stack, job_id) for job_id in (*soon, slow)] == before == [3, 2, 1, 4]


async def test_a_clock_that_is_set_back_changes_no_order(stack: Stack) -> None:
    first = await stack.submit()
    stack.clock.step_wall(-24 * 3600)
    stack.clock.advance(1)
    second = await stack.submit()
    assert [place(stack, first), place(stack, second)] == [1, 2]
    await stack.restart()
    assert [place(stack, first), place(stack, second)] == [1, 2]


async def test_a_grant_that_was_never_started_costs_its_user_nothing(stack: Stack) -> None:
    leaving, staying = FakeWorker(stack, "leaving"), FakeWorker(stack, "staying")
    await leaving.join()
    await staying.join()
    await stack.do(stack.management(staying.key, WorkerAction.PAUSE))
    unlucky = await stack.submit(user_id="a", estimated_tokens=10_000)
    for _ in range(20):
        await stack.submit(user_id="b", estimated_tokens=1_000)
    await stack.do(SessionClosed(session=leaving.session))
    await stack.later(6.0, staying.beat())
    await stack.do(stack.management(staying.key, WorkerAction.RESUME))
    await finish(stack, staying, stack.last(Assign).job_id)
    assert unlucky in [grant.job_id for grant in stack.all(Assign)[1:3]]


# -- what it is told


async def test_only_a_job_that_waits_has_a_place(stack: Stack, worker: FakeWorker) -> None:
    running = await stack.submit()
    waiting = await stack.submit()
    assert (queued(stack, running), queued(stack, "unknown")) == (None, None)
    assert place(stack, waiting) == 1


async def test_the_estimate_comes_with_the_first_job_that_waited(stack: Stack, worker: FakeWorker) -> None:
    jobs = [await stack.submit() for _ in range(5)]
    assert queued(stack, jobs[4]) == Queued("No worker is online. Start one with `cavvy worker`, or `cavvy up`.", 4)
    for job_id in jobs[:2]:
        stack.clock.advance(2.0)
        await finish(stack, worker, job_id)
    found = queued(stack, jobs[4])
    assert found is not None
    assert (found.position, found.estimate_s) == (2, pytest.approx(4.0))


async def test_there_is_no_estimate_while_no_worker_takes_jobs(stack: Stack, worker: FakeWorker) -> None:
    jobs = [await stack.submit() for _ in range(5)]
    stack.clock.advance(2.0)
    await finish(stack, worker, jobs[0])
    await stack.do(stack.management(worker.key, WorkerAction.PAUSE))
    found = queued(stack, jobs[4])
    assert found is not None
    assert (found.position, found.estimate_s) == (3, None)


async def test_a_job_that_its_only_worker_did_not_take_says_when_it_may(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.rejected(grant))
    found = queued(stack, grant.job_id)
    assert found is not None
    assert found == Queued("The worker that could run it did not take it, or failed; it may again in 1 s.")


async def test_a_job_that_another_worker_may_take_stands_in_line(stack: Stack, worker: FakeWorker) -> None:
    other = FakeWorker(stack, "other")
    grant = stack.assigned(await stack.submit())
    await other.join()
    await stack.submit()
    await stack.do(worker.rejected(grant))
    assert place(stack, grant.job_id) == 1
