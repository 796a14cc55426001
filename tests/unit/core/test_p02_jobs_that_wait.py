"""P2: every job ends terminal, or says why it waits: `not_before`, `deadline`, `match_window_s`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cavvy import defaults
from cavvy.core.commands import StopTenant
from cavvy.core.effects import Reply, ReplyCode, StopAttempt
from cavvy.core.job import AttemptEnd, FailureCode, JobStatus, Terms, WorkerStatus
from cavvy.core.times import reason_with_times
from cavvy.core.worker_status import WorkerAction
from cavvy.testing import FakeWorker, Stack

LATE_S = defaults.SWEEP_S + 0.5


@pytest.fixture
async def stack() -> Stack:
    stack = Stack()
    await stack.start(grace=False)
    return stack


def in_ms(stack: Stack, seconds: float) -> int:
    return stack.clock().wall_ms + int(seconds * 1000)


async def status(stack: Stack, job_id: str) -> JobStatus:
    return (await stack.job(job_id)).status


async def failure(stack: Stack, job_id: str) -> FailureCode | None:
    found = (await stack.job(job_id)).failure
    return found and found.code


async def idle(stack: Stack, worker: FakeWorker, seconds: float, held: Sequence[object] = ()) -> None:
    """Time passes; the worker's heart beats."""
    for _ in range(int(seconds)):
        await stack.later(1.0, worker.beat(*held))  # type: ignore[arg-type]


# not_before


async def test_p02_a_job_with_not_before_rests_until_then_and_starts_within_a_sweep(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(terms=Terms(not_before_ms=in_ms(stack, 60)))
    await idle(stack, worker, 59)
    assert await status(stack, job) is JobStatus.PENDING
    await idle(stack, worker, 1 + LATE_S)
    assert await status(stack, job) is JobStatus.ASSIGNED


async def test_a_time_before_which_is_past_already_means_nothing(stack: Stack) -> None:
    await FakeWorker(stack).join()
    job = await stack.submit(terms=Terms(not_before_ms=in_ms(stack, -1)))
    assert await status(stack, job) is JobStatus.ASSIGNED


async def test_a_job_that_rests_still_rests_after_a_restart(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(terms=Terms(not_before_ms=in_ms(stack, 60)))
    await stack.restart()
    await worker.connect()
    await idle(stack, worker, 50)
    assert await status(stack, job) is JobStatus.PENDING
    await idle(stack, worker, 10 + LATE_S)
    assert await status(stack, job) is JobStatus.ASSIGNED


async def test_a_job_that_rests_follows_a_step_of_the_wall_clock(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(terms=Terms(not_before_ms=in_ms(stack, 3600)))
    stack.clock.step_wall(3601)
    await stack.do()
    assert await status(stack, job) is JobStatus.ASSIGNED


async def test_p10_a_job_that_rests_can_be_cancelled_and_never_starts(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(terms=Terms(not_before_ms=in_ms(stack, 5)))
    await stack.do(stack.cancellation(job))
    await idle(stack, worker, 10)
    assert await failure(stack, job) is FailureCode.ABORTED
    assert (await stack.job(job)).attempts == ()


async def test_jobs_that_rest_count_as_pending() -> None:
    stack = Stack(max_pending_per_tenant=2)
    await stack.start()
    for _ in range(2):
        await stack.submit(terms=Terms(not_before_ms=in_ms(stack, 60)))
    await stack.do(stack.submission())
    assert stack.last(Reply).code is ReplyCode.QUEUE_FULL


# deadline


async def test_p02_a_pending_job_ends_at_its_deadline(stack: Stack) -> None:
    job = await stack.submit(terms=Terms(deadline_at_ms=in_ms(stack, 60)))
    await stack.later(59.0)
    assert await status(stack, job) is JobStatus.PENDING
    await stack.later(1 + LATE_S)
    assert await failure(stack, job) is FailureCode.DEADLINE
    assert (await stack.job(job)).attempts == ()


@pytest.mark.parametrize("started", [True, False])
async def test_p02_an_attempt_ends_at_its_jobs_deadline_and_its_worker_is_told(stack: Stack, started: bool) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(terms=Terms(deadline_at_ms=in_ms(stack, 10)))
    grant = stack.assigned(job)
    if started:
        await stack.do(worker.started(grant))
    await idle(stack, worker, 9, [worker.ref(grant)])
    assert await failure(stack, job) is None
    await idle(stack, worker, 1 + LATE_S, [worker.ref(grant)])
    assert await failure(stack, job) is FailureCode.DEADLINE
    assert (await stack.job(job)).attempts[-1].end is AttemptEnd.DEADLINE
    assert stack.last(StopAttempt).job_id == job


async def test_p10_an_attempt_asked_to_stop_is_aborted_at_the_deadline(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(terms=Terms(deadline_at_ms=in_ms(stack, 2)))
    await stack.do(worker.started(stack.assigned(job)))
    await stack.later(1.0, stack.cancellation(job))
    await stack.later(2.0)
    assert await failure(stack, job) is FailureCode.ABORTED


async def test_a_job_that_rests_ends_at_its_deadline(stack: Stack) -> None:
    """The wall clock went back: its time to start comes later than it can."""
    terms = Terms(not_before_ms=in_ms(stack, 30), deadline_at_ms=in_ms(stack, 60))
    job = await stack.submit(terms=terms)
    await stack.later(61.0)
    assert await failure(stack, job) is FailureCode.DEADLINE


async def test_a_lost_attempts_job_ends_at_its_deadline_while_it_waits(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(terms=Terms(deadline_at_ms=in_ms(stack, 20)))
    await stack.do(worker.started(stack.assigned(job)))
    await worker.disconnect()
    await stack.later(20 + LATE_S)
    assert await failure(stack, job) is FailureCode.DEADLINE
    assert (await stack.job(job)).attempts[-1].end is AttemptEnd.LOST


async def test_a_deadline_that_has_passed_is_refused_at_the_door(stack: Stack) -> None:
    await stack.do(stack.submission(terms=Terms(deadline_at_ms=stack.clock().wall_ms)))
    assert stack.last(Reply).code is ReplyCode.DEADLINE_PASSED
    assert stack.writes == []


async def test_p11_a_repeated_submit_whose_deadline_has_passed_meanwhile_is_the_same_job(stack: Stack) -> None:
    terms = Terms(deadline_at_ms=in_ms(stack, 5))
    job = await stack.submit(key="once", terms=terms)
    await stack.later(10.0)
    await stack.do(stack.submission(key="once", terms=terms))
    reply = stack.last(Reply)
    assert (reply.code, reply.job_id) == (ReplyCode.REPLAYED, job)


async def test_during_the_restart_grace_a_deadline_ends_nothing_and_starts_nothing(stack: Stack) -> None:
    worker = FakeWorker(stack, slots=2)
    await worker.join()
    terms = Terms(deadline_at_ms=in_ms(stack, 10))
    held = await stack.submit(terms=terms)
    grant = stack.assigned(held)
    await stack.do(worker.started(grant))
    rests = await stack.submit(model="absent", terms=terms)
    await stack.restart()
    await stack.later(11.0)
    worker.models = ("m", "absent")
    await worker.connect(held=(worker.ref(grant),))
    assert (await status(stack, held), await status(stack, rests)) == (JobStatus.RUNNING, JobStatus.PENDING)
    await idle(stack, worker, defaults.RESTART_GRACE_S - 11 + LATE_S, [worker.ref(grant)])
    assert (await failure(stack, held), await failure(stack, rests)) == (FailureCode.DEADLINE, FailureCode.DEADLINE)
    assert (await stack.job(rests)).attempts == ()


async def test_during_the_restart_grace_a_job_given_back_after_its_deadline_is_not_granted_again(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(terms=Terms(deadline_at_ms=in_ms(stack, 10)))
    await stack.do(worker.started(stack.assigned(job)))
    await stack.restart()
    await stack.later(11.0)
    await worker.connect()
    assert await status(stack, job) is JobStatus.PENDING
    await idle(stack, worker, defaults.RESTART_GRACE_S)
    assert await failure(stack, job) is FailureCode.DEADLINE
    assert len((await stack.job(job)).attempts) == 1


async def test_p10_jobs_that_a_stop_is_about_to_end_are_aborted_whatever_their_deadline() -> None:
    stack = Stack(stop_slice=1)
    await stack.start()
    jobs = [await stack.submit(terms=Terms(deadline_at_ms=in_ms(stack, 1))) for _ in range(3)]
    await stack.do(StopTenant(ref=stack.next_ref(), tenant="default", by="owner", reason=None, latch=False))
    await stack.later(5.0)
    assert [await failure(stack, job) for job in jobs] == [FailureCode.ABORTED] * 3


async def test_a_result_during_the_restart_grace_counts_though_the_deadline_has_passed(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(terms=Terms(deadline_at_ms=in_ms(stack, 10)))
    grant = stack.assigned(job)
    await stack.do(worker.started(grant))
    await stack.restart()
    await stack.later(15.0)
    await worker.connect(finished=(worker.ref(grant),))
    await stack.do(await worker.completed(grant))
    assert await status(stack, job) is JobStatus.COMPLETED


async def test_many_jobs_that_ended_before_their_deadline_are_not_remembered(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    terms = Terms(deadline_at_ms=in_ms(stack, 10**6))
    for _ in range(200):
        grant = stack.assigned(await stack.submit(terms=terms))
        await stack.do(await worker.completed(grant))
    deadlines = stack.core._board.deadlines
    assert (len(deadlines), len(deadlines._heap) < 100) == (0, True)


# match_window_s


WINDOW = Terms(match_window_s=30)


async def test_p02_a_job_nobody_online_can_run_ends_after_its_match_window(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(model="absent", terms=WINDOW)
    await idle(stack, worker, 29)
    assert await status(stack, job) is JobStatus.PENDING
    await idle(stack, worker, 1 + LATE_S)
    found = (await stack.job(job)).failure
    assert found is not None
    assert found.code is FailureCode.NO_ELIGIBLE_WORKER
    assert found.message.startswith("For 30 s no worker online could run it. No worker online serves model 'absent'")


async def test_without_a_window_a_job_waits_for_ever(stack: Stack) -> None:
    job = await stack.submit()
    await stack.later(100_000.0, step_s=100.0)
    assert await status(stack, job) is JobStatus.PENDING


async def test_a_worker_that_is_busy_is_a_worker_that_could_run_it(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    first = stack.assigned(await stack.submit())
    second = await stack.submit(terms=WINDOW)
    await idle(stack, worker, 60, [worker.ref(first)])
    assert await status(stack, second) is JobStatus.PENDING


@pytest.mark.parametrize(
    ("action", "becomes"), [(WorkerAction.PAUSE, WorkerStatus.PAUSED), (WorkerAction.DRAIN, WorkerStatus.DRAINING)]
)
async def test_a_worker_that_is_paused_or_leaves_is_not(
    stack: Stack, action: WorkerAction, becomes: WorkerStatus
) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    await stack.do(stack.management(worker.key, action))
    job = await stack.submit(terms=WINDOW)
    await idle(stack, worker, 30 + LATE_S)
    assert await failure(stack, job) is FailureCode.NO_ELIGIBLE_WORKER


async def test_a_worker_that_was_there_meanwhile_starts_the_window_anew(stack: Stack) -> None:
    """It was busy all the time."""
    worker = FakeWorker(stack)
    await worker.join()
    first = stack.assigned(await stack.submit())
    job = await stack.submit(terms=WINDOW)
    await worker.disconnect()
    await stack.later(25.0)
    await worker.connect(held=(worker.ref(first),))
    await idle(stack, worker, 2, [worker.ref(first)])
    await worker.disconnect()
    await stack.later(25.0)
    assert await status(stack, job) is JobStatus.PENDING
    await stack.later(5 + LATE_S)
    assert await failure(stack, job) is FailureCode.NO_ELIGIBLE_WORKER


async def test_a_job_that_comes_later_has_a_window_of_its_own(stack: Stack) -> None:
    first = await stack.submit(terms=WINDOW)
    await stack.later(20.0)
    second = await stack.submit(terms=WINDOW)
    await stack.later(10 + LATE_S)
    assert (await failure(stack, first), await failure(stack, second)) == (FailureCode.NO_ELIGIBLE_WORKER, None)
    await stack.later(20.0)
    assert await failure(stack, second) is FailureCode.NO_ELIGIBLE_WORKER


async def test_a_job_that_is_given_back_has_its_window_anew(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    job = await stack.submit(terms=WINDOW)
    await stack.do(worker.started(stack.assigned(job)))
    await worker.disconnect()
    await stack.later(defaults.REQUEUE_AFTER_S + 29)
    assert await status(stack, job) is JobStatus.PENDING
    await stack.later(1 + LATE_S)
    assert await failure(stack, job) is FailureCode.NO_ELIGIBLE_WORKER


async def test_a_window_does_not_count_while_its_job_rests(stack: Stack) -> None:
    job = await stack.submit(terms=Terms(match_window_s=30, not_before_ms=in_ms(stack, 60)))
    await stack.later(89.0)
    assert await status(stack, job) is JobStatus.PENDING
    await stack.later(1 + LATE_S)
    assert await failure(stack, job) is FailureCode.NO_ELIGIBLE_WORKER


async def test_a_window_starts_anew_with_a_restart_and_not_before_its_grace_is_over(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    await worker.disconnect()
    job = await stack.submit(terms=WINDOW)
    await stack.later(20.0)
    await stack.restart()
    await stack.later(defaults.RESTART_GRACE_S + 29)
    assert await status(stack, job) is JobStatus.PENDING
    await stack.later(1 + LATE_S)
    assert await failure(stack, job) is FailureCode.NO_ELIGIBLE_WORKER


async def test_a_window_does_not_count_while_the_coordinator_is_away(stack: Stack) -> None:
    job = await stack.submit(terms=WINDOW)
    await stack.later(20.0)
    stack.clock.advance(3600)
    await stack.later(9.0)
    assert await status(stack, job) is JobStatus.PENDING
    await stack.later(1 + LATE_S)
    assert await failure(stack, job) is FailureCode.NO_ELIGIBLE_WORKER


async def test_a_job_with_a_window_that_ended_otherwise_is_forgotten(stack: Stack) -> None:
    worker = FakeWorker(stack)
    await worker.join()
    granted = await stack.submit(terms=WINDOW)
    cancelled = await stack.submit(terms=WINDOW)
    await stack.do(stack.cancellation(cancelled))
    assert await status(stack, granted) is JobStatus.ASSIGNED
    assert len(stack.core._board.backlog.windows) == 0


# What a pending job says


BUSY = "Every worker is busy."
TIMES = Terms(not_before_ms=2_000_000_000_000, deadline_at_ms=2_000_003_600_000, match_window_s=1.5)
ENDS = (
    "It fails when no worker that could run it has been online for 1.5 s (match_window_s)."
    " It fails at 2033-05-18T04:33:20Z (deadline)."
)


@pytest.mark.parametrize(
    ("now_ms", "why"),
    [
        (1_999_999_999_999, "It is not started before 2033-05-18T03:33:20Z (not_before)."),
        (2_000_000_000_000, BUSY),
    ],
)
def test_p02_a_job_says_why_it_waits_and_what_ends_its_wait(now_ms: int, why: str) -> None:
    assert reason_with_times(BUSY, TIMES, now_ms) == f"{why} {ENDS}"


def test_a_job_whose_deadline_has_passed_says_so_and_nothing_else() -> None:
    told = reason_with_times(BUSY, TIMES, 2_000_003_600_000)
    assert told.startswith("Its deadline has passed; ")
    assert BUSY not in told


def test_a_job_without_times_says_nothing_of_them() -> None:
    assert reason_with_times(BUSY, Terms(), 0) == BUSY
