"""When a job is tried again, as pure decisions."""

from __future__ import annotations

from typing import Any

import pytest

from cavvy import defaults
from cavvy.core.job import AttemptEnd, FailureCode, JobHeader, JobStatus, Needs, Terms
from cavvy.core.lifecycle import Event, Phase, Step, step
from cavvy.core.tries import backoff_s, last_chance, pause_s


def job(**changes: Any) -> JobHeader:
    values: dict[str, Any] = {
        "id": "job-1",
        "seq": 1,
        "number": 1,
        "user_id": "owner",
        "needs": Needs(),
        "status": JobStatus.RUNNING,
        "created_at_ms": 0,
    }
    return JobHeader(**(values | changes))


def at(event: Event) -> Step:
    """What the event does to a running job."""
    found = step(Phase.RUNNING, event)
    assert found is not None
    return found


def test_the_pause_doubles_from_a_second_to_a_minute_and_no_number_of_tries_breaks_it() -> None:
    assert [backoff_s(times) for times in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff_s(1_000_000) == 60


@pytest.mark.parametrize("event", [Event.FAILED_FOR_NOW, Event.RECEIPT_REJECTED, Event.LEASE_END])
def test_p08_what_counts_as_a_try_fails_the_job_when_it_was_the_last(event: Event) -> None:
    ended = at(event)
    assert last_chance(ended, job(tries=1)).status is JobStatus.PENDING
    last = last_chance(ended, job(tries=2))
    assert (last.status, last.failure, last.end) == (JobStatus.FAILED, ended.failure, ended.end)


def test_a_job_says_how_often_it_may_be_tried() -> None:
    ended = at(Event.LEASE_END)
    assert last_chance(ended, job(terms=Terms(max_attempts=1))).status is JobStatus.FAILED
    assert last_chance(ended, job(tries=3, terms=Terms(max_attempts=5))).status is JobStatus.PENDING


@pytest.mark.parametrize("event", [Event.DRAINED, Event.REVOKED])
def test_what_does_not_count_never_fails_a_job(event: Event) -> None:
    assert last_chance(at(event), job(tries=2)).status is JobStatus.PENDING


def test_a_job_that_nobody_takes_fails_in_the_end() -> None:
    change = at(Event.REJECTED)
    assert last_chance(change, job(rejected={"a": 10, "b": 9})).status is JobStatus.PENDING
    last = last_chance(change, job(rejected={"a": 10, "b": 10}))
    assert (last.status, last.failure) == (JobStatus.FAILED, FailureCode.NO_ELIGIBLE_WORKER)
    assert defaults.MAX_REJECTS == 20


def test_only_a_failure_makes_a_job_wait() -> None:
    paused = {end: pause_s(Step(JobStatus.PENDING, end), job(tries=2)) for end in AttemptEnd}
    assert {end for end, pause in paused.items() if pause} == {AttemptEnd.FAILED}
    assert paused[AttemptEnd.FAILED] == 2
