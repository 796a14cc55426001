"""PRIVATE work and workers of Dispatch: only where the owner allowed it, and only after the user's yes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.dispatch.live import Dispatch, opened
from tests.dispatch.worker import DispatchWorker

SEED = bytes([23] * 32)


@pytest.fixture
async def private(tmp_path: Path) -> AsyncIterator[Dispatch]:
    """With --legacy-private."""
    async for one in opened(tmp_path / "data", legacy_private=True):
        yield one


@pytest.fixture
async def public(tmp_path: Path) -> AsyncIterator[Dispatch]:
    """Without it."""
    async for one in opened(tmp_path / "data"):
        yield one


async def claim(dispatch: Dispatch, worker: DispatchWorker, user_id: str) -> None:
    code = (await dispatch.http.post("/v1/trust/create", json={"user_id": user_id})).json()["pairing_code"]
    body = {"pairing_code": code, "provider_pubkey": worker.key}
    assert (await dispatch.http.post("/v1/trust/claim", json=body)).status_code == 200


async def confirm(dispatch: Dispatch, user_id: str) -> None:
    """The owner's yes, for who sends no key."""
    headers = {"Authorization": f"Bearer {dispatch.stack.server.operator_key}"}
    waiting = await dispatch.http.get("/v1/trust/list", params={"user_id": user_id}, headers=headers)
    (one,) = waiting.json()["waiting"]
    body = {"id": one["id"], "fingerprint": one["fingerprint"], "user_id": user_id}
    answer = await dispatch.http.post("/v1/trust/confirm", json=body, headers=headers)
    assert answer.status_code == 200, answer.text


async def commit(dispatch: Dispatch, user_id: str, privacy_class: str = "PRIVATE") -> httpx.Response:
    payload = {"job_type": "LLM_INFER", "prompt": "my secret"}
    body = {"job_type": "LLM_INFER", "payload": payload, "user_id": user_id, "privacy_class": privacy_class}
    return await dispatch.http.post("/v1/jobs/commit/fast", json=body)


async def test_p16_a_paired_worker_does_its_users_private_job(private: Dispatch) -> None:
    worker = DispatchWorker(private.stack.server.url, SEED)
    await worker.come_in()
    await claim(private, worker, "alice")
    await confirm(private, "alice")
    job_id = (await commit(private, "alice")).json()["job_id"]
    job = await worker.expect("job_assign")
    assert (job["job_id"], job["privacy_class"], job["payload"]["prompt"]) == (job_id, "PRIVATE", "my secret")
    assert "alice" not in job["user_id"]
    await worker.send(worker.done_with(job))
    assert (await private.ended(job_id))["result"]["text"] == "echo: my secret"
    await worker.close()


async def test_p16_neither_a_claim_alone_nor_another_users_yes_is_enough(private: Dispatch) -> None:
    worker = DispatchWorker(private.stack.server.url, SEED)
    await worker.come_in()
    await claim(private, worker, "bob")
    assert (await commit(private, "bob")).json()["error"] == "no_trusted_worker"
    await claim(private, worker, "alice")
    await confirm(private, "alice")
    for user_id in ("bob", "Alice", "alice "):
        assert (await commit(private, user_id)).json()["error"] == "no_trusted_worker"
    await worker.close()


async def test_p16_an_impostor_of_a_trusted_worker_gets_nothing_private(private: Dispatch) -> None:
    worker = DispatchWorker(private.stack.server.url, SEED)
    await worker.come_in()
    await claim(private, worker, "alice")
    await confirm(private, "alice")
    await worker.close()
    impostor = DispatchWorker(private.stack.server.url, bytes([24] * 32))
    impostor.key = worker.key
    await impostor.open()
    await impostor.register()
    await impostor.expect("job_assign")  # the challenge, which it cannot answer
    assert (await commit(private, "alice")).json()["error"] == "no_trusted_worker"
    await impostor.send(impostor.completion("x" * 36, {"text": "forged"}))
    assert (await impostor.expect("error"))["code"] == "NOT_YOURS"
    await impostor.close()


async def test_p16_without_the_owners_leave_a_paired_worker_gets_nothing_private(public: Dispatch) -> None:
    worker = DispatchWorker(public.stack.server.url, SEED)
    await worker.come_in()
    await claim(public, worker, "alice")
    await confirm(public, "alice")
    assert (await commit(public, "alice")).json()["error"] == "no_trusted_worker"
    job_id = (await commit(public, "alice", "PUBLIC")).json()["job_id"]
    job = await worker.expect("job_assign")
    assert job["job_id"] == job_id
    await worker.send(worker.done_with(job))
    await public.ended(job_id)
    await worker.close()


@pytest.mark.parametrize("privacy_class", ["private", "Private", "", None, "SECRET"])
async def test_p16_what_is_not_exactly_private_or_public_is_refused(public: Dispatch, privacy_class: str) -> None:
    worker = DispatchWorker(public.stack.server.url, SEED)
    await worker.come_in()
    assert (await commit(public, "alice", privacy_class)).status_code in (400, 422)
    assert (await worker.heartbeat())["status"] == "ok"  # and no job before it
    await worker.close()
