"""The meter adds up what it is told, once each."""

from __future__ import annotations

from typing import Any

import pytest

from cavvy.coordinator.meter import Histogram, Meter
from cavvy.core.effects import JobChanged, JobEnded
from cavvy.core.job import AttemptEnd, CancelRequest, Failure, FailureCode, JobHeader, JobStatus, Needs
from cavvy.core.writes import Usage
from cavvy.testing import VirtualClock

ASKED = CancelRequest(by="user:u", reason=None, at_ms=0)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def meter(clock: VirtualClock) -> Meter:
    return Meter(lambda: clock().wall_ms)


def header(status: JobStatus, epoch: int, created_ms: int, cancel: CancelRequest | None = None) -> JobHeader:
    return JobHeader(
        id="1",
        seq=1,
        number=1,
        user_id="u",
        needs=Needs(),
        status=status,
        epoch=epoch,
        created_at_ms=created_ms,
        cancel=cancel,
    )


def changed(
    clock: VirtualClock,
    status: JobStatus,
    epoch: int,
    age_s: float = 0.0,
    cancel: CancelRequest | None = None,
    end: AttemptEnd | None = None,
) -> JobChanged:
    created_ms = clock().wall_ms - int(age_s * 1000)
    return JobChanged(job=header(status, epoch, created_ms, cancel), end=end)


def ended(status: JobStatus, epoch: int = 1, cancel: CancelRequest | None = None, **more: Any) -> JobEnded:
    return JobEnded(job=header(status, epoch, 0, cancel), **more)


def test_a_histogram_puts_a_value_below_its_bound_or_beyond_all() -> None:
    spread = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 99.0):
        spread.observe(value)
    assert (spread.counts, spread.total) == ([2, 1, 1], 102.0)


def test_a_lost_attempt_is_a_second_grant_and_no_second_submission(meter: Meter, clock: VirtualClock) -> None:
    meter.job(changed(clock, JobStatus.PENDING, 0))
    meter.job(changed(clock, JobStatus.ASSIGNED, 1))
    meter.job(changed(clock, JobStatus.PENDING, 1, end=AttemptEnd.LOST))
    meter.job(changed(clock, JobStatus.ASSIGNED, 2))
    assert (meter.submitted.total(), meter.granted, meter.attempts[AttemptEnd.LOST]) == (1, 2, 1)
    assert sum(meter.waits.counts) == 1, "how long it waited is said of the first"


def test_a_run_lasts_from_its_own_start(meter: Meter, clock: VirtualClock) -> None:
    meter.job(changed(clock, JobStatus.RUNNING, 1))
    clock.advance(40)
    meter.job(changed(clock, JobStatus.PENDING, 1, end=AttemptEnd.LOST))
    meter.job(changed(clock, JobStatus.RUNNING, 2))
    clock.advance(2)
    meter.job(ended(JobStatus.COMPLETED, 2, usage=Usage(input_tokens=1, output_tokens=2)))
    assert (sum(meter.runs.counts), meter.runs.total) == (1, 2.0)
    assert (meter.completed, meter.input_tokens, meter.output_tokens) == (1, 1, 2)


def test_a_failure_is_counted_by_its_code(meter: Meter) -> None:
    failure = Failure(code=FailureCode.TIMEOUT, message="", at_ms=0)
    meter.job(ended(JobStatus.FAILED, failure=failure, end=AttemptEnd.TIMEOUT))
    assert (meter.failed, meter.attempts) == ({FailureCode.TIMEOUT: 1}, {AttemptEnd.TIMEOUT: 1})


def test_asking_twice_to_stop_is_one_stop(meter: Meter, clock: VirtualClock) -> None:
    for _ in range(2):
        meter.job(changed(clock, JobStatus.RUNNING, 1, cancel=ASKED))
        clock.advance(0.25)
    meter.job(ended(JobStatus.FAILED, cancel=ASKED))
    assert (sum(meter.stops.counts), meter.stops.total) == (1, 0.5)


def test_a_wall_clock_that_goes_back_makes_no_negative_time(meter: Meter, clock: VirtualClock) -> None:
    meter.job(changed(clock, JobStatus.ASSIGNED, 1, age_s=-3600))
    assert meter.waits.total == 0


def test_jobs_that_have_ended_leave_nothing_behind(meter: Meter, clock: VirtualClock) -> None:
    meter.job(changed(clock, JobStatus.RUNNING, 1, cancel=ASKED))
    meter.job(ended(JobStatus.COMPLETED, cancel=ASKED))
    assert not meter._started
    assert not meter._told_to_stop
