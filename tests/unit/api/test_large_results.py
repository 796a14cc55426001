"""A large result is read beside the event loop: its sender waits, nobody else does, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cavvy import defaults
from cavvy.coordinator import session
from cavvy.core.commands import Heartbeat
from cavvy.core.reading import Reading, ResultForm, read
from cavvy.protocol.messages import CompleteAck, HeartbeatAck, HeartbeatMessage, JobAssign
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, live_stack
from tests.unit.api.raw_worker import PATIENCE_S, RawWorker

LARGE = "x" * defaults.ASIDE_BYTES
SMALL = "x" * (defaults.ASIDE_BYTES // 2)


class SlowReading:
    """Reading what is large lasts until `go`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._may_go = threading.Event()

    def __call__(self, result: bytes, form: ResultForm) -> Reading:
        if len(result) > defaults.ASIDE_BYTES:
            self._loop.call_soon_threadsafe(self._begun.set)
            self._may_go.wait(PATIENCE_S)
        return read(result, form)

    async def begun(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self._begun.wait()

    def go(self) -> None:
        self._may_go.set()


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data")) as stack:
        yield stack


@pytest.fixture
async def reading(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SlowReading]:
    """Heartbeats are not answered by themselves meanwhile, however long a test takes."""
    slow = SlowReading()
    monkeypatch.setattr(session, "read", slow)
    monkeypatch.setattr(defaults, "HEARTBEAT_S", 600.0)
    yield slow
    slow.go()


@pytest.fixture
async def worker(stack: LiveStack) -> AsyncIterator[RawWorker]:
    worker = RawWorker(stack, "worker")
    await worker.join()
    yield worker
    await worker.close()


async def sent_large(worker: RawWorker, reading: SlowReading) -> JobAssign:
    """Its job, whose result is being read."""
    grant = await worker.granted()
    await worker.start(grant)
    await worker.send(worker.completion(grant, LARGE))
    await reading.begun()
    return grant


async def test_others_go_on_while_a_large_result_is_read(worker: RawWorker, reading: SlowReading) -> None:
    await sent_large(worker, reading)
    other = RawWorker(worker.stack, "other")
    await other.join()
    assert await other.complete(await other.granted(), SMALL) == "accepted"
    reading.go()
    assert (await worker.receive(CompleteAck)).verdict == "accepted"
    await other.close()


async def test_what_its_sender_says_next_is_heard_after_it(worker: RawWorker, reading: SlowReading) -> None:
    grant = await sent_large(worker, reading)
    await worker.send(HeartbeatMessage(held=(), free=1))
    await worker.send(worker.completion(grant, SMALL))
    reading.go()
    assert (await worker.receive(CompleteAck)).verdict == "accepted"
    await worker.receive(HeartbeatAck)
    assert (await worker.receive(CompleteAck)).verdict == "accepted"
    assert (await worker.job(grant.job_id))["output"] == LARGE


async def test_its_sender_keeps_what_it_has_however_long_it_takes(
    worker: RawWorker, reading: SlowReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted: list[Any] = []
    engine = worker.stack.server._services.engine  # type: ignore[union-attr]  # it is started
    post = engine.post
    monkeypatch.setattr(engine, "post", lambda command: (posted.append(command), post(command)))
    monkeypatch.setattr(defaults, "HEARTBEAT_S", 0.05)
    grant = await sent_large(worker, reading)
    for _ in range(3):
        assert (await worker.receive(HeartbeatAck)).lost == ()
    said = [one for one in posted if isinstance(one, Heartbeat)]
    assert {one.held for one in said} == {(worker.ref(grant),)}


async def test_p13_a_socket_that_is_taken_over_meanwhile_loses_nothing(worker: RawWorker, reading: SlowReading) -> None:
    grant = await sent_large(worker, reading)
    again = RawWorker(worker.stack, worker.name)
    ack = await again.come_back(held=(worker.ref(grant),))
    assert [one.verdict for one in ack.resume] == ["go_on"]
    assert await worker.close_code() == 4409
    await again.send(again.completion(grant, LARGE))
    reading.go()
    assert (await again.receive(CompleteAck)).verdict == "accepted"
    assert (await again.job(grant.job_id))["attempt"] == 1
    await again.close()


async def test_who_is_still_being_read_is_not_displaced(
    worker: RawWorker, reading: SlowReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "DISPLACE_PING_S", 0.01)
    await sent_large(worker, reading)
    second = RawWorker(worker.stack, worker.name, instance="2")
    await second.open()
    await second.send(second.registration())
    assert await second.close_code() == 4409
    await worker.pinged()
    reading.go()
    assert (await worker.receive(CompleteAck)).verdict == "accepted"


async def test_p13_a_coordinator_that_stops_does_not_wait_for_it(worker: RawWorker, reading: SlowReading) -> None:
    grant = await sent_large(worker, reading)
    stack = worker.stack
    async with asyncio.timeout(PATIENCE_S):
        await stack.server.stop()
    reading.go()
    async with live_stack(stack.directory, SqliteStore(stack.directory), key=stack.key) as next_one:
        worker.stack = next_one
        await worker.come_back(held=(worker.ref(grant),))
        assert await worker.complete(grant, LARGE) == "accepted"
        assert (await worker.job(grant.job_id))["output"] == LARGE
