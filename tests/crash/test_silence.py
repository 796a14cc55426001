"""Worker and coordinator hear nothing of each other for longer than a lease, though both processes live."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from cavvy import defaults
from tests.processes import Installation, Process, ScriptedWorker, installed, until
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.crash

STOPPED = "attempts stopped"
LONGER_S = defaults.LEASE_TTL_S + 2.0


class Story(NamedTuple):
    """One job, and the worker that held it first."""

    job: dict[str, Any]
    worker: ScriptedWorker
    others_calls: int = 0


def begin(here: Installation) -> tuple[Process, ScriptedWorker, str]:
    coordinator = here.start_coordinator()
    worker = here.start_worker(gated=True)
    job_id = here.submit()
    here.until_running(job_id, worker)
    return coordinator, worker, job_id


def coordinator_suspended(here: Installation) -> Story:
    coordinator, worker, job_id = begin(here)
    coordinator.signal(signal.SIGSTOP)
    try:
        until("the worker stops its attempt", lambda: STOPPED in worker.err)
    finally:
        coordinator.signal(signal.SIGCONT)
    worker.open_gate()
    return Story(here.ended_job(job_id), worker)


def coordinator_dead(here: Installation) -> Story:
    coordinator, worker, job_id = begin(here)
    coordinator.kill()
    time.sleep(LONGER_S)
    here.start_coordinator()
    worker.open_gate()
    return Story(here.ended_job(job_id), worker)


def worker_suspended(here: Installation) -> Story:
    _, worker, job_id = begin(here)
    other = here.start_worker("other")
    worker.signal(signal.SIGSTOP)
    try:
        job = here.ended_job(job_id)
    finally:
        worker.signal(signal.SIGCONT)
    until("the worker stops its attempt", lambda: STOPPED in worker.err)
    worker.open_gate()
    until("the worker is back", lambda: here.is_online("w"))
    again = here.ended_job(here.submit())
    assert again["status"] == "completed", again
    assert here.job(job_id) == job, "what the suspended worker did afterwards changed the job"
    return Story(job, worker, len(other.calls))


STORIES: tuple[Callable[[Installation], Story], ...] = (coordinator_suspended, coordinator_dead, worker_suspended)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Story]]]:
    """They mostly wait, so they happen side by side."""

    def tell(story: Callable[[Installation], Story]) -> Story:
        with installed(tmp_path_factory.mktemp(story.__name__)) as here:
            return story(here)

    with ThreadPoolExecutor(len(STORIES)) as threads:
        yield {story.__name__: threads.submit(tell, story) for story in STORIES}


def ends(job: dict[str, Any]) -> list[str]:
    return [one["end"] for one in job["attempts"]]


def test_p05_a_worker_that_hears_nothing_stops_its_attempt_and_runs_it_anew_later(
    stories: dict[str, Future[Story]],
) -> None:
    told = stories["coordinator_suspended"].result()
    assert (told.job["status"], told.job["output"]) == ("completed", ANSWER)
    assert (ends(told.job), len(told.worker.calls)) == (["lost", "completed"], 2)


def test_p05_a_worker_goes_on_for_longer_than_a_lease_while_no_coordinator_runs(
    stories: dict[str, Future[Story]],
) -> None:
    told = stories["coordinator_dead"].result()
    assert (told.job["status"], told.job["output"]) == ("completed", ANSWER)
    assert (ends(told.job), len(told.worker.calls)) == (["completed"], 1)
    assert STOPPED not in told.worker.err


def test_p05_a_suspended_worker_finds_its_attempt_lost_and_changes_nothing(
    stories: dict[str, Future[Story]],
) -> None:
    told = stories["worker_suspended"].result()
    assert (told.job["status"], told.job["output"]) == ("completed", ANSWER)
    assert ends(told.job) == ["lost", "completed"]
    assert told.others_calls >= 1
