"""What a worker does not take, and what it leaves behind: another one gets it, and it never counts."""

from __future__ import annotations

import math

import pytest

from cavvy import defaults
from cavvy.core.effects import Assign
from cavvy.core.job import AttemptEnd, FailureCode, JobStatus, RejectReason
from cavvy.testing import FakeWorker, Stack


async def ends(stack: Stack, job_id: str) -> list[tuple[AttemptEnd | None, bool]]:
    return [(one.end, one.counted) for one in (await stack.job(job_id)).attempts]


# -- job_reject


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize(
    ("reason", "end"),
    [
        (RejectReason.BUSY, AttemptEnd.REJECTED),
        (RejectReason.UNSUPPORTED, AttemptEnd.REJECTED),
        (RejectReason.DRAINING, AttemptEnd.DRAINED),
    ],
)
async def test_a_job_its_worker_does_not_take_is_granted_to_another_uncounted(
    stack: Stack, worker: FakeWorker, reason: RejectReason, end: AttemptEnd, started: bool
) -> None:
    grant = stack.assigned(await stack.submit())
    if started:
        await stack.do(worker.started(grant))
    await FakeWorker(stack, "other").join()
    await stack.do(worker.rejected(grant, reason))
    assert await ends(stack, grant.job_id) == [(end, False), (None, False)]
    assert (await stack.job(grant.job_id)).tries == 0


async def test_a_cancelled_job_that_is_rejected_ends_aborted(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(stack.cancellation(grant.job_id))
    await stack.do(worker.rejected(grant))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code) == (JobStatus.FAILED, FailureCode.ABORTED)


async def test_a_rejection_frees_the_slot(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit(model="m"))
    await stack.do(stack.cancellation(grant.job_id), worker.rejected(grant))
    assert stack.assigned(await stack.submit()).session == worker.session


async def test_a_rejection_of_an_older_attempt_changes_nothing(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await worker.disconnect()
    other = FakeWorker(stack, "other")
    await other.join()
    await stack.later(6.0)
    await worker.connect()
    assert stack.assigned(grant.job_id).epoch == 2
    await stack.do(worker.rejected(grant))
    assert (await stack.job(grant.job_id)).status is JobStatus.ASSIGNED


async def test_nobody_rejects_what_another_worker_has(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    other = FakeWorker(stack, "other")
    await other.join()
    await stack.do(other.rejected(grant))
    assert await ends(stack, grant.job_id) == [(None, False)]


async def test_a_worker_that_rejects_because_it_leaves_is_given_nothing_more(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.rejected(grant, RejectReason.DRAINING))
    await stack.submit()
    assert len(stack.all(Assign)) == 1


# -- drain


async def test_p12_a_worker_that_leaves_is_given_nothing_and_finishes_what_it_runs(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), worker.draining())
    waiting = await stack.submit()
    await stack.do(await worker.completed(grant))
    assert (await stack.job(grant.job_id)).status is JobStatus.COMPLETED
    assert (await stack.job(waiting)).status is JobStatus.PENDING


async def test_p12_what_it_did_not_finish_goes_back_in_the_batch_that_closes_its_socket_uncounted(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), worker.draining())
    other = FakeWorker(stack, "other")
    await other.join()
    await worker.disconnect()
    assert stack.assigned(grant.job_id).session == other.session
    assert await ends(stack, grant.job_id) == [(AttemptEnd.DRAINED, False), (None, False)]


async def test_p12_also_during_the_restart_grace(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.restart()
    await worker.connect(held=(worker.ref(grant),))
    await stack.do(worker.draining())
    await worker.disconnect()
    assert await ends(stack, grant.job_id) == [(AttemptEnd.DRAINED, False)]


async def test_a_grant_that_was_not_sent_when_its_worker_leaves_is_not_sent(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.draining())
    assert not stack.core.stands(worker.session, grant.job_id, grant.epoch)


async def test_the_next_process_of_a_worker_that_left_gets_work(stack: Stack, worker: FakeWorker) -> None:
    await stack.do(worker.draining())
    await worker.disconnect()
    await worker.connect(instance="another")
    assert stack.assigned(await stack.submit()).session == worker.session


async def test_a_rebuild_does_not_forget_that_a_worker_leaves(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), worker.draining())
    await stack.rebuild()
    await stack.do(worker.resumed(worker.ref(grant), draining=True))
    await worker.disconnect()
    assert await ends(stack, grant.job_id) == [(AttemptEnd.DRAINED, False)]


async def test_a_leaving_worker_whose_connection_breaks_and_comes_back_goes_on(
    stack: Stack, worker: FakeWorker
) -> None:
    """The new socket is here before the old one is known to be dead."""
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), worker.draining())
    await worker.connect(held=(worker.ref(grant),))
    assert await ends(stack, grant.job_id) == [(None, False)]


async def test_another_process_that_takes_over_from_one_that_left_finds_its_jobs_waiting_uncounted(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), worker.draining())
    await worker.connect(instance="another")
    assert await ends(stack, grant.job_id) == [(AttemptEnd.DRAINED, False), (None, False)]


# -- a lost socket


async def test_with_requeue_after_0_a_lost_sockets_job_is_granted_again_in_the_same_batch() -> None:
    stack = Stack(requeue_after_s=0.0)
    await stack.start()
    worker, other = FakeWorker(stack), FakeWorker(stack, "other")
    await worker.join()
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await other.join()
    await worker.disconnect()
    assert stack.assigned(grant.job_id).session == other.session


async def test_with_requeue_after_0_the_restart_grace_still_holds() -> None:
    stack = Stack(requeue_after_s=0.0)
    await stack.start()
    worker = FakeWorker(stack)
    await worker.join()
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.restart()
    await worker.connect(held=(worker.ref(grant),))
    await worker.disconnect()
    assert await ends(stack, grant.job_id) == [(None, False)]
    assert stack.core.due_s == stack.core.grace_until_s


async def test_a_lost_socket_is_over_when_its_time_is_and_not_with_the_next_sweep(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    stack.clock.advance(0.7)
    await worker.disconnect()
    stack.clock.advance(0.5)
    await stack.do()
    due_s = stack.core.due_s
    assert due_s == pytest.approx(stack.clock().mono_s + 4.5)
    await stack.later(4.4, step_s=0.1)
    assert await ends(stack, grant.job_id) == [(None, False)]
    stack.clock.advance(due_s - stack.clock().mono_s)
    await stack.do()
    assert await ends(stack, grant.job_id) == [(AttemptEnd.LOST, True)]
    assert stack.core.due_s == math.inf, "or each batch from now on looks at every lease"


# -- what a worker says of others' attempts


@pytest.mark.parametrize("draining", [False, True])
async def test_an_attempt_stays_its_workers_when_another_one_that_claimed_to_hold_it_goes(
    stack: Stack, worker: FakeWorker, draining: bool
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    other = FakeWorker(stack, "other")
    await other.connect(held=(other.ref(grant),), token_hash=await stack.token())
    await stack.do(*([other.draining()] if draining else []))
    await other.disconnect()
    for _ in range(4):
        await stack.later(2.0, worker.beat(worker.ref(grant)))
    assert await ends(stack, grant.job_id) == [(None, False)]


async def test_a_worker_that_fell_silent_is_given_nothing_before_its_socket_is_closed(
    stack: Stack, worker: FakeWorker
) -> None:
    await stack.later(defaults.LEASE_TTL_S + 2 * defaults.SWEEP_S)
    waiting = await stack.submit()
    assert (await stack.job(waiting)).status is JobStatus.PENDING
