"""A backup under load, restored elsewhere: nothing of it is lost, and a worker of the old coordinator comes over."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Installation


@pytest.fixture
def elsewhere(installation: Installation, tmp_path: Path) -> Iterator[Installation]:
    """Another account with no data and no credentials."""
    other = Installation(tmp_path / "elsewhere", data=tmp_path / "elsewhere" / "restored")
    (tmp_path / "elsewhere").mkdir()
    yield other
    other.stop()


def submitting(here: Installation, over: threading.Event) -> threading.Thread:
    """Submits one job after the other until it is over."""

    def submit() -> None:
        while not over.is_set():
            here.http.post("/v1/jobs", json={"prompt": "load"})

    thread = threading.Thread(target=submit)
    thread.start()
    return thread


def test_a_backup_under_load_goes_on_elsewhere(
    installation: Installation, elsewhere: Installation, tmp_path: Path
) -> None:
    coordinator = installation.start_coordinator()
    worker = installation.start_worker(gated=True, slots=1)
    running = installation.submit("held")
    installation.until_running(running, worker)
    waiting = [installation.submit(f"job {number}") for number in range(5)]
    over = threading.Event()
    load = submitting(installation, over)
    made = installation.cavvy("backup", str(tmp_path / "copy"))
    over.set()
    load.join()
    assert made.code == 0, made.err
    late = installation.submit("after the backup")
    coordinator.kill()

    restored = elsewhere.cavvy("restore", str(tmp_path / "copy"))
    assert restored.code == 0, restored.err
    elsewhere.port = installation.port
    elsewhere.key = str(tomllib.loads((elsewhere.config / "credentials.toml").read_text())["key"])
    elsewhere.http = elsewhere.client()
    elsewhere.start_coordinator()
    worker.open_gate()
    ended = [elsewhere.ended_job(job_id) for job_id in (running, *waiting)]
    assert {job["status"] for job in ended} == {"completed"}
    assert [attempt["end"] for attempt in ended[0]["attempts"]] == ["lost", "completed"]
    assert elsewhere.http.get(f"/v1/jobs/{late}").status_code == 404
    fresh = elsewhere.ended_job(elsewhere.submit("a new one"))
    assert fresh["number"] > max(job["number"] for job in ended)
