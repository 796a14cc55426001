"""Approve, pause, resume, drain, revoke: each at once, for good, and whatever else happens at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from cavvy import defaults
from cavvy.core.commands import Command, SessionClosed
from cavvy.core.effects import (
    Assign,
    CloseSession,
    CompletionAnswered,
    Effect,
    Reply,
    ReplyCode,
    Verdict,
    WorkerChanged,
)
from cavvy.core.job import AttemptEnd, JobStatus, WorkerStatus
from cavvy.core.worker_status import REVOKED_REASON, STATUS_AFTER, WorkerAction, status_after
from cavvy.testing import FakeWorker, Stack

APPROVE, PAUSE, RESUME, DRAIN, REVOKE = WorkerAction
HELD_BACK = [WorkerStatus.WAITING_APPROVAL, WorkerStatus.PAUSED, WorkerStatus.DRAINING]

#: How a worker that just joined gets to each status.
WAY_TO: dict[WorkerStatus, tuple[WorkerAction, ...]] = {
    WorkerStatus.WAITING_APPROVAL: (),
    WorkerStatus.APPROVED: (APPROVE,),
    WorkerStatus.PAUSED: (APPROVE, PAUSE),
    WorkerStatus.DRAINING: (APPROVE, DRAIN),
    WorkerStatus.REVOKED: (APPROVE, REVOKE),
}


async def joined_as(stack: Stack, status: WorkerStatus, name: str = "worker") -> FakeWorker:
    """A connected worker that has come to this status (a revoked one is not connected any more)."""
    worker = FakeWorker(stack, name)
    await worker.join(needs_approval=True)
    for action in WAY_TO[status]:
        await manage(stack, worker, action)
    return worker


async def manage(stack: Stack, worker: FakeWorker, action: WorkerAction) -> ReplyCode:
    effects = await stack.do(stack.management(worker.key, action))
    return next(one.code for one in effects if isinstance(one, Reply))


async def status_of(stack: Stack, worker: FakeWorker) -> WorkerStatus:
    """What the store holds."""
    return next(one.status for one in await stack.store.workers("default") if one.key == worker.key)


def assigned_to(stack: Stack, worker: FakeWorker) -> list[str]:
    return [one.job_id for one in stack.all(Assign) if one.session == worker.session]


# -- the table


def test_only_a_worker_that_was_let_in_can_be_paused_resumed_or_drained() -> None:
    for action in (PAUSE, RESUME, DRAIN):
        assert status_after(WorkerStatus.WAITING_APPROVAL, action) is None


def test_nothing_leads_out_of_revoked() -> None:
    assert {status_after(WorkerStatus.REVOKED, action) for action in WorkerAction} == {None, WorkerStatus.REVOKED}


def test_every_worker_can_be_revoked_and_every_action_can_be_repeated() -> None:
    for status in WorkerStatus:
        assert status_after(status, REVOKE) is WorkerStatus.REVOKED
    for (_, action), after in STATUS_AFTER.items():
        assert status_after(after, action) is after


@pytest.mark.parametrize("action", WorkerAction)
@pytest.mark.parametrize("status", WorkerStatus)
async def test_an_action_is_durable_at_once_or_refused_and_changes_nothing(
    stack: Stack, status: WorkerStatus, action: WorkerAction
) -> None:
    worker = await joined_as(stack, status)
    code = await manage(stack, worker, action)
    after = status_after(status, action)
    if after is not None:
        assert code is ReplyCode.OK
    elif status is WorkerStatus.REVOKED:
        assert code is ReplyCode.WORKER_REVOKED
    else:
        assert code is ReplyCode.WORKER_WAITS
    assert await status_of(stack, worker) is (after or status)


async def test_an_action_on_nobody_or_another_tenants_worker_finds_nothing(stack: Stack, worker: FakeWorker) -> None:
    for command in (stack.management("00" * 32, PAUSE), stack.management(worker.key, REVOKE, tenant="other")):
        await stack.do(command)
        assert stack.last(Reply).code is ReplyCode.NOT_FOUND
    assert await status_of(stack, worker) is WorkerStatus.APPROVED


# -- who gets work


@pytest.mark.parametrize("status", HELD_BACK)
async def test_a_worker_that_is_held_back_gets_nothing(stack: Stack, status: WorkerStatus) -> None:
    worker = await joined_as(stack, status)
    job_id = await stack.submit()
    await stack.later(3.0, worker.beat())
    assert (await stack.job(job_id)).status is JobStatus.PENDING


@pytest.mark.parametrize("status", HELD_BACK)
async def test_it_gets_what_waits_in_the_batch_that_lets_it_work(stack: Stack, status: WorkerStatus) -> None:
    worker = await joined_as(stack, status)
    job_id = await stack.submit()
    effects = await stack.do(
        stack.management(worker.key, APPROVE if status is WorkerStatus.WAITING_APPROVAL else RESUME)
    )
    assert [one.job_id for one in effects if isinstance(one, Assign)] == [job_id]
    assert [one.status for one in effects if isinstance(one, WorkerChanged)] == [WorkerStatus.APPROVED]


@pytest.mark.parametrize("restart", [Stack.restart, Stack.rebuild])
@pytest.mark.parametrize("status", HELD_BACK)
async def test_being_held_back_survives_a_restart_and_a_reconnect(
    stack: Stack, status: WorkerStatus, restart: Callable[[Stack], Awaitable[None]]
) -> None:
    worker = await joined_as(stack, status)
    await restart(stack)
    answer = await worker.connect()
    assert (answer.code, answer.status) == (ReplyCode.OK, status)
    job_id = await stack.submit()
    assert (await stack.job(job_id)).status is JobStatus.PENDING


@pytest.mark.parametrize("status", HELD_BACK)
async def test_a_socket_that_lived_through_a_rebuild_is_held_back_as_before(stack: Stack, status: WorkerStatus) -> None:
    worker = await joined_as(stack, status)
    await stack.rebuild()
    await stack.do(worker.resumed())
    job_id = await stack.submit()
    assert (await stack.job(job_id)).status is JobStatus.PENDING


async def test_an_action_on_a_worker_that_is_offline_waits_for_it(stack: Stack, worker: FakeWorker) -> None:
    await worker.disconnect()
    assert await manage(stack, worker, DRAIN) is ReplyCode.OK
    assert (await worker.connect()).status is WorkerStatus.DRAINING


async def test_a_token_that_needs_approval_still_needs_it_after_a_restart(stack: Stack) -> None:
    token_hash = await stack.token(needs_approval=True)
    await stack.restart()
    worker = FakeWorker(stack)
    answer = await worker.connect(token_hash=token_hash)
    assert answer.status is WorkerStatus.WAITING_APPROVAL
    assert await status_of(stack, worker) is WorkerStatus.WAITING_APPROVAL


async def test_enrolling_and_approving_in_one_batch_is_in_order(stack: Stack) -> None:
    """The write that approves is conditional on the one that enrols, in the same transaction."""
    token_hash = await stack.token(needs_approval=True)
    worker = FakeWorker(stack)
    await stack.do(worker.registration(token_hash=token_hash), stack.management(worker.key, APPROVE))
    assert await status_of(stack, worker) is WorkerStatus.APPROVED


# -- paused and draining: what runs goes on


@pytest.mark.parametrize("action", [PAUSE, DRAIN])
async def test_what_runs_goes_on_and_is_accepted(stack: Stack, worker: FakeWorker, action: WorkerAction) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.management(worker.key, action))
    waiting = await stack.submit()
    for _ in range(5):
        await stack.later(3.0, worker.beat(worker.ref(grant)))
    await stack.do(await worker.completed(grant))
    assert stack.last(CompletionAnswered).verdict is Verdict.ACCEPTED
    assert ((await stack.job(grant.job_id)).status, (await stack.job(waiting)).status) == ("completed", "pending")


@pytest.mark.parametrize("action", [PAUSE, DRAIN])
async def test_what_runs_goes_on_after_a_reconnect(stack: Stack, worker: FakeWorker, action: WorkerAction) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.management(worker.key, action))
    await worker.disconnect()
    answer = await worker.connect(held=(worker.ref(grant),))
    assert [one.verdict for one in answer.resume] == [Verdict.GO_ON]
    assert stack.core.stands(worker.session, grant.job_id, grant.epoch)


@pytest.mark.parametrize("action", [PAUSE, DRAIN])
async def test_a_lost_attempt_may_come_back_to_its_worker(
    stack: Stack, worker: FakeWorker, action: WorkerAction
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await worker.disconnect()
    await stack.later(6.0, stack.management(worker.key, action))
    answer = await worker.connect(finished=(worker.ref(grant),))
    assert [one.verdict for one in answer.resume] == [Verdict.GO_ON]


@pytest.mark.parametrize("action", [PAUSE, DRAIN, REVOKE])
async def test_a_grant_that_was_not_sent_yet_is_not_sent_any_more(
    stack: Stack, worker: FakeWorker, action: WorkerAction
) -> None:
    """The pump asks `stands` right before it sends."""
    grant = stack.assigned(await stack.submit())
    assert stack.core.stands(worker.session, grant.job_id, grant.epoch)
    await stack.do(stack.management(worker.key, action))
    assert not stack.core.stands(worker.session, grant.job_id, grant.epoch)


@pytest.mark.parametrize("action", [PAUSE, DRAIN, REVOKE])
@pytest.mark.parametrize("submit_first", [True, False])
async def test_a_job_of_the_same_batch_is_not_granted(
    stack: Stack, worker: FakeWorker, action: WorkerAction, submit_first: bool
) -> None:
    submit, held_back = stack.submission(), stack.management(worker.key, action)
    await stack.do(*([submit, held_back] if submit_first else [held_back, submit]))
    assert assigned_to(stack, worker) == []
    assert (await stack.job(submit.id)).epoch == 0


@pytest.mark.parametrize("action", [PAUSE, DRAIN])
async def test_what_was_granted_and_never_sent_goes_back_uncounted(
    stack: Stack, worker: FakeWorker, action: WorkerAction
) -> None:
    """The process is the same and does not name it, so it is not sent again: it is given to somebody else."""
    grant = stack.assigned(await stack.submit())
    await stack.do(stack.management(worker.key, action))
    await worker.disconnect()
    await worker.connect()
    other = FakeWorker(stack, "other")
    await other.join()
    first = (await stack.job(grant.job_id)).attempts[0]
    assert (first.end, first.counted) == (AttemptEnd.UNDELIVERED, False)
    assert stack.assigned(grant.job_id).session == other.session


async def test_a_pause_between_two_others_changes_nothing_of_theirs(stack: Stack) -> None:
    one, two = FakeWorker(stack, "one"), FakeWorker(stack, "two")
    await one.join()
    await two.join()
    await manage(stack, one, PAUSE)
    assert stack.assigned(await stack.submit()).session == two.session


# -- revoked: final


async def test_what_it_ran_is_granted_to_another_in_the_batch_that_revokes_it(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    other = FakeWorker(stack, "other")
    await other.join()
    effects = await stack.do(stack.management(worker.key, REVOKE))
    again = next(one for one in effects if isinstance(one, Assign))
    assert (again.job_id, again.epoch, again.session) == (grant.job_id, 2, other.session)
    job = await stack.job(grant.job_id)
    assert ([(one.end, one.counted) for one in job.attempts], job.tries) == (
        [(AttemptEnd.REVOKED, False), (None, False)],
        0,
    )


async def test_its_socket_is_closed_with_a_sentence_that_fits_a_close_frame(stack: Stack, worker: FakeWorker) -> None:
    effects = await stack.do(stack.management(worker.key, REVOKE))
    assert [(one.code, one.reason) for one in effects if isinstance(one, CloseSession)] == [(4403, REVOKED_REASON)]
    assert len(REVOKED_REASON.encode()) <= 120


@pytest.mark.parametrize("restart", [None, Stack.restart, Stack.rebuild])
async def test_it_is_never_let_in_again(
    stack: Stack, worker: FakeWorker, restart: Callable[[Stack], Awaitable[None]] | None
) -> None:
    await manage(stack, worker, REVOKE)
    if restart is not None:
        await restart(stack)
    for token_hash in (None, await stack.token()):
        assert (await worker.connect(token_hash=token_hash)).code is ReplyCode.WORKER_REVOKED


async def test_a_socket_that_is_still_open_after_a_rebuild_is_closed(stack: Stack, worker: FakeWorker) -> None:
    await manage(stack, worker, REVOKE)
    await stack.rebuild()
    effects = await stack.do(worker.resumed())
    assert [one.code for one in effects if isinstance(one, CloseSession)] == [4403]
    await stack.submit()
    assert assigned_to(stack, worker) == []


@pytest.mark.parametrize("online", [True, False])
async def test_a_lost_attempt_of_a_revoked_worker_never_comes_back(
    stack: Stack, worker: FakeWorker, online: bool
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    done = await worker.completed(grant)
    await worker.disconnect()
    await stack.later(6.0)
    if online:
        await worker.connect()
    await stack.do(stack.management(worker.key, REVOKE), done)
    assert (await worker.connect(finished=(worker.ref(grant),))).code is ReplyCode.WORKER_REVOKED
    assert (await stack.job(grant.job_id)).status is JobStatus.PENDING


async def test_an_attempt_it_holds_while_it_is_away_ends_at_once(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await worker.disconnect()
    await manage(stack, worker, REVOKE)
    assert (await stack.job(grant.job_id)).attempts[0].end is AttemptEnd.REVOKED


async def test_during_the_restart_grace_it_ends_at_once_too(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.restart()
    await manage(stack, worker, REVOKE)
    assert (await stack.job(grant.job_id)).attempts[0].end is AttemptEnd.REVOKED


async def test_a_job_that_was_asked_to_stop_ends_aborted(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.cancellation(grant.job_id, "enough"))
    await manage(stack, worker, REVOKE)
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.failure.code, job.failure.reason, job.attempts[0].end) == ("aborted", "enough", AttemptEnd.ABORTED)


async def test_a_cancel_and_a_revocation_in_one_batch_end_the_job_either_way_round(stack: Stack) -> None:
    for number, cancel_first in enumerate((True, False)):
        worker = FakeWorker(stack, f"worker-{number}")
        await worker.join()
        grant = stack.assigned(await stack.submit())
        cancel, revoke = stack.cancellation(grant.job_id), stack.management(worker.key, REVOKE)
        await stack.do(*([cancel, revoke] if cancel_first else [revoke, cancel]))
        assert (await stack.job(grant.job_id)).status is JobStatus.FAILED


async def test_a_completion_before_the_revocation_of_the_same_batch_counts_one_behind_it_does_not(
    stack: Stack,
) -> None:
    for number, done_first in enumerate((True, False)):
        worker = FakeWorker(stack, f"worker-{number}")
        await worker.join()
        grant = stack.assigned(await stack.submit())
        done, revoke = await worker.completed(grant), stack.management(worker.key, REVOKE)
        await stack.do(*([done, revoke] if done_first else [revoke, done]))
        job = await stack.job(grant.job_id)
        assert (job.status, job.accepted_epoch) == (("completed", 1) if done_first else ("pending", None))
        if not done_first:
            await stack.do(stack.cancellation(grant.job_id))


Late = Callable[[FakeWorker, Assign], Awaitable[Command]]


async def late_start(worker: FakeWorker, grant: Assign) -> Command:
    return worker.started(grant)


async def late_result(worker: FakeWorker, grant: Assign) -> Command:
    return await worker.completed(grant)


async def late_failure(worker: FakeWorker, grant: Assign) -> Command:
    return worker.failed(grant)


async def late_stop(worker: FakeWorker, grant: Assign) -> Command:
    return worker.stopped(grant)


async def late_heartbeat(worker: FakeWorker, grant: Assign) -> Command:
    return worker.beat(worker.ref(grant))


async def late_close(worker: FakeWorker, grant: Assign) -> Command:
    return SessionClosed(session=worker.session)


LATE: list[Late] = [late_start, late_result, late_failure, late_stop, late_heartbeat, late_close]


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("taken_over", [True, False])
async def test_whatever_a_revoked_worker_still_says_changes_nothing(
    stack: Stack, worker: FakeWorker, late: Late, started: bool, taken_over: bool
) -> None:
    grant = stack.assigned(await stack.submit())
    if started:
        await stack.do(worker.started(grant))
    if taken_over:
        await FakeWorker(stack, "other").join()
    frame = await late(worker, grant)
    await manage(stack, worker, REVOKE)
    before = await stack.job(grant.job_id)
    stack.writes.clear()
    effects: list[Effect] = await stack.do(frame)
    assert (await stack.job(grant.job_id), stack.writes) == (before, [])
    assert [one for one in effects if isinstance(one, CompletionAnswered) and one.verdict is Verdict.ACCEPTED] == []


# -- shared workers


async def test_a_shared_worker_serves_every_tenant_and_only_its_owner_manages_it(stack: Stack) -> None:
    shared = FakeWorker(stack, "shared", slots=2)
    await shared.join(tenant=defaults.SHARED)
    grants = [stack.assigned(await stack.submit(tenant=tenant)) for tenant in ("default", "other")]
    assert [one.session for one in grants] == [shared.session] * 2
    for tenant in ("default", "other"):
        await stack.do(stack.management(shared.key, REVOKE, tenant=tenant))
        assert stack.last(Reply).code is ReplyCode.NOT_FOUND
    await stack.do(stack.management(shared.key, PAUSE, tenant=defaults.SHARED))
    assert stack.last(WorkerChanged).status is WorkerStatus.PAUSED


async def test_a_tenants_own_worker_never_serves_another_tenant(stack: Stack, worker: FakeWorker) -> None:
    await stack.submit(tenant="other")
    assert assigned_to(stack, worker) == []


# -- tokens


async def test_a_token_that_expired_unused_is_deleted(stack: Stack) -> None:
    await stack.token(ttl_s=5)
    await stack.later(6.0)
    assert [row async for page in stack.store.load() for row in page] == []


async def test_a_token_that_expired_while_the_coordinator_was_away_is_deleted_after_the_start(stack: Stack) -> None:
    await stack.token(ttl_s=5)
    stack.clock.advance(60)
    await stack.restart()
    await stack.do()
    assert [row async for page in stack.store.load() for row in page] == []


async def test_a_used_token_enrols_nobody_else(stack: Stack) -> None:
    token_hash = await stack.token()
    await FakeWorker(stack, "first").connect(token_hash=token_hash)
    answer = await FakeWorker(stack, "second").connect(token_hash=token_hash)
    assert answer.code is ReplyCode.TOKEN_REFUSED
