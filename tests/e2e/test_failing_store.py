"""The store fails: whoever asks is told so at once, nothing accepted is lost, and it heals by itself where it can."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import structlog

from cavvy.core.writes import InsertJob, Write
from cavvy.errors import Refused
from cavvy.store.base import IdempotencyRecord
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import FailingStore, live_stack
from tests import troubled_coordinator as trouble
from tests.processes import Installation, ScriptedWorker, installed, until
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.e2e

DISK_BYTES = 4 << 20
PROMPT = "Long enough to need room of its own on a full disk. " * 400

Trouble = Callable[[Installation], contextlib.AbstractContextManager[None]]


# The outages: each is the real command line, and a worker that is at work when it begins


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[bool]:
    """A file system of its own at `place`; False if this account cannot mount one."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "cavvy-test", str(place)]
    mounted = shutil.which("mount") is not None and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(place)], check=True)


@contextlib.contextmanager
def filled(here: Installation) -> Iterator[None]:
    """Not a byte is free on the disk."""
    filler = here.data / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(here.data).free == 0
    yield
    filler.unlink()


@contextlib.contextmanager
def locked(here: Installation) -> Iterator[None]:
    """Somebody else has begun to write, and does not end."""
    other = sqlite3.connect(here.data / "cavvy.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


def ordered(order: str) -> Trouble:
    """The store's own seam: its writer does as told."""

    @contextlib.contextmanager
    def while_ordered(here: Installation) -> Iterator[None]:
        here.orders.write_text(f"{order} any")
        yield
        here.orders.unlink()

    return while_ordered


class Answer(NamedTuple):
    """What was answered, without its texts, and when."""

    status: int
    code: str | None
    outcome: str | None
    detail: str
    after_s: float


class Outage(NamedTuple):
    """What everybody saw while the store took no writes, and afterwards."""

    in_flight: Answer
    at_the_door: Answer
    ready: int
    health: int
    read: dict[str, str]
    listed: int
    online: bool
    heartbeats: int
    running: dict[str, Any]
    waiting: dict[str, Any]
    repeated: tuple[int, str]
    new: dict[str, Any]
    stored: list[str]
    worker: ScriptedWorker


def play(directory: Path, kind: str) -> Outage:
    """One outage from its beginning to a while after its end."""
    directory.mkdir()
    if kind == "full disk":
        with small_disk(directory / "disk") as mounted:
            if mounted:
                with installed(directory, data=directory / "disk") as here:
                    return outage(here, "cavvy", filled)
        # No mount for this account: SQLite itself is told how much room there is.
        with installed(directory) as here:
            return outage(here, "tests.troubled_coordinator", ordered(trouble.FULL))
    with installed(directory) as here:
        if kind == "locked":
            return outage(here, "cavvy", locked)
        return outage(here, "tests.troubled_coordinator", ordered(trouble.READ_ONLY))


def outage(here: Installation, module: str, trouble: Trouble) -> Outage:
    here.start_coordinator(module=module)
    worker = here.start_worker(gated=True, slots=1)
    running, waiting = here.submit(), here.submit()
    until("the start is written down", lambda: stored_status(here, running) == "running")
    with trouble(here), ThreadPoolExecutor(1) as thread:
        heartbeats = worker.heard.count("heartbeat_ack")
        in_flight = thread.submit(submitted, here, "in-flight")
        until("it is not ready", lambda: here.http.get("/v1/ready").status_code == 503)
        seen: dict[str, Any] = {
            "at_the_door": submitted(here, "refused"),
            "ready": here.http.get("/v1/ready").status_code,
            "health": here.http.get("/v1/health").status_code,
            "read": {name: here.job(each)["status"] for name, each in (("running", running), ("waiting", waiting))},
            "listed": len(here.job_ids()),
            "in_flight": in_flight.result(),
        }
        worker.open_gate()
        until("a heartbeat is answered", lambda: worker.heard.count("heartbeat_ack") > heartbeats)
        seen |= {"online": here.is_online("w"), "heartbeats": worker.heard.count("heartbeat_ack") - heartbeats}
    until("it is ready again", lambda: here.http.get("/v1/ready").status_code == 200)
    repeated = post(here, "in-flight")
    return Outage(
        running=here.ended_job(running),
        waiting=here.ended_job(waiting),
        repeated=(repeated.status_code, repeated.json()["id"]),
        new=here.ended_job(here.submit()),
        stored=here.job_ids(),
        worker=worker,
        **seen,
    )


def post(here: Installation, key: str) -> httpx.Response:
    return here.http.post("/v1/jobs", json={"prompt": PROMPT}, headers={"Idempotency-Key": key})


def submitted(here: Installation, key: str) -> Answer:
    began_s = time.monotonic()
    answer = post(here, key)
    body = answer.json()
    after_s = time.monotonic() - began_s
    return Answer(answer.status_code, body.get("code"), body.get("outcome"), body.get("detail", ""), after_s)


def stored_status(here: Installation, job_id: str) -> str:
    with sqlite3.connect(here.data / "cavvy.db") as database:
        (status,) = database.execute("SELECT status FROM job WHERE id = ?", (job_id.encode(),)).fetchone()
    database.close()
    return str(status)


KINDS = ("full disk", "locked", "read-only")


@pytest.fixture(scope="module", autouse=True)
def outages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outage]]]:
    """All at the same time, and while the first tests of this file run, since they mostly wait."""
    directory = tmp_path_factory.mktemp("outages")
    with ThreadPoolExecutor(len(KINDS)) as threads:
        yield {kind: threads.submit(play, directory / kind.replace(" ", "-"), kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def seen(request: pytest.FixtureRequest, outages: dict[str, Future[Outage]]) -> Outage:
    return outages[request.param].result(250)


# An I/O error inside COMMIT: nobody can know what is there


@pytest.mark.parametrize(
    ("order", "status"),
    [(trouble.FAIL_BEFORE_COMMIT, 201), (trouble.FAIL_AFTER_COMMIT, 200)],
    ids=["it was not written", "it was written"],
)
def test_an_error_inside_commit_ends_the_process_with_75_and_the_next_one_finds_out(
    installation: Installation, order: str, status: int
) -> None:
    coordinator = installation.start_coordinator(module="tests.troubled_coordinator")
    installation.orders.write_text(f"{order} insert_job")
    assert submitted(installation, "k")[:3] == (503, "store_unavailable", "unknown")
    ended = coordinator.ended()
    assert (ended.code, "start the coordinator again" in ended.err) == (75, True)
    installation.start_coordinator()
    again = post(installation, "k")
    assert again.status_code == status
    assert installation.job_ids() == [again.json()["id"]]


# Data that the store refuses


class RefusingStore(FailingStore):
    """Refuses whatever has "guilty" in it. Submits with a key wait at the look-up until all have come: one batch."""

    def __init__(self, inner: SqliteStore, together: int) -> None:
        super().__init__(inner)
        self.refuse = self._refuse
        self.together = together
        self.batches: list[int] = []
        self._waiting = 0
        self._all_there = asyncio.Event()

    async def idempotent(self, *arguments: Any, **named: Any) -> Mapping[str, IdempotencyRecord]:
        found: Mapping[str, IdempotencyRecord] = await self.inner.idempotent(*arguments, **named)
        self._waiting += 1
        if self._waiting == self.together:
            self._all_there.set()
        await self._all_there.wait()
        return found

    async def commit(self, writes: Sequence[Write], *, term: int) -> None:
        self.batches.append(sum(isinstance(write, InsertJob) for write in writes))
        await super().commit(writes, term=term)

    def _refuse(self, write: Write) -> Exception | None:
        guilty = isinstance(write, InsertJob) and b"guilty" in write.input
        return Refused("not this one") if guilty else None


async def test_of_a_batch_with_data_the_store_refuses_only_that_submit_fails(tmp_path: Path) -> None:
    prompts = [f"good {number}" for number in range(50)] + ["guilty"]
    store = RefusingStore(SqliteStore(tmp_path / "data"), len(prompts))
    async with live_stack(tmp_path / "data", store) as stack:
        posts = [stack.http.post("/v1/jobs", json={"prompt": p}, headers={"Idempotency-Key": p}) for p in prompts]
        with structlog.testing.capture_logs() as log:
            *good, guilty = await asyncio.gather(*posts)
        assert max(store.batches) == len(prompts), "they came in one batch"
        assert [answer.status_code for answer in good] == [201] * 50
        problem = guilty.json()
        assert (guilty.status_code, problem["code"]) == (500, "internal")
        assert [one["event"] for one in log if one.get("request_id") == problem["request_id"]] == ["request_failed"]
        stored = (await stack.http.get("/v1/jobs?limit=100")).json()["jobs"]
        assert {one["id"] for one in stored} == {answer.json()["id"] for answer in good}
        assert (await stack.http.get("/v1/ready")).status_code == 200


# What is seen while it lasts


def test_a_submit_that_was_under_way_hears_within_seconds_that_its_outcome_is_unknown(seen: Outage) -> None:
    assert seen.in_flight[:3] == (503, "store_unavailable", "unknown")
    assert seen.in_flight.after_s < 20
    assert "Idempotency-Key" in seen.in_flight.detail


def test_new_work_is_refused_at_the_door_and_told_that_nothing_was_taken(seen: Outage) -> None:
    assert seen.at_the_door[:3] == (503, "store_unavailable", "not_accepted")


def test_it_is_alive_but_not_ready(seen: Outage) -> None:
    assert (seen.health, seen.ready) == (200, 503)


def test_reads_go_on(seen: Outage) -> None:
    assert seen.read == {"running": "running", "waiting": "pending"}
    assert seen.listed == 2


def test_workers_stay_connected_and_their_heartbeats_are_answered(seen: Outage) -> None:
    assert seen.online
    assert seen.heartbeats >= 1
    assert "disconnected" not in seen.worker.err
    assert seen.worker.heard.count("register_ack") == 1


# What is seen afterwards


def test_p13_a_job_that_finished_meanwhile_is_completed_in_its_attempt(seen: Outage) -> None:
    assert (seen.running["output"], len(seen.running["attempts"])) == (ANSWER, 1)


def test_p01_a_job_that_was_accepted_before_is_completed(seen: Outage) -> None:
    assert (seen.waiting["status"], seen.waiting["output"]) == ("completed", ANSWER)


def test_new_work_is_taken_again(seen: Outage) -> None:
    assert (seen.new["status"], seen.new["output"]) == ("completed", ANSWER)


def test_p11_a_submit_whose_outcome_was_unknown_is_one_job_when_repeated(seen: Outage) -> None:
    status, job_id = seen.repeated
    assert status in (200, 201)
    assert set(seen.stored) == {seen.running["id"], seen.waiting["id"], job_id, seen.new["id"]}
    assert len(seen.stored) == 4, "and what was refused at the door is not there"
