"""A worker is killed in the middle of a job: somebody else gets it, and nobody waits long."""

from __future__ import annotations

import time

import pytest

from cavvy import defaults
from tests.processes import Installation, until
from tests.scripted_worker import ANSWER, FIRST

pytestmark = pytest.mark.crash


def test_p06_the_job_of_a_killed_worker_is_granted_again_and_completes(installation: Installation) -> None:
    installation.start_coordinator()
    first = installation.start_worker("first", gated=True)
    job_id = installation.submit()
    installation.until_running(job_id, first)
    second = installation.start_worker("second")
    killed_s = time.monotonic()
    first.kill()
    job = installation.ended_job(job_id)
    assert (job["status"], job["output"]) == ("completed", ANSWER)
    assert [(one["attempt"], one["end"]) for one in job["attempts"]] == [(1, "lost"), (2, "completed")]
    assert (len(first.calls), len(second.calls)) == (1, 1)
    assert time.monotonic() - killed_s < defaults.REQUEUE_AFTER_S + defaults.SWEEP_S + 3


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
