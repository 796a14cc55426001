"""A worker is told to stop while it runs something: it ends in order, and nothing is lost or counted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Installation, ScriptedWorker, installed, until
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("told")) as installation:
        installation.start_coordinator()
        yield installation


@pytest.fixture
def running(here: Installation, request: pytest.FixtureRequest) -> tuple[ScriptedWorker, str]:
    """A worker in the middle of its one job."""
    worker = here.start_worker(request.node.name[:40], gated=True, slots=1)
    job_id = here.submit()
    here.until_running(job_id, worker)
    return worker, job_id


def ends(job: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(one["end"], one["counted"]) for one in job["attempts"]]


def is_leaving(here: Installation, worker: ScriptedWorker) -> bool:
    workers = here.http.get("/v1/workers").json()["workers"]
    return any(one["name"] == worker.name and one["leaving"] for one in workers)


def test_p12_what_it_runs_ends_and_is_delivered_and_nothing_new_begins(
    here: Installation, running: tuple[ScriptedWorker, str]
) -> None:
    worker, job_id = running
    worker.signal(signal.SIGTERM)
    until("it says that it leaves", lambda: is_leaving(here, worker))
    waiting = here.submit()
    worker.open_gate()
    assert here.ended_job(job_id)["output"] == ANSWER
    assert worker.ended().code == 0
    assert (here.job(waiting)["status"], len(worker.calls)) == ("pending", 1)
    here.http.post(f"/v1/jobs/{waiting}/cancel")


def test_p12_a_second_signal_gives_back_what_it_runs_at_once_and_uncounted(
    here: Installation, running: tuple[ScriptedWorker, str]
) -> None:
    worker, job_id = running
    worker.signal(signal.SIGTERM)
    until("it says that it leaves", lambda: is_leaving(here, worker))
    worker.signal(signal.SIGINT)
    assert worker.ended().code == 0
    assert (here.job(job_id)["status"], ends(here.job(job_id))) == ("pending", [("drained", False)])
    other = here.start_worker("another")
    assert here.ended_job(job_id)["status"] == "completed"
    assert ends(here.job(job_id))[1:] == [("completed", False)]
    other.kill()


def test_p12_what_takes_longer_than_the_drain_timeout_is_given_back(here: Installation, tmp_path: Path) -> None:
    (tmp_path / "cavvy.toml").write_text("[worker]\ndrain_timeout_s = 0.5\n", encoding="utf-8")
    (tmp_path / "cavvy.toml").chmod(0o600)
    here.environment["CAVVY_CONFIG"] = str(tmp_path / "cavvy.toml")
    try:
        worker = here.start_worker("impatient", gated=True, slots=1)
    finally:
        del here.environment["CAVVY_CONFIG"]
    job_id = here.submit()
    here.until_running(job_id, worker)
    assert worker.terminate().code == 0
    assert (here.job(job_id)["status"], ends(here.job(job_id))) == ("pending", [("drained", False)])
    here.http.post(f"/v1/jobs/{job_id}/cancel")


def test_p12_without_a_coordinator_it_does_not_hang(tmp_path: Path) -> None:
    with installed(tmp_path) as alone:
        coordinator = alone.start_coordinator()
        worker = alone.start_worker(gated=True)
        job_id = alone.submit()
        alone.until_running(job_id, worker)
        coordinator.kill()
        worker.signal(signal.SIGTERM)
        until("it is leaving", lambda: "leaving" in worker.err)
        worker.signal(signal.SIGTERM)
        assert worker.ended().code == 0
