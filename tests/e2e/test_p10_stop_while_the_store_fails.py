"""Stop while the disk is full or the database locked: it holds at once, and is written when it can be."""

from __future__ import annotations

import pytest

from tests import troubled_coordinator as trouble
from tests.e2e.test_failing_store import PROMPT, Trouble, locked, ordered
from tests.processes import Installation, until

pytestmark = pytest.mark.e2e

OUTAGES = [
    pytest.param("tests.troubled_coordinator", ordered(trouble.FULL), id="full disk"),
    pytest.param("cavvy", locked, id="locked"),
]


def ready(here: Installation) -> bool:
    return here.http.get("/v1/ready").status_code == 200


@pytest.mark.parametrize(("module", "outage"), OUTAGES)
def test_p10_everything_stops_at_once_and_stays_stopped_after_the_outage_and_a_restart(
    installation: Installation, module: str, outage: Trouble
) -> None:
    coordinator = installation.start_coordinator(module=module)
    worker = installation.start_worker(gated=True, slots=1)
    running, waiting = installation.submit(), installation.submit()
    installation.until_running(running, worker)
    with outage(installation):
        until("the door is shut", lambda: shut(installation))
        answer = installation.http.post("/v1/stop", json={"reason": "it went wild"})
        assert (answer.status_code, answer.json()["durable"], answer.json()["stopped"]) == (202, False, True)
        assert (answer.json()["running"], answer.json()["pending"] >= 1) == (1, True)
        until("its worker is told", lambda: "job_cancel" in worker.heard)
        until("its provider is idle", lambda: "outcome=stopped" in worker.err)
        assert installation.http.get("/v1/stop").json()["reason"] == "it went wild"
    for job_id in (running, waiting):
        failure = installation.ended_job(job_id)["failure"]
        assert (failure["code"], failure["reason"]) == ("aborted", "it went wild")
    assert len(worker.calls) == 1
    coordinator.terminate()
    installation.start_coordinator()
    refused = installation.http.post("/v1/jobs", json={"prompt": "hi"})
    assert (refused.status_code, refused.json()["code"]) == (409, "stopped")


def shut(here: Installation) -> bool:
    here.http.post("/v1/jobs", json={"prompt": PROMPT, "model": "nobody-has-it"})
    return not ready(here)
