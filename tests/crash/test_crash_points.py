"""The crash windows with real processes: the coordinator is killed right after a commit, before anybody hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests import troubled_coordinator as trouble
from tests.processes import Installation, Process, ScriptedWorker, until
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.crash


def start(here: Installation, *, gated: bool) -> tuple[Process, ScriptedWorker]:
    coordinator = here.start_coordinator(module="tests.troubled_coordinator")
    return coordinator, here.start_worker(gated=gated, slots=1)


def killed_at(here: Installation, coordinator: Process, statement: str, act: Callable[[], Any]) -> None:
    """`act` brings about a commit with `statement`, which is the last thing this coordinator does."""
    here.orders.write_text(f"{trouble.DIE_AFTER_COMMIT} {statement}")
    with pytest.raises(httpx.TransportError):
        act()
    assert coordinator.ended().code == -9
    here.orders.unlink()
    here.start_coordinator()


def test_p13_a_grant_that_was_never_sent_runs_once_and_counts_nothing(installation: Installation) -> None:
    coordinator, worker = start(installation, gated=False)
    killed_at(installation, coordinator, "insert_attempt", lambda: installation.submit(key="k"))
    (job_id,) = installation.job_ids()
    job = installation.ended_job(job_id)
    assert (job["status"], job["output"], worker.calls) == ("completed", ANSWER, ["hi"])
    assert not any(one["counted"] for one in job["attempts"])


def test_p10_a_cancel_that_was_never_sent_reaches_the_worker_when_it_comes_back(installation: Installation) -> None:
    coordinator, worker = start(installation, gated=True)
    job_id = installation.submit()
    installation.until_running(job_id, worker)
    cancel = f"/v1/jobs/{job_id}/cancel"
    killed_at(installation, coordinator, "request_cancel", lambda: installation.http.post(cancel))
    job = installation.ended_job(job_id)
    assert (job["status"], job["failure"]["code"], len(job["attempts"])) == ("failed", "aborted", 1)
    until("the worker was told", lambda: "stop" in worker.heard)


def test_p10_a_stop_that_was_never_answered_holds(installation: Installation) -> None:
    coordinator, worker = start(installation, gated=True)
    running = installation.submit()
    installation.until_running(running, worker)
    waiting = installation.submit("waits")
    killed_at(installation, coordinator, "set_stop", lambda: installation.http.post("/v1/stop", json={}))
    for job_id in (running, waiting):
        job = installation.ended_job(job_id)
        assert (job["status"], job["failure"]["code"]) == ("failed", "aborted")
    assert worker.calls == ["hi"], "what waited never started"
    refused = installation.http.post("/v1/jobs", json={"prompt": "new"})
    assert (refused.status_code, refused.json()["code"]) == (409, "stopped")
