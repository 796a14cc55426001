"""`cavvy up` is told to stop, or killed: its worker goes first, and no process is left behind."""

from __future__ import annotations

import signal
import time

import pytest

from cavvy import defaults
from tests.processes import BUSY_S, Installation, Process, survivors, until
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.crash


@pytest.fixture
def up(installation: Installation) -> tuple[Process, str]:
    """It is in the middle of a job, and another one waits for a model nobody has."""
    installation.environment["CAVVY_TEST_GATED"] = "yes"
    process = installation.start_coordinator("up", module="tests.scripted_worker")
    until("its worker is online", lambda: any(one["online"] for one in installation.workers()))
    job_id = installation.submit()
    until("the job runs", lambda: installation.job(job_id)["status"] == "running")
    return process, job_id


def calls(here: Installation) -> int:
    return len((here.directory / "calls").read_text(encoding="utf-8").splitlines())


def test_p12_up_lets_its_worker_finish_first(installation: Installation, up: tuple[Process, str]) -> None:
    process, job_id = up
    process.signal(signal.SIGTERM)
    until("its worker leaves", lambda: installation.workers()[0]["leaving"])
    assert process.alive
    (installation.directory / "gate").touch()
    assert process.ended().code == 0
    assert survivors(installation.mark) == []
    installation.start_coordinator()
    job = installation.job(job_id)
    assert (job["status"], job["output"], len(job["attempts"]), calls(installation)) == ("completed", ANSWER, 1, 1)


def test_p12_a_second_signal_ends_up_at_once_and_the_job_goes_back_uncounted(
    installation: Installation, up: tuple[Process, str]
) -> None:
    process, job_id = up
    process.signal(signal.SIGTERM)
    until("its worker leaves", lambda: installation.workers()[0]["leaving"])
    told_s = time.monotonic()
    process.signal(signal.SIGINT)
    ended = process.ended()
    assert time.monotonic() - told_s < defaults.SHUTDOWN_S + BUSY_S
    assert (ended.code, "Traceback" in ended.err) == (0, False)
    assert survivors(installation.mark) == []
    installation.start_coordinator()
    job = installation.job(job_id)
    assert (job["status"], job["tries"]) == ("pending", 0)


def test_p12_a_terminal_that_is_closed_ends_up_in_order(installation: Installation, up: tuple[Process, str]) -> None:
    process, job_id = up
    process.signal(signal.SIGHUP)
    until("its worker leaves", lambda: installation.workers()[0]["leaving"])
    process.signal(signal.SIGHUP)  # the kernel says so, and the shell again
    (installation.directory / "gate").touch()
    assert process.ended().code == 0
    assert survivors(installation.mark) == []
    installation.start_coordinator()
    job = installation.job(job_id)
    assert (job["status"], len(job["attempts"]), calls(installation)) == ("completed", 1, 1)


def test_up_that_is_killed_leaves_no_model_behind(installation: Installation) -> None:
    process = installation.start_coordinator("up")
    until("the model has a process of its own", lambda: len(survivors(installation.mark)) >= 2)
    process.kill()
    until("its children have gone", lambda: survivors(installation.mark) == [])
