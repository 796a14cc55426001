"""Workers that are looked after from another terminal: real processes, and what becomes of them."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

from tests.processes import Installation, Process, until
from tests.scripted_worker import ANSWER, FIRST

pytestmark = pytest.mark.e2e


def status_of(here: Installation, name: str) -> str:
    return str(next(one["status"] for one in here.workers() if one["name"] == name))


def test_a_drained_worker_delivers_its_answer_and_its_process_ends_with_0(installation: Installation) -> None:
    installation.start_coordinator()
    worker = installation.start_worker("desk", gated=True)
    job_id = installation.submit()
    installation.until_running(job_id, worker)
    assert installation.cavvy("workers", "drain", "desk").code == 0
    until("it was told", lambda: "drain" in worker.heard)
    waiting = installation.submit("later")
    worker.open_gate()
    assert worker.ended().code == 0
    assert installation.ended_job(job_id)["output"] == ANSWER
    assert (installation.job(waiting)["status"], worker.calls) == ("pending", ["hi"])
    again = installation.run("-m", "tests.scripted_worker", "worker", "--data-dir", str(worker.home))
    assert again.code == 0
    assert "cavvy workers resume wrk_" in again.err
    assert installation.cavvy("workers", "resume", "desk").code == 0
    installation.start_worker("desk")
    assert installation.ended_job(waiting)["output"] == ANSWER


def test_a_revoked_worker_is_stopped_and_never_let_in_again_and_another_finishes_its_job(
    installation: Installation,
) -> None:
    coordinator = installation.start_coordinator()
    worker = installation.start_worker("desk", gated=True)
    job_id = installation.submit()
    installation.until_running(job_id, worker)
    reader = installation.reader(job_id)
    until("the first half is read", lambda: reader.text == FIRST)
    other = installation.start_worker("other")
    assert installation.cavvy("workers", "revoke", "desk").code == 0
    ended = worker.ended()
    assert (ended.code, "revoked for good" in ended.err) == (4, True)
    job = installation.ended_job(job_id)
    assert (job["output"], job["tries"]) == (ANSWER, 0)
    assert [(one["end"], one["counted"]) for one in job["attempts"]] == [("revoked", False), ("completed", False)]
    assert (reader.finish().attempts, reader.text, len(other.calls)) == ([1, 2], ANSWER, 1)
    coordinator.terminate()
    installation.start_coordinator()
    again = installation.run("-m", "tests.scripted_worker", "worker", "--data-dir", str(worker.home))
    assert (again.code, "another --data-dir" in again.err) == (4, True)


def test_one_that_needs_approval_names_the_command_and_works_as_soon_as_it_was_typed(
    installation: Installation,
) -> None:
    installation.start_coordinator()
    line = installation.cavvy("workers", "token", "--needs-approval").out.split()[-1]
    home = installation.directory / "new"
    module = ("-m", "tests.scripted_worker", "worker", "--data-dir", str(home), "--name", "new")
    worker = installation.start(*module, "--join", line)
    job_id = installation.submit()
    until("it names the command", lambda: "cavvy workers approve wrk_" in worker.err)
    command = re.search(r"cavvy (workers approve wrk_\w+)", worker.err)
    assert command is not None
    assert installation.job(job_id)["status"] == "pending"
    assert installation.cavvy(*command[1].split()).code == 0
    assert installation.ended_job(job_id)["output"] == ANSWER
    assert worker.alive


def tokens(here: Installation) -> int:
    with closing(sqlite3.connect(here.data / "cavvy.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM worker_token").fetchone()
    return int(count)


def started_up(here: Installation) -> Process:
    process = here.start_coordinator("up", module="tests.scripted_worker")
    until("its worker is online", lambda: any(one["online"] for one in here.workers()))
    return process


def test_up_makes_a_token_once_and_takes_its_worker_in_again_on_another_port(installation: Installation) -> None:
    started_up(installation).terminate()
    assert tokens(installation) == 1
    installation.http.close()
    del installation.http
    installation.port = 0
    started_up(installation)
    assert installation.ended_job(installation.submit())["output"] == ANSWER
    assert tokens(installation) == 1


@pytest.mark.parametrize(("action", "status"), [("drain", "draining"), ("revoke", "revoked")])
def test_up_stays_when_its_worker_is_sent_away_and_starts_again_without_it(
    installation: Installation, action: str, status: str
) -> None:
    process = started_up(installation)
    (worker,) = installation.workers()
    assert installation.cavvy("workers", action, worker["name"]).code == 0
    until("it says so", lambda: "the coordinator goes on without it" in process.err)
    assert installation.http.get("/v1/health").status_code == 200
    assert process.terminate().code == 0
    again = installation.start_coordinator("up", module="tests.scripted_worker")
    assert status_of(installation, worker["name"]) == status
    until("it says so", lambda: "the coordinator goes on without it" in again.err)
    assert again.terminate().code == 0
