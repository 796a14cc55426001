"""P1, P13: kill -9 of the coordinator with 200 jobs in flight. All complete, and nothing is paid for twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from tests.processes import Installation, Reader, ScriptedWorker, installed, until
from tests.scripted_worker import ANSWER, FIRST

pytestmark = pytest.mark.crash

WORKERS, SLOTS = 2, 64
JOBS = 200
READERS = 10


class Survived(NamedTuple):
    """What became of every job, who ran it, and what those read who looked on."""

    accepted: list[str]
    jobs: list[dict[str, Any]]
    workers: list[ScriptedWorker]
    readers: list[Reader]


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Survived]:
    """More than the slots are in flight: some run, some wait; a few streams are open."""
    with installed(tmp_path_factory.mktemp("load")) as here, ThreadPoolExecutor(20) as threads:
        coordinator = here.start_coordinator()
        workers = [here.start_worker(f"w{number}", gated=True, slots=SLOTS) for number in range(WORKERS)]
        accepted = list(threads.map(here.submit, [f"prompt {number}" for number in range(JOBS)]))
        until("every slot is busy", lambda: sum(len(one.calls) for one in workers) == WORKERS * SLOTS)
        readers = [here.reader(job_id) for job_id in accepted[:READERS]]
        until("the streams have begun", lambda: all(reader.text == FIRST for reader in readers))
        coordinator.kill()
        for worker in workers:
            worker.open_gate()
        until("the answers are finished", lambda: _finished(workers) == WORKERS * SLOTS)
        here.start_coordinator()
        jobs = list(threads.map(lambda job_id: ended(here, job_id), accepted))
        yield Survived(accepted, jobs, workers, [reader.finish() for reader in readers])


def _finished(workers: list[ScriptedWorker]) -> int:
    return sum(worker.err.count("job ended") for worker in workers)


def ended(here: Installation, job_id: str) -> dict[str, Any]:
    return here.ended_job(job_id)


def test_p01_all_200_complete_with_their_text(survived: Survived) -> None:
    assert len(survived.jobs) == JOBS
    assert {(job["status"], job["output"]) for job in survived.jobs} == {("completed", ANSWER)}


def test_p13_each_is_one_attempt_and_one_call_of_a_provider(survived: Survived) -> None:
    assert {len(job["attempts"]) for job in survived.jobs} == {1}
    calls = Counter(prompt for worker in survived.workers for prompt in worker.calls)
    assert calls == Counter(f"prompt {number}" for number in range(JOBS))


def test_p13_the_workers_live_on(survived: Survived) -> None:
    assert all(worker.alive for worker in survived.workers)


def test_streams_resume_by_themselves_with_the_exact_text(survived: Survived) -> None:
    assert [(reader.text, reader.attempts) for reader in survived.readers] == [(ANSWER, [1])] * READERS
