"""Stop of everything over HTTP: who may, what it answers, what it keeps out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cavvy.core.ed25519 import public_key
from cavvy.core.settings import Settings
from cavvy.core.writes import Usage
from cavvy.protocol.keyfile import load_or_create_seed
from cavvy.protocol.messages import JobAssign, JobCancel, JobStartedMessage, JobStoppedMessage
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack
from tests.unit.api.raw_worker import RawWorker


async def key_of(stack: LiveStack, role: str) -> dict[str, str]:
    made = (await stack.http.post("/v1/keys", json={"role": role})).json()
    return {"Authorization": f"Bearer {made['key']}"}


async def test_p10_a_stop_ends_what_runs_and_what_waits_and_counts_them(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider(gate=asyncio.Event()))
    jobs = [(await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()["id"] for _ in range(3)]
    answer = await stack.http.post("/v1/stop", json={"reason": "it went wild"})
    found = answer.json()
    assert (answer.status_code, found["stopped"], found["by"], found["reason"]) == (200, True, "owner", "it went wild")
    assert (found["running"], found["pending"], found["durable"]) == (2, 1, True)
    ended = [(await stack.http.get(f"/v1/jobs/{job_id}?wait=60")).json() for job_id in jobs]
    assert [(job["status"], job["failure"]["code"]) for job in ended] == [("failed", "aborted")] * 3
    assert {(job["failure"]["by"], job["failure"]["reason"]) for job in ended} == {("owner", "it went wild")}


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/jobs", {"prompt": "hi"}), ("/v1/jobs/batch", {"jobs": [{"prompt": "hi"}]})]
)
async def test_p10_new_work_is_refused_with_409_that_says_who_when_why_and_how_to_go_on(
    stack: LiveStack, path: str, body: dict[str, object]
) -> None:
    at = (await stack.http.post("/v1/stop", json={"reason": "it went wild"})).json()["at"]
    answer = await stack.http.post(path, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "stopped")
    assert problem["stop"] == {"stopped": True, "by": "owner", "reason": "it went wild", "at": at}
    assert all(word in problem["detail"] for word in ("owner", at, "it went wild", "cavvy stop --release"))


async def test_released_work_is_accepted_again(stack: LiveStack) -> None:
    await stack.http.post("/v1/stop")
    released = await stack.http.post("/v1/stop/release")
    assert (released.status_code, released.json()["stopped"]) == (200, False)
    assert (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).status_code == 201


async def test_the_state_of_the_stop_can_be_asked_for(stack: LiveStack) -> None:
    assert (await stack.http.get("/v1/stop")).json() == {"stopped": False, "by": None, "reason": None, "at": None}
    await stack.http.post("/v1/stop", json={"reason": "enough"})
    found = (await stack.http.get("/v1/stop", headers=await key_of(stack, "read"))).json()
    assert (found["stopped"], found["reason"]) == (True, "enough")


async def test_any_submit_key_may_stop_and_an_admin_releases(stack: LiveStack) -> None:
    submit, read = await key_of(stack, "submit"), await key_of(stack, "read")
    assert (await stack.http.post("/v1/stop", headers=read)).status_code == 403
    assert (await stack.http.post("/v1/stop", headers=submit)).status_code == 200
    assert (await stack.http.post("/v1/stop/release", headers=submit)).status_code == 403
    assert (await stack.http.post("/v1/stop/release")).status_code == 200


async def test_without_the_latch_new_work_goes_on_being_accepted(stack: LiveStack) -> None:
    job_id = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()["id"]
    found = (await stack.http.post("/v1/stop", json={"latch": False})).json()
    assert (found["stopped"], found["pending"]) == (False, 1)
    assert (await stack.http.get(f"/v1/jobs/{job_id}")).json()["status"] == "failed"
    assert (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).status_code == 201


async def test_a_batch_repeated_while_stopped_still_finds_its_jobs(stack: LiveStack) -> None:
    body, headers = {"jobs": [{"prompt": "hi"}]}, {"Idempotency-Key": "k"}
    made = (await stack.http.post("/v1/jobs/batch", json=body, headers=headers)).json()["results"][0]["job"]["id"]
    await stack.http.post("/v1/stop")
    again = await stack.http.post("/v1/jobs/batch", json=body, headers=headers)
    assert (again.status_code, again.json()["results"][0]["job"]["id"]) == (200, made)


@pytest.mark.parametrize("body", [{"latch": "no"}, {"reason": ""}, {"tenant": "other"}])
async def test_a_stop_that_is_not_understood_stops_nothing(stack: LiveStack, body: dict[str, object]) -> None:
    assert (await stack.http.post("/v1/stop", json=body)).status_code == 422
    assert (await stack.http.get("/v1/stop")).json()["stopped"] is False


async def test_p10_a_thread_is_stopped_with_all_its_jobs(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider(gate=asyncio.Event()), slots=1)
    body = {"prompt": "hi", "thread_id": "chat 7"}
    jobs = [(await stack.http.post("/v1/jobs", json=body)).json()["id"] for _ in range(2)]
    answer = await stack.http.post("/v1/threads/chat%207/cancel", json={"reason": "enough"})
    assert (answer.status_code, answer.json()) == (200, {"running": 1, "pending": 1, "durable": True})
    ended = [(await stack.http.get(f"/v1/jobs/{job_id}?wait=60")).json()["failure"] for job_id in jobs]
    assert [(one["code"], one["reason"]) for one in ended] == [("aborted", "enough")] * 2


@pytest.mark.parametrize("thread_id", ["a/b", ".", ".."])
async def test_a_thread_id_that_no_address_can_hold_is_refused(stack: LiveStack, thread_id: str) -> None:
    answer = await stack.http.post("/v1/jobs", json={"prompt": "hi", "thread_id": thread_id})
    assert (answer.status_code, answer.json()["field"]) == (422, "thread_id")


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[LiveStack]:
    """A coordinator that waits a moment only for a worker's answer to a stop."""
    directory = tmp_path / "hasty"
    key = public_key(load_or_create_seed(directory / "coordinator.key"))
    settings = Settings(coordinator_key=key.hex(), stop_ack_timeout_s=0.2, sweep_s=0.05)
    async with live_stack(directory, SqliteStore(directory), settings=settings) as stack:
        yield stack


async def worker_view(stack: LiveStack) -> Any:
    return (await stack.http.get("/v1/workers")).json()["workers"][0]


async def test_p10_a_worker_shows_the_slots_that_stop_and_the_stops_it_did_not_answer(hasty: LiveStack) -> None:
    worker = RawWorker(hasty, "deaf")
    await worker.join()
    job_id = (await hasty.http.post("/v1/jobs", json={"prompt": "hi", "model": "deaf"})).json()["id"]
    grant = await worker.receive(JobAssign)
    await worker.send(JobStartedMessage(job_id=grant.job_id, epoch=grant.epoch))
    asked = (await hasty.http.post(f"/v1/jobs/{job_id}/cancel")).json()
    assert asked["cancel_requested"]["by"] == "owner"
    await worker.receive(JobCancel)
    assert (await worker_view(hasty))["stopping"] == 1
    ended = (await hasty.http.get(f"/v1/jobs/{job_id}?wait=60")).json()
    assert "did not answer" in ended["failure"]["message"]
    shown = await worker_view(hasty)
    assert (shown["stopping"], shown["unanswered_stops"]) == (1, 1)
    await worker.send(JobStoppedMessage(job_id=grant.job_id, epoch=grant.epoch, stopped_ms=900))
    while (shown := await worker_view(hasty))["stopping"]:
        pass
    assert shown["unanswered_stops"] == 1


async def test_p10_a_stopped_job_says_what_was_used_and_how_long_its_model_took(stack: LiveStack) -> None:
    worker = RawWorker(stack, "raw")
    await worker.join()
    job_id = (await stack.http.post("/v1/jobs", json={"prompt": "hi", "model": "raw"})).json()["id"]
    grant = await worker.receive(JobAssign)
    await worker.send(JobStartedMessage(job_id=grant.job_id, epoch=grant.epoch))
    await stack.http.post(f"/v1/jobs/{job_id}/cancel", json={"reason": "enough"})
    await worker.receive(JobCancel)
    used = Usage(input_tokens=7, output_tokens=3)
    await worker.send(JobStoppedMessage(job_id=grant.job_id, epoch=grant.epoch, usage=used, stopped_ms=120))
    ended = (await stack.http.get(f"/v1/jobs/{job_id}?wait=60")).json()
    assert (ended["failure"]["stop_ms"], ended["failure"]["reason"]) == (120, "enough")
    assert ended["usage"] == {"input_tokens": 7, "output_tokens": 3}
