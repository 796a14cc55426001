"""The coordinator's state machine over the memory store: who gets which job, and what becomes of it."""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.core.effects import (
    Assign,
    CloseSession,
    CompletionAnswered,
    FrameRefused,
    HeartbeatAnswered,
    JobEnded,
    Reply,
    ReplyCode,
    StopAttempt,
    Verdict,
)
from cavvy.core.job import AttemptEnd, AttemptRef, FailureCode, JobStatus
from cavvy.core.writes import GrantJob, InsertJob, StartAttempt
from cavvy.testing import FakeWorker, Stack


async def test_a_job_for_an_idle_fleet_is_pending_and_assigned_in_one_commit(stack: Stack, worker: FakeWorker) -> None:
    stack.writes.clear()
    job_id = await stack.submit()
    assert [type(one) for one in stack.writes] == [InsertJob, GrantJob]
    assert (await stack.job(job_id)).status is JobStatus.ASSIGNED
    assert stack.assigned(job_id).input == b'{"prompt":"hi"}'


async def test_a_completion_ends_the_job_with_its_receipt(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    done = await worker.completed(grant, "the answer")
    await stack.do(done)
    job = await stack.job(grant.job_id)
    assert (job.status, job.accepted_epoch, job.result, job.receipt) == ("completed", 1, done.result, done.receipt)
    assert stack.last(CompletionAnswered).verdict is Verdict.ACCEPTED
    assert stack.last(JobEnded).result == done.result


async def test_running_is_shown_at_once_and_written_with_the_next_commit(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    stack.writes.clear()
    await stack.do(worker.started(grant))
    assert stack.writes == []
    await stack.submit("another")
    assert isinstance(stack.writes[0], StartAttempt)


async def test_running_is_written_after_a_second_at_the_latest(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.later(1.0)
    assert (await stack.job(grant.job_id)).status is JobStatus.RUNNING


async def test_jobs_wait_in_order_of_submission(stack: Stack, worker: FakeWorker) -> None:
    first, second, third = [await stack.submit() for _ in range(3)]
    for job_id in (first, second, third):
        grant = stack.last(Assign)
        assert grant.job_id == job_id
        await stack.do(await worker.completed(grant))


async def test_a_job_nobody_can_run_does_not_hold_up_the_others(stack: Stack, worker: FakeWorker) -> None:
    strange = await stack.submit(model="unheard-of")
    plain = await stack.submit()
    assert stack.last(Assign).job_id == plain
    assert (await stack.job(strange)).status is JobStatus.PENDING


async def test_a_worker_that_comes_takes_what_waits(stack: Stack) -> None:
    job_id = await stack.submit(model="big")
    worker = FakeWorker(stack, models=("big",))
    await worker.join()
    assert stack.assigned(job_id).session == worker.session


async def test_work_goes_to_the_worker_with_the_smaller_busy_share(stack: Stack) -> None:
    small, large = FakeWorker(stack, "small", slots=1), FakeWorker(stack, "large", slots=4)
    await small.join()
    await large.join()
    sessions = [stack.assigned(await stack.submit()).session for _ in range(5)]
    assert sorted(sessions.count(one.session) for one in (small, large)) == [1, 4]


async def test_p03_a_completion_of_an_old_epoch_changes_nothing(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    late = await worker.completed(grant)
    other = FakeWorker(stack, "other")
    await other.join()
    await worker.disconnect()
    await stack.later(6.0, other.beat())
    assert stack.assigned(grant.job_id).epoch == 2
    await worker.connect()
    await stack.do(late)
    await stack.do(await worker_again(late, worker))
    assert stack.last(CompletionAnswered).verdict is Verdict.STALE
    assert (await stack.job(grant.job_id)).accepted_epoch is None


async def worker_again(command, worker: FakeWorker):
    import msgspec

    return msgspec.structs.replace(command, session=worker.session)


async def test_p03_a_completion_for_somebody_elses_job_is_refused(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    thief = FakeWorker(stack, "thief")
    await thief.join()
    await stack.do(await thief.completed(grant))
    assert stack.last(FrameRefused).code == "not_yours"
    assert (await stack.job(grant.job_id)).status is JobStatus.ASSIGNED


async def test_p04_a_completion_sent_again_is_left_to_the_store(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    done = await worker.completed(grant)
    await stack.do(done)
    await stack.do(done)
    assert stack.last(CompletionAnswered).verdict is Verdict.UNKNOWN
    assert await stack.store.accepted(grant.job_id, grant.epoch) == (worker.key, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"output_hash": "0" * 64},
        {"input_hash": "0" * 64},
        {"params_hash": "0" * 64},
        {"attempt": 7},
        {"job_id": "another"},
        {"coordinator": "0" * 64},
        {"model": "another"},
        {"status": "failed"},
        {"v": 1},
        {"privacy_class": "PRIVATE"},
        {"payment_ref": "x"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_p15_a_receipt_that_says_anything_else_fails_the_attempt(
    stack: Stack, worker: FakeWorker, wrong: dict[str, object]
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(await worker.completed(grant, **wrong))
    job = await stack.job(grant.job_id)
    assert (job.status, job.attempts[0].code, job.receipt) == ("pending", FailureCode.REJECTED_RECEIPT, None)


async def test_p15_a_receipt_with_a_broken_signature_fails_the_attempt(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    worker.seed = b"\x07" * 32
    await stack.do(await worker.completed(grant))
    assert (await stack.job(grant.job_id)).attempts[0].code is FailureCode.REJECTED_RECEIPT


async def test_p15_a_receipt_that_names_another_key_changes_nothing(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(await worker.completed(grant, provider_pubkey="11" * 32))
    assert stack.last(FrameRefused).code == "not_yours"
    assert (await stack.job(grant.job_id)).status is JobStatus.ASSIGNED


async def test_a_failed_attempt_ends_the_job_with_the_workers_code(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), worker.failed(grant, "input_too_large"))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code, job.tries) == ("failed", FailureCode.INPUT_TOO_LARGE, 1)


async def test_a_lost_socket_may_resume_before_its_jobs_are_granted_again(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await worker.disconnect()
    await stack.later(4.0)
    answer = await worker.connect(held=(worker.ref(grant),))
    assert [one.verdict for one in answer.resume] == [Verdict.GO_ON]
    await stack.later(3.0, worker.beat(worker.ref(grant)))
    assert (await stack.job(grant.job_id)).epoch == 1


async def test_p06_a_lost_workers_job_is_granted_again_with_the_next_epoch(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await worker.disconnect()
    other = FakeWorker(stack, "other")
    await other.join()
    await stack.later(6.0)
    again = stack.assigned(grant.job_id)
    assert (again.session, again.epoch) == (other.session, 2)
    first, second = (await stack.job(grant.job_id)).attempts
    assert (first.end, first.counted, second.end) == (AttemptEnd.LOST, True, None)


async def test_p06_a_silent_worker_loses_its_lease_and_its_socket(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.later(12.0)
    assert stack.last(CloseSession).code == 4408
    assert (await stack.job(grant.job_id)).status is JobStatus.PENDING


async def test_a_heartbeat_renews_exactly_what_it_names(stack: Stack) -> None:
    worker = FakeWorker(stack, slots=2)
    await worker.join()
    kept, dropped = [stack.assigned(await stack.submit()) for _ in range(2)]
    await stack.do(worker.started(kept), worker.started(dropped))
    for _ in range(4):
        await stack.later(3.0, worker.beat(worker.ref(kept), free=0))
    assert (await stack.job(kept.job_id)).epoch == 1
    assert (await stack.job(dropped.job_id)).attempts[0].end is AttemptEnd.LOST


async def test_a_heartbeat_is_told_what_it_lost(stack: Stack, worker: FakeWorker) -> None:
    ghost = AttemptRef("00000000-0000-7000-8000-0000000000ff", 1)
    effects = await stack.do(worker.beat(ghost))
    assert [one.lost for one in effects if isinstance(one, HeartbeatAnswered)] == [(ghost,)]


async def test_a_grant_nobody_takes_comes_back_uncounted(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.later(3.0, worker.beat(free=0))
    await stack.later(3.0, worker.beat(free=0))
    job = await stack.job(grant.job_id)
    assert (job.tries, job.attempts[0].end, job.attempts[0].counted) == (0, AttemptEnd.UNDELIVERED, False)


async def test_a_late_result_of_a_lost_attempt_is_taken_while_the_job_waits(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await worker.disconnect()
    await stack.later(6.0)
    assert (await stack.job(grant.job_id)).status is JobStatus.PENDING
    await worker.connect(finished=(worker.ref(grant),))
    await stack.do(await worker.completed(grant))
    job = await stack.job(grant.job_id)
    assert (job.status, job.accepted_epoch, job.tries) == ("completed", 1, 0)


async def test_a_free_slot_is_one_the_worker_calls_free(stack: Stack, worker: FakeWorker) -> None:
    """A lease that ended does not free the slot of a worker that still runs the attempt."""
    stack_worker = worker
    grant = stack.assigned(await stack.submit())
    await stack.do(stack_worker.started(grant))
    await stack.do(stack.cancellation(grant.job_id))
    await stack.later(4.0, worker.beat(worker.ref(grant), free=0))
    assert (await stack.job(grant.job_id)).status is JobStatus.FAILED
    waiting = await stack.submit("next")
    assert (await stack.job(waiting)).status is JobStatus.PENDING
    await stack.do(worker.stopped(grant))
    assert (await stack.job(waiting)).status is JobStatus.ASSIGNED


async def test_p10_a_cancelled_pending_job_ends_at_once_and_never_starts(stack: Stack) -> None:
    job_id = await stack.submit()
    await stack.do(stack.cancellation(job_id, "changed my mind"))
    job = await stack.job(job_id)
    assert job.failure is not None
    assert (job.failure.code, job.failure.by, job.failure.reason) == ("aborted", "owner", "changed my mind")
    await FakeWorker(stack).join()
    assert stack.all(Assign) == []


async def test_p10_a_cancelled_running_job_is_stopped_and_acknowledged(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.do(stack.cancellation(grant.job_id))
    job = await stack.job(grant.job_id)
    assert (job.status, job.cancel is not None) == (JobStatus.RUNNING, True)
    assert stack.last(StopAttempt).job_id == grant.job_id
    await stack.do(worker.stopped(grant))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert (job.failure.code, job.attempts[0].end) == (FailureCode.ABORTED, AttemptEnd.ABORTED)


async def test_p10_a_stop_nobody_answers_ends_the_job_anyway(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.cancellation(grant.job_id))
    await stack.later(4.0)
    assert (await stack.job(grant.job_id)).status is JobStatus.FAILED


async def test_p10_a_cancelled_job_never_waits_again(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.cancellation(grant.job_id))
    await worker.disconnect()
    await stack.later(6.0)
    job = await stack.job(grant.job_id)
    assert (job.status, job.epoch) == (JobStatus.FAILED, 1)


async def test_a_completion_that_was_committed_first_beats_a_cancel(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(stack.cancellation(grant.job_id))
    await stack.do(await worker.completed(grant))
    job = await stack.job(grant.job_id)
    assert (job.status, job.cancel is not None) == (JobStatus.COMPLETED, True)


async def test_a_cancel_in_the_same_batch_keeps_the_grant_from_being_sent(stack: Stack, worker: FakeWorker) -> None:
    command = stack.submission()
    await stack.do(command)
    grant = stack.assigned(command.id)
    assert stack.core.stands(grant.session, grant.job_id, grant.epoch)
    stack.core.handle(stack.cancellation(command.id), stack.clock())
    assert not stack.core.stands(grant.session, grant.job_id, grant.epoch)


async def test_p13_a_restart_takes_nothing_from_a_worker_that_comes_back(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.later(1.0)
    await stack.restart()
    await stack.later(20.0)
    answer = await worker.connect(held=(worker.ref(grant),))
    assert [one.verdict for one in answer.resume] == [Verdict.GO_ON]
    await stack.do(await worker.completed(grant))
    assert (await stack.job(grant.job_id)).accepted_epoch == 1


async def test_after_the_restart_grace_what_nobody_claims_is_granted_again(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.restart()
    other = FakeWorker(stack, "other")
    await other.join()
    for _ in range(11):
        await stack.later(3.0, other.beat())
    assert stack.assigned(grant.job_id).session == other.session


async def test_a_grant_the_same_process_never_got_is_sent_again_with_its_epoch(
    stack: Stack, worker: FakeWorker
) -> None:
    grant = stack.assigned(await stack.submit())
    stack.effects.clear()
    await worker.disconnect()
    await worker.connect()
    again = stack.assigned(grant.job_id)
    assert (again.epoch, again.input) == (1, None)


async def test_after_a_restart_what_a_worker_does_not_hold_is_granted_anew(stack: Stack, worker: FakeWorker) -> None:
    """It may be another process, whose text would differ: readers must see a new attempt."""
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.restart()
    await worker.connect(instance="worker-2")
    assert stack.assigned(grant.job_id).epoch == 2


async def test_another_instance_without_the_attempt_has_lost_it(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await worker.connect(instance="worker-2")
    assert (await stack.job(grant.job_id)).attempts[0].end is AttemptEnd.LOST
    assert stack.assigned(grant.job_id).epoch == 2


async def test_p11_the_same_key_in_the_same_moment_is_one_job(stack: Stack) -> None:
    first, second = stack.submission(key="k"), stack.submission(key="k")
    await stack.do(first, second)
    replies = stack.all(Reply)
    assert [one.code for one in replies] == [ReplyCode.OK, ReplyCode.REPLAYED]
    assert replies[1].job_id == first.id


async def test_p11_the_same_key_for_another_body_is_refused(stack: Stack) -> None:
    await stack.do(stack.submission("a", key="k"), stack.submission("b", key="k"))
    assert stack.last(Reply).code is ReplyCode.KEY_REUSED


async def test_a_full_queue_refuses_the_next_job() -> None:
    stack = Stack(max_pending_per_tenant=2)
    await stack.start()
    await stack.submit()
    await stack.submit()
    await stack.do(stack.submission())
    assert stack.last(Reply).code is ReplyCode.QUEUE_FULL


async def test_an_enrolment_token_works_once(stack: Stack) -> None:
    token = await stack.token()
    first, second = FakeWorker(stack, "a"), FakeWorker(stack, "b")
    assert (await first.connect(token_hash=token)).code is ReplyCode.OK
    assert (await second.connect(token_hash=token)).code is ReplyCode.TOKEN_REFUSED


async def test_an_expired_token_enrols_nobody(stack: Stack) -> None:
    token = await stack.token(ttl_s=60)
    stack.clock.advance(61)
    assert (await FakeWorker(stack).connect(token_hash=token)).code is ReplyCode.TOKEN_REFUSED


async def test_an_unknown_key_without_a_token_is_refused(stack: Stack) -> None:
    assert (await FakeWorker(stack).connect()).code is ReplyCode.WORKER_UNKNOWN


async def test_a_long_pause_of_the_coordinator_ends_no_lease(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    stack.clock.advance(3600)
    await stack.do()
    await stack.later(2.0, worker.beat(worker.ref(grant), free=0))
    assert (await stack.job(grant.job_id)).epoch == 1


async def test_a_step_of_the_wall_clock_ends_no_lease(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    stack.clock.step_wall(86_400)
    await stack.later(2.0)
    assert (await stack.job(grant.job_id)).status is JobStatus.RUNNING


async def test_a_slot_that_runs_a_job_taken_back_is_not_granted_again(stack: Stack, worker: FakeWorker) -> None:
    """A worker that slept wakes up and starts what was taken back: its slot is busy until it says otherwise."""
    grant = stack.assigned(await stack.submit())
    await stack.later(3.0, worker.beat(free=0))
    await stack.do(stack.cancellation(grant.job_id))
    await stack.later(4.0, worker.beat(free=1))
    waiting = await stack.submit("next")
    again = stack.assigned(waiting)
    await stack.do(worker.started(grant), worker.failed(again))
    last = await stack.submit("last")
    assert (await stack.job(last)).status is JobStatus.PENDING
    await stack.do(worker.beat(free=1))
    assert (await stack.job(last)).status is JobStatus.ASSIGNED


async def test_after_a_rebuild_a_slot_with_an_attempt_to_stop_is_not_granted(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant), stack.cancellation(grant.job_id))
    await stack.later(4.0, worker.beat(worker.ref(grant), free=0))
    await stack.submit("next")
    await stack.restart()
    stack.effects.clear()
    await stack.do(worker.resumed(worker.ref(grant)))
    assert stack.all(Assign) == []
    await stack.do(worker.beat(free=1))
    assert len(stack.all(Assign)) == 1


async def test_the_restart_grace_belongs_to_a_start_not_to_a_rebuild(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    await stack.later(1.0)
    await stack.rebuild()
    await stack.later(7.0)
    assert (await stack.job(grant.job_id)).attempts[0].end is AttemptEnd.LOST


async def test_an_output_beyond_the_limit_fails_the_job(stack: Stack, worker: FakeWorker) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(await worker.completed(grant, "é" * (defaults.MAX_OUTPUT_BYTES // 2 + 1)))
    job = await stack.job(grant.job_id)
    assert job.failure is not None
    assert job.failure.code is FailureCode.OUTPUT_TOO_LARGE


@pytest.mark.parametrize("stamp", ["", "not a time", "2026-01-01", "2026-01-01T00:00:00.000Z\n"])
async def test_p15_a_receipt_whose_times_are_no_times_fails_the_attempt(
    stack: Stack, worker: FakeWorker, stamp: str
) -> None:
    grant = stack.assigned(await stack.submit())
    await stack.do(await worker.completed(grant, completed_at=stamp))
    assert (await stack.job(grant.job_id)).attempts[0].code is FailureCode.REJECTED_RECEIPT
