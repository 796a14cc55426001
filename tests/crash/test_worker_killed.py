"""A worker is killed in the middle of a job: somebody else gets it, and nobody waits long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cavvy import defaults
from tests.processes import BUSY_S, Installation, ScriptedWorker, installed, until
from tests.scripted_worker import ANSWER, FIRST

pytestmark = pytest.mark.crash


class Lost(NamedTuple):
    """A job whose first worker was killed, while a second one was there."""

    job: dict[str, Any]
    first: ScriptedWorker
    second: ScriptedWorker
    took_s: float


def lose_a_worker(directory: Path) -> Lost:
    with installed(directory) as here:
        here.start_coordinator()
        first = here.start_worker("first", gated=True)
        job_id = here.submit()
        here.until_running(job_id, first)
        second = here.start_worker("second")
        killed_s = time.monotonic()
        first.kill()
        job = here.ended_job(job_id)
        return Lost(job, first, second, time.monotonic() - killed_s)


@pytest.fixture(scope="module", autouse=True)
def losing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Lost]]:
    """It happens while the first test of this file runs, since it mostly waits."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(lose_a_worker, tmp_path_factory.mktemp("lost"))


def test_a_killed_worker_that_is_started_again_gets_its_job_anew_at_once(installation: Installation) -> None:
    """It is another instance of the same key: what it does not hold is lost, without waiting for a clock."""
    installation.start_coordinator()
    worker = installation.start_worker(gated=True)
    job_id = installation.submit()
    installation.until_running(job_id, worker)
    reader = installation.reader(job_id)
    until("the first half is read", lambda: reader.text == FIRST)
    worker.kill()
    worker.open_gate()
    again = installation.start_worker()
    installation.ended_job(job_id)
    assert len(again.calls) == 2
    assert reader.finish().attempts == [1, 2], "what was read of the first attempt is void"
    assert reader.text == ANSWER


@pytest.fixture
def lost(losing: Future[Lost]) -> Lost:
    return losing.result(250)


def test_p06_the_job_of_a_killed_worker_is_granted_again_and_completes(lost: Lost) -> None:
    assert (lost.job["status"], lost.job["output"]) == ("completed", ANSWER)
    assert [(one["attempt"], one["end"]) for one in lost.job["attempts"]] == [(1, "lost"), (2, "completed")]


def test_p06_each_worker_calls_its_provider_once(lost: Lost) -> None:
    assert (len(lost.first.calls), len(lost.second.calls)) == (1, 1)


def test_p06_the_lost_worker_is_waited_for_as_long_as_configured_and_not_much_longer(lost: Lost) -> None:
    wait_s = defaults.REQUEUE_AFTER_S
    assert wait_s <= lost.took_s < wait_s + defaults.SWEEP_S + BUSY_S
