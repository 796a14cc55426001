"""P7: a hung but alive attempt ends at its timeout or stall timeout. Its worker goes on renewing the lease."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cavvy import defaults
from cavvy.core.effects import Assign, CompletionAnswered, StopAttempt, Verdict
from cavvy.core.job import AttemptEnd, FailureCode, JobStatus, Terms
from cavvy.core.lifecycle import Event
from cavvy.core.times import AttemptClock, overrun
from cavvy.core.writes import Usage
from cavvy.testing import FakeWorker, Stack

TERMS = Terms(timeout_s=100, first_token_timeout_s=20, stall_timeout_s=8)
LATE_S = defaults.SWEEP_S + 0.5  # what is due is noticed at the next sweep, and these tests tick twice a second


class Hung:
    """One worker with one slot that renews its lease whatever happens, and one job it was granted."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.stack = Stack()
        self.worker = FakeWorker(self.stack)
        self.terms = terms
        self.grant: Assign

    async def assigned(self) -> Hung:
        await self.stack.start(grace=False)
        await self.worker.join()
        self.grant = self.stack.assigned(await self.stack.submit(terms=self.terms))
        return self

    async def running(self) -> Hung:
        await self.assigned()
        await self.stack.do(self.worker.started(self.grant))
        return self

    async def hang(self, seconds: float, *, lively: bool = False) -> None:
        """The worker's heart beats; with `lively` its model shows life too."""
        end_s = self.stack.clock().mono_s + seconds
        while (left_s := end_s - self.stack.clock().mono_s) > 0:
            await self.stack.later(min(1.0, left_s), self.worker.beat(self.worker.ref(self.grant)))
            if lively:
                await self.stack.do(self.worker.progress(self.grant))

    async def ended(self) -> tuple[JobStatus, FailureCode | None, AttemptEnd | None]:
        job = await self.stack.job(self.grant.job_id)
        return job.status, job.failure and job.failure.code, job.attempts[-1].end

    async def goes_on(self) -> bool:
        return (await self.stack.job(self.grant.job_id)).completed_at_ms is None


TIMED_OUT = (JobStatus.FAILED, FailureCode.TIMEOUT, AttemptEnd.TIMEOUT)
STALLED = (JobStatus.FAILED, FailureCode.STALLED, AttemptEnd.STALLED)


async def test_p07_an_attempt_that_shows_life_ends_at_its_timeout() -> None:
    hung = await Hung().running()
    await hung.hang(99, lively=True)
    assert await hung.goes_on()
    await hung.hang(1 + LATE_S, lively=True)
    assert await hung.ended() == TIMED_OUT


async def test_p07_an_attempt_without_a_sign_of_life_ends_at_its_first_token_timeout() -> None:
    hung = await Hung().running()
    await hung.hang(19)
    assert await hung.goes_on()
    await hung.hang(1 + LATE_S)
    assert await hung.ended() == STALLED


async def test_p07_an_attempt_that_falls_silent_ends_at_its_stall_timeout() -> None:
    hung = await Hung().running()
    await hung.stack.do(hung.worker.progress(hung.grant))
    await hung.hang(7)
    await hung.stack.do(hung.worker.progress(hung.grant))
    await hung.hang(7)
    assert await hung.goes_on(), "each sign of life starts the time anew"
    await hung.hang(1 + LATE_S)
    assert await hung.ended() == STALLED


async def test_p07_a_held_attempt_that_never_starts_ends_at_its_first_token_timeout() -> None:
    hung = await Hung().assigned()
    await hung.hang(19)
    assert await hung.goes_on()
    await hung.hang(1 + LATE_S)
    assert await hung.ended() == STALLED


async def test_p07_the_time_for_the_first_sign_of_life_begins_with_the_start() -> None:
    hung = await Hung().assigned()
    await hung.hang(15)
    await hung.stack.do(hung.worker.started(hung.grant))
    await hung.hang(15)
    assert await hung.goes_on()


async def test_p07_its_worker_is_told_to_stop_and_its_slot_is_busy_until_it_says_so() -> None:
    hung = await Hung().running()
    await hung.hang(20 + LATE_S)
    stop = hung.stack.last(StopAttempt)
    assert (stop.job_id, stop.epoch) == (hung.grant.job_id, 1)
    assert "first_token_timeout_s, 20 s" in stop.reason
    other = await hung.stack.submit("other")
    await hung.hang(3)
    assert (await hung.stack.job(other)).status is JobStatus.PENDING
    await hung.stack.do(hung.worker.stopped(hung.grant))
    assert (await hung.stack.job(other)).status is JobStatus.ASSIGNED


async def test_p07_a_result_that_comes_after_the_timeout_is_stale() -> None:
    hung = await Hung().running()
    await hung.hang(20 + LATE_S)
    await hung.stack.do(await hung.worker.completed(hung.grant))
    assert hung.stack.last(CompletionAnswered).verdict is Verdict.UNKNOWN, "the store knows that it was not accepted"
    assert await hung.stack.store.accepted(hung.grant.job_id, 1) == (hung.worker.key, False)
    assert await hung.ended() == STALLED


async def test_a_sign_of_life_of_another_attempt_or_session_counts_for_nothing() -> None:
    hung = await Hung().running()
    stranger = FakeWorker(hung.stack, "stranger")
    await stranger.join()
    for _ in range(4):
        await hung.hang(5)
        await hung.stack.do(stranger.progress(hung.grant))
    await hung.hang(LATE_S)
    assert await hung.ended() == STALLED


async def test_a_sign_of_life_commits_nothing() -> None:
    hung = await Hung().running()
    await hung.hang(2)
    before = len(hung.stack.writes)
    await hung.hang(5, lively=True)
    assert len(hung.stack.writes) == before


async def test_a_timeout_and_a_stall_count_as_a_try_but_a_deadline_does_not() -> None:
    for terms, tries in ((TERMS, 1), (Terms(deadline_at_ms=5_000), 0)):
        hung = Hung(terms)
        hung.terms = Terms(deadline_at_ms=hung.stack.clock().wall_ms + 5_000) if terms.deadline_at_ms else terms
        await hung.running()
        await hung.hang(20 + LATE_S)
        assert (await hung.stack.job(hung.grant.job_id)).tries == tries


@pytest.mark.parametrize("lively", [True, False])
async def test_an_attempt_asked_to_stop_is_aborted_and_nothing_else(lively: bool) -> None:
    """Whichever comes first: the stop that nobody answers, or a limit."""
    hung = await Hung(Terms(timeout_s=3, first_token_timeout_s=2, stall_timeout_s=2)).running()
    await hung.hang(1, lively=lively)
    await hung.stack.do(hung.stack.cancellation(hung.grant.job_id, "enough"))
    await hung.hang(5)
    assert await hung.ended() == (JobStatus.FAILED, FailureCode.ABORTED, AttemptEnd.ABORTED)


async def test_after_a_restart_the_times_start_anew_and_none_ends_during_the_grace() -> None:
    hung = await Hung().running()
    await hung.hang(18)
    await hung.stack.restart()
    await hung.worker.connect(held=(hung.worker.ref(hung.grant),))
    await hung.hang(defaults.RESTART_GRACE_S - 1)
    assert await hung.goes_on(), "20 s have passed since the restart, but the grace has not"
    await hung.hang(1 + LATE_S)
    assert await hung.ended() == STALLED


async def test_after_a_rebuild_the_times_start_anew() -> None:
    hung = await Hung().running()
    await hung.hang(18)
    await hung.stack.rebuild()
    await hung.stack.do(hung.worker.resumed(hung.worker.ref(hung.grant)), hung.worker.started(hung.grant))
    await hung.hang(18)
    assert await hung.goes_on()
    await hung.hang(2 + LATE_S)
    assert await hung.ended() == STALLED


async def test_a_lost_attempt_that_comes_back_has_its_times_anew() -> None:
    hung = await Hung().running()
    await hung.hang(15)
    await hung.worker.disconnect()
    await hung.stack.later(defaults.REQUEUE_AFTER_S + LATE_S)
    await hung.worker.connect(held=(hung.worker.ref(hung.grant),))
    await hung.hang(15)
    assert await hung.goes_on()


async def test_while_the_coordinator_was_away_nothing_was_late() -> None:
    hung = await Hung().running()
    await hung.hang(15)
    hung.stack.clock.advance(3600)
    await hung.stack.do(hung.worker.beat(hung.worker.ref(hung.grant)))
    await hung.hang(4)
    assert await hung.goes_on()
    await hung.hang(1 + LATE_S)
    assert await hung.ended() == STALLED


async def test_a_step_of_the_wall_clock_ends_no_attempt() -> None:
    hung = await Hung().running()
    hung.stack.clock.step_wall(3600)
    await hung.hang(15)
    assert await hung.goes_on()


@given(
    terms=st.builds(
        Terms,
        timeout_s=st.floats(0.1, 1e5),
        first_token_timeout_s=st.floats(0.1, 1e5),
        stall_timeout_s=st.floats(0.1, 1e5),
    ),
    life=st.lists(st.floats(0.0, 1e4), max_size=5),
)
def test_p07_no_attempt_outlives_its_limits_and_none_ends_before(terms: Terms, life: list[float]) -> None:
    clock = AttemptClock(heard_s=0.0)
    clock.start(0.0)
    now_s = 0.0
    for after_s in life:
        now_s += after_s
        clock.show_life(now_s)
    quiet_s = terms.stall_timeout_s if life else terms.first_token_timeout_s
    end_s = min(terms.timeout_s, now_s + quiet_s)
    assert overrun(clock, terms, end_s) is not None
    if end_s - 0.01 > now_s:
        assert overrun(clock, terms, end_s - 0.01) is None


def test_an_attempt_over_several_limits_ends_for_its_timeout() -> None:
    clock = AttemptClock(heard_s=0.0, started_s=0.0)
    over = overrun(clock, Terms(timeout_s=5, first_token_timeout_s=5), 5.0)
    assert over is not None
    assert over.event is Event.TIMEOUT


async def test_a_repeated_start_does_not_start_the_times_anew() -> None:
    hung = await Hung().running()
    await hung.hang(15)
    await hung.stack.do(hung.worker.started(hung.grant))
    await hung.hang(5 + LATE_S)
    assert await hung.ended() == STALLED


async def test_a_sign_of_life_of_an_earlier_attempt_of_the_same_worker_counts_for_nothing() -> None:
    hung = await Hung().running()
    await hung.worker.disconnect()
    await hung.stack.later(defaults.REQUEUE_AFTER_S + LATE_S)
    await hung.worker.connect()
    earlier, hung.grant = hung.grant, hung.stack.assigned(hung.grant.job_id)
    assert hung.grant.epoch == 2
    for _ in range(4):
        await hung.hang(5)
        await hung.stack.do(hung.worker.progress(earlier))
    await hung.hang(LATE_S)
    assert await hung.ended() == STALLED


@pytest.mark.parametrize("durable", [True, False])
async def test_p07_an_attempt_that_a_restart_found_ends_at_its_timeout(durable: bool) -> None:
    """Its worker does not say again that it has started, and that it had may not have been written down."""
    hung = await Hung().running()
    if durable:
        await hung.hang(2)
    await hung.stack.restart()
    await hung.worker.connect(held=(hung.worker.ref(hung.grant),))
    await hung.hang(99, lively=True)
    assert await hung.goes_on()
    await hung.hang(3, lively=True)
    assert await hung.ended() == TIMED_OUT


async def test_p07_a_silent_attempt_that_a_restart_found_running_ends_at_its_timeout() -> None:
    hung = await Hung(Terms(timeout_s=40)).running()
    await hung.hang(2)
    await hung.stack.restart()
    await hung.worker.connect(held=(hung.worker.ref(hung.grant),))
    await hung.hang(40 + LATE_S)
    assert await hung.ended() == TIMED_OUT


async def test_p07_an_attempt_that_shows_life_without_a_start_ends_at_its_timeout() -> None:
    hung = await Hung().assigned()
    await hung.hang(99, lively=True)
    assert await hung.goes_on()
    await hung.hang(3, lively=True)
    assert await hung.ended() == TIMED_OUT


async def test_what_an_attempt_used_that_took_too_long_is_booked_when_its_worker_says_so() -> None:
    hung = await Hung().running()
    await hung.hang(TERMS.first_token_timeout_s + LATE_S)
    assert await hung.ended() == STALLED
    await hung.stack.do(hung.worker.stopped(hung.grant))
    (attempt,) = (await hung.stack.job(hung.grant.job_id)).attempts
    assert (attempt.usage, attempt.end) == (Usage(output_tokens=3), AttemptEnd.STALLED)


async def test_what_a_lost_attempt_used_is_booked_though_its_job_waits_for_another() -> None:
    hung = await Hung().running()
    await hung.stack.later(defaults.LEASE_TTL_S + LATE_S)
    await hung.worker.connect()
    await hung.stack.do(hung.worker.stopped(hung.grant))
    assert (await hung.stack.job(hung.grant.job_id)).attempts[0].usage == Usage(output_tokens=3)
