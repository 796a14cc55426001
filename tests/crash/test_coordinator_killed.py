"""The coordinator is killed at the worst moments, or told to stop: nothing accepted is lost, nothing runs twice."""

from __future__ import annotations

import sqlite3
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx
import pytest

from cavvy import defaults
from tests import troubled_coordinator as trouble
from tests.processes import BUSY_S, Ended, Installation, Reader, ScriptedWorker, installed, until
from tests.scripted_worker import ANSWER, FIRST

pytestmark = pytest.mark.crash


def running_job(here: Installation) -> tuple[str, ScriptedWorker]:
    """A job that waits in the middle of its answer."""
    worker = here.start_worker(gated=True)
    job_id = here.submit()
    here.until_running(job_id, worker)
    return job_id, worker


# kill -9 with many submits in flight, no worker online


class Accepted(NamedTuple):
    """What was answered 201 until the kill, and what the coordinator has that was started then."""

    here: Installation
    answered: list[str]
    stored: list[str]


SUBMITTERS = 30


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accepted]:
    with installed(tmp_path_factory.mktemp("accepted")) as here:
        coordinator = here.start_coordinator()
        answered: list[str] = []
        together = threading.Barrier(SUBMITTERS)

        def submit_until_killed() -> None:
            with here.client() as http:
                together.wait()
                while True:
                    try:
                        answer = http.post("/v1/jobs", json={"prompt": "hi"})
                    except httpx.TransportError:
                        return
                    assert answer.status_code == 201, answer.text
                    answered.append(answer.json()["id"])

        with ThreadPoolExecutor(SUBMITTERS) as threads:
            submitting = [threads.submit(submit_until_killed) for _ in range(SUBMITTERS)]
            until("many were accepted", lambda: len(answered) >= 2 * SUBMITTERS)
            coordinator.kill()
        for each in submitting:
            each.result()
        here.start_coordinator()
        yield Accepted(here, answered, here.job_ids())


def test_p01_every_job_that_was_answered_201_survives_kill_9(accepted: Accepted) -> None:
    assert set(accepted.answered) <= set(accepted.stored)


def test_p01_at_most_what_was_in_flight_is_there_without_its_201(accepted: Accepted) -> None:
    assert len(accepted.stored) <= len(accepted.answered) + SUBMITTERS


def test_p02_what_survived_completes_once_a_worker_is_online(accepted: Accepted) -> None:
    assert accepted.here.job(accepted.answered[0])["status"] == "pending"
    accepted.here.start_worker(slots=8)
    ended = [accepted.here.ended_job(job_id) for job_id in accepted.stored]
    assert {(job["status"], job["output"], len(job["attempts"])) for job in ended} == {("completed", ANSWER, 1)}


# kill -9 while a job runs


class Resumed(NamedTuple):
    """A job that ran while its coordinator was killed and started again, and who was looking on.

    Before the job ended, a second reader was shown the first half by the new coordinator, too.
    """

    job: dict[str, Any]
    worker: ScriptedWorker
    reader: Reader
    command: Ended


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resumed]:
    with installed(tmp_path_factory.mktemp("resumed")) as here:
        coordinator = here.start_coordinator()
        job_id, worker = running_job(here)
        command = here.start("-m", "cavvy", "run", "the command line's")
        reader = here.reader(job_id)
        until("the first half is read", lambda: reader.text == FIRST)
        until("both jobs run", lambda: len(worker.calls) == 2)
        coordinator.kill()
        here.start_coordinator()
        until("the worker came back by itself", lambda: here.is_online("w"))
        late = here.reader(job_id)
        until("the first half is there again", lambda: late.text == FIRST)
        worker.open_gate()
        yield Resumed(here.ended_job(job_id), worker, reader.finish(), command.ended())


def test_p13_a_running_job_goes_on_in_the_same_attempt(resumed: Resumed) -> None:
    assert (resumed.job["status"], resumed.job["output"]) == ("completed", ANSWER)
    assert [(one["attempt"], one["end"]) for one in resumed.job["attempts"]] == [(1, "completed")]


def test_p13_the_worker_lives_on_and_calls_its_provider_once_for_each_job(resumed: Resumed) -> None:
    assert resumed.worker.alive
    assert sorted(resumed.worker.calls) == ["hi", "the command line's"]


def test_a_reader_that_resumes_by_last_event_id_reads_the_exact_text(resumed: Resumed) -> None:
    assert (resumed.reader.text, resumed.reader.attempts) == (ANSWER, [1])


def test_a_stream_that_the_kill_cut_off_does_not_look_whole(resumed: Resumed) -> None:
    assert resumed.reader.breaks >= 1
    assert resumed.reader.events.count("end") == 1


def test_cavvy_run_prints_the_answer_once_and_whole(resumed: Resumed) -> None:
    assert resumed.command[:2] == (0, ANSWER + "\n")


# kill -9 in the crash windows of one commit


@pytest.mark.parametrize(
    ("order", "status"), [(trouble.DIE_BEFORE_COMMIT, 201), (trouble.DIE_AFTER_COMMIT, 200)], ids=["before", "after"]
)
def test_p11_a_submit_whose_answer_was_lost_is_one_job_when_repeated(
    installation: Installation, order: str, status: int
) -> None:
    """Killed before the commit the job is made anew, after it the same key finds it."""
    coordinator = installation.start_coordinator(module="tests.troubled_coordinator")
    installation.orders.write_text(f"{order} insert_job")
    with pytest.raises(httpx.TransportError):
        installation.submit(key="k-1")
    assert coordinator.ended().code == -9
    installation.start_coordinator()
    again = installation.http.post("/v1/jobs", json={"prompt": "hi"}, headers={"Idempotency-Key": "k-1"})
    assert again.status_code == status
    assert installation.job_ids() == [again.json()["id"]]


def test_p04_a_result_is_repeated_until_it_is_accepted_and_stored_once(installation: Installation) -> None:
    """Killed first between the result and its commit, then between the commit and the acknowledgement."""
    coordinator = installation.start_coordinator(module="tests.troubled_coordinator")
    job_id, worker = running_job(installation)
    installation.orders.write_text(f"{trouble.DIE_BEFORE_COMMIT} complete_job")
    worker.open_gate()
    assert coordinator.ended().code == -9
    installation.orders.write_text(f"{trouble.DIE_AFTER_COMMIT} complete_job")
    again = ["coordinator", "--port", str(installation.port)]
    assert installation.start("-m", "tests.troubled_coordinator", *again).ended().code == -9
    installation.start_coordinator()
    until("the worker is told", lambda: "accepted" in worker.heard)
    assert "complete_ack" not in worker.heard, "neither kill left time for an acknowledgement"
    job = installation.ended_job(job_id)
    assert (job["output"], len(job["attempts"]), len(worker.calls)) == (ANSWER, 1, 1)
    assert stored_outputs(installation) == 1


def stored_outputs(here: Installation) -> int:
    with sqlite3.connect(here.data / "cavvy.db") as database:
        (count,) = database.execute("SELECT count(*) FROM attempt_output").fetchone()
    database.close()
    return int(count)


# TERM


class Told(NamedTuple):
    """What became of everybody when the coordinator was told to stop, and was started again."""

    coordinator: Ended
    took_s: float
    readers: list[Reader]
    polled: dict[str, Any]
    worker: ScriptedWorker
    job: dict[str, Any]


def following(here: Installation) -> int:
    """How many read a job's events, or wait for its end."""
    operator = tomllib.loads((here.config / "credentials.toml").read_text())["operator_key"]
    lines = here.http.get("/metrics", headers={"Authorization": f"Bearer {operator}"}).text.splitlines()
    return next(int(line.split()[-1]) for line in lines if line.startswith('cavvy_event_streams{of="job"}'))


@pytest.fixture(scope="module")
def told_to_stop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with installed(tmp_path_factory.mktemp("told")) as here, ThreadPoolExecutor(1) as thread:
        coordinator = here.start_coordinator()
        job_id, worker = running_job(here)
        readers = [here.reader(job_id) for _ in range(3)]
        until("the streams are open", lambda: all(reader.text == FIRST for reader in readers))
        polling = thread.submit(here.job, job_id, wait_s=60)
        until("the poll has come, too", lambda: following(here) == len(readers) + 1)
        told_s = time.monotonic()
        ended = coordinator.terminate()
        took_s = time.monotonic() - told_s
        polled = polling.result()
        worker.open_gate()
        until("the answer is finished", lambda: "job ended" in worker.err)
        here.start_coordinator()
        yield Told(ended, took_s, [reader.finish() for reader in readers], polled, worker, here.ended_job(job_id))


def test_term_ends_it_with_0_and_soon_whoever_is_connected(told_to_stop: Told) -> None:
    assert told_to_stop.coordinator.code == 0
    assert told_to_stop.took_s < defaults.SHUTDOWN_S + BUSY_S


def test_term_says_bye_to_every_stream(told_to_stop: Told) -> None:
    assert [(reader.events[-1], reader.breaks) for reader in told_to_stop.readers] == [("bye", 0)] * 3


def test_term_answers_who_waits_for_a_job_with_what_it_is_now(told_to_stop: Told) -> None:
    assert told_to_stop.polled["status"] == "running"


def test_term_closes_the_workers_sockets_1012(told_to_stop: Told) -> None:
    assert "1012" in told_to_stop.worker.err


def test_p13_what_is_finished_while_no_coordinator_runs_is_delivered_later(told_to_stop: Told) -> None:
    assert (told_to_stop.job["status"], told_to_stop.job["output"]) == ("completed", ANSWER)
    assert (len(told_to_stop.job["attempts"]), len(told_to_stop.worker.calls)) == (1, 1)
