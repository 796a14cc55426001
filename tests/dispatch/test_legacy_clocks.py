"""How long a worker of Dispatch's may take for what, and how many strangers there may be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cavvy import defaults
from cavvy.api.listening import Listen
from cavvy.core.commands import Command, Heartbeat
from cavvy.core.job import AttemptRef
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import live_stack
from tests.dispatch.live import Dispatch, opened
from tests.dispatch.worker import DispatchWorker


def new_worker(dispatch: Dispatch, number: int = 31) -> DispatchWorker:
    return DispatchWorker(dispatch.stack.server.url, bytes([number] * 32))


async def test_who_does_not_register_in_time_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "HANDSHAKE_TIMEOUT_S", 0.1)
    async for dispatch in opened(tmp_path / "data"):
        worker = new_worker(dispatch)
        await worker.open()
        assert (await worker.closed())[0] == 4408


async def test_who_does_not_prove_its_key_in_time_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "LEGACY_PROOF_S", 0.1)
    async for dispatch in opened(tmp_path / "data"):
        worker = new_worker(dispatch)
        await worker.open()
        await worker.register()
        assert await worker.closed() == (4401, "the key was not proven in time")


async def test_the_job_of_a_worker_that_is_silent_too_long_runs_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "HEARTBEAT_S", 0.1)
    async for dispatch in opened(tmp_path / "data"):
        silent = new_worker(dispatch, 33)
        await silent.come_in()
        job_id = await dispatch.commit()
        await silent.expect("job_assign")
        monkeypatch.setattr(defaults, "LEGACY_SILENCE_S", 0.2)
        assert await silent.closed() == (4408, "nothing was heard of it")
        monkeypatch.setattr(defaults, "LEGACY_SILENCE_S", 30.0)
        other = new_worker(dispatch, 34)
        await other.come_in()
        assert (await other.expect("job_assign"))["job_id"] == job_id
        await other.close()


def listen_for_heartbeats(dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[Heartbeat]:
    """What the core is told of whoever holds something, from now on."""
    heard: asyncio.Queue[Heartbeat] = asyncio.Queue()
    engine = dispatch.services.engine
    post = engine.post

    def watched(command: Command) -> None:
        if isinstance(command, Heartbeat) and command.held:
            heard.put_nowait(command)
        post(command)

    monkeypatch.setattr(engine, "post", watched)
    return heard


async def test_while_a_worker_works_its_session_says_again_and_again_that_it_holds_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker of our own does itself: it is what renews a lease."""
    monkeypatch.setattr(defaults, "HEARTBEAT_S", 0.01)
    async for dispatch in opened(tmp_path / "data"):
        worker = new_worker(dispatch)
        await worker.come_in()
        job_id = await dispatch.commit()
        job = await worker.expect("job_assign")
        beats = listen_for_heartbeats(dispatch, monkeypatch)
        for _ in range(3):
            assert (await beats.get()).held == (AttemptRef(job_id, 1),)
        await worker.send(worker.done_with(job))
        ended = await dispatch.ended(job_id)
        assert (ended["status"], ended["attempt"]) == ("completed", 1)
        await worker.close()


async def test_a_worker_that_never_answers_a_job_that_has_ended_is_disconnected_and_comes_back_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(defaults, "LEGACY_STOP_S", 0.1)
    async for dispatch in opened(tmp_path / "data"):
        hung = new_worker(dispatch)
        await hung.come_in()
        hung_id = await dispatch.commit()
        await hung.expect("job_assign")
        waiting_id = await dispatch.commit()
        await dispatch.http.post(f"/v1/jobs/{hung_id}/cancel")
        assert await hung.closed() == (4408, "it did not answer a job that had ended")
        again = new_worker(dispatch)
        await again.come_in()
        assert (await again.expect("job_assign"))["job_id"] == waiting_id
        await again.close()


async def test_a_worker_that_answers_late_what_has_ended_keeps_its_connection_and_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "LEGACY_STOP_S", 30.0)
    async for dispatch in opened(tmp_path / "data"):
        worker = new_worker(dispatch)
        await worker.come_in()
        late_id, next_id = await dispatch.commit(), await dispatch.commit()
        job = await worker.expect("job_assign")
        await dispatch.http.post(f"/v1/jobs/{late_id}/cancel")
        shown = (await dispatch.ended(late_id))["failure"]["code"]
        await worker.send(worker.done_with(job))
        assert ((await worker.expect("job_assign"))["job_id"], shown) == (next_id, "aborted")
        await worker.close()


async def test_an_output_whose_receipt_never_comes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "LEGACY_RECEIPT_S", 0.1)
    async for dispatch in opened(tmp_path / "data"):
        worker = new_worker(dispatch)
        await worker.come_in()
        job_id = await dispatch.commit()
        whole = worker.done_with(await worker.expect("job_assign"))
        await worker.send(whole | {"receipt": None, "receipt_signature": None})
        assert (await worker.expect("error"))["code"] == "rejected_receipt"
        assert (await dispatch.job(job_id))["attempts"][0]["code"] == "rejected_receipt"
        await worker.close()


async def test_strangers_beyond_the_limit_find_no_room_and_a_proof_makes_some(tmp_path: Path) -> None:
    listen, limits = Listen(port=0, dispatch=True), {"max_unproven_sockets": 1}
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data"), listen=listen, limits=limits) as stack:
        dispatch = Dispatch(stack)
        first, second, third = (new_worker(dispatch, number) for number in (41, 42, 43))
        await first.open()
        await first.register()
        await second.open()
        assert await second.closed() == (1013, "too many workers are logging in")
        await first.send(first.done_with(await first.expect("job_assign")))
        await dispatch.commit()
        await first.expect("job_assign")
        await third.open()
        assert (await third.register())["status"] == "ok"
        for worker in (first, third):
            await worker.close()
        await dispatch.http.aclose()
