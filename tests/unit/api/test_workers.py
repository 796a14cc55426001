"""The fleet over HTTP, with real sockets on the other side: what an action does, at once, and whom it is open to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import httpx
import pytest

from cavvy import defaults
from cavvy.core.job import AttemptRef
from cavvy.errors import WorkerRefused
from cavvy.protocol.messages import Drain, JobAssign, StatusMessage
from cavvy.testing import LiveStack, ScriptedProvider
from cavvy.worker.agent import Worker
from cavvy.worker.identity import WorkerHome, parse_join
from tests.unit.api.raw_worker import RawWorker

ACTIONS = ("approve", "pause", "resume", "drain", "revoke")

_names = (f"worker-{number}" for number in count(1))


@pytest.fixture
def stack(shared_stack: LiveStack) -> LiveStack:
    return shared_stack


@pytest.fixture
async def raw(stack: LiveStack) -> AsyncIterator[RawWorker]:
    """A worker that is not connected yet, and a key nobody has seen."""
    raw = RawWorker(stack, next(_names))
    yield raw
    await raw.close()


@pytest.fixture(scope="module")
async def other_tenant(shared_stack: LiveStack) -> str:
    """The admin key of another tenant."""
    answer = await shared_stack.http.post("/v1/tenants", json={"id": "other"}, headers=operator(shared_stack))
    return str(answer.json()["admin"]["key"])


def operator(stack: LiveStack) -> dict[str, str]:
    return bearer(stack.server.operator_key)


def bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def act(raw: RawWorker, action: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return await raw.stack.http.post(f"/v1/workers/{raw.key}/{action}", headers=headers)


async def shown(raw: RawWorker, headers: dict[str, str] | None = None) -> dict[str, Any]:
    answer = await raw.stack.http.get(f"/v1/workers/{raw.key}", headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def why_it_waits(raw: RawWorker, job_id: str) -> str:
    return str((await raw.job(job_id))["queue"]["reason"])


# -- what each action does


async def test_one_that_needs_approval_gets_work_as_soon_as_it_is_approved(raw: RawWorker) -> None:
    ack = await raw.join(needs_approval=True)
    assert ack.status == "waiting_approval"
    job_id = await raw.submit()
    assert "waits for approval; `cavvy workers approve`" in await why_it_waits(raw, job_id)
    answer = await act(raw, "approve")
    assert (answer.status_code, answer.json()["status"], answer.json()["online"]) == (200, "approved", True)
    assert (await raw.receive(StatusMessage)).status == "approved"
    grant = await raw.receive(JobAssign)
    assert (grant.job_id, await raw.complete(grant)) == (job_id, "accepted")


async def test_a_paused_one_finishes_what_it_runs_and_gets_nothing_new_until_it_is_resumed(raw: RawWorker) -> None:
    await raw.join()
    running = await raw.granted()
    await raw.start(running)
    assert (await act(raw, "pause")).json()["status"] == "paused"
    assert (await raw.receive(StatusMessage)).status == "paused"
    assert await raw.complete(running) == "accepted"
    job_id = await raw.submit()
    await raw.beat()
    assert "is paused; `cavvy workers resume`" in await why_it_waits(raw, job_id)
    await act(raw, "resume")
    await raw.receive(StatusMessage)
    assert (await raw.receive(JobAssign)).job_id == job_id


async def test_a_drained_one_is_told_and_delivers_what_it_runs(raw: RawWorker) -> None:
    await raw.join()
    running = await raw.granted()
    await raw.start(running)
    assert (await act(raw, "drain")).json()["status"] == "draining"
    await raw.receive(Drain)
    job_id = await raw.submit()
    await raw.beat(raw.ref(running), free=0)
    assert await raw.complete(running) == "accepted"
    await raw.close()
    assert "No worker" in await why_it_waits(raw, job_id)
    assert (await raw.come_back()).status == "draining"


async def test_a_revoked_one_is_closed_4403_with_a_sentence_and_its_job_goes_on_elsewhere(
    raw: RawWorker, stack: LiveStack
) -> None:
    await raw.join()
    running = await raw.granted()
    await raw.start(running, "some text")
    other = RawWorker(stack, next(_names), model=raw.model)
    await other.join()
    assert (await act(raw, "revoke")).json()["status"] == "revoked"
    assert await raw.close_code() == 4403
    assert "revoked for good; join with a new `cavvy workers token` line" in raw.close_reason
    again = await other.receive(JobAssign)
    assert (again.job_id, again.epoch) == (running.job_id, 2)
    await other.start(again)
    await other.complete(again)
    job = await raw.job(running.job_id)
    assert [(one["end"], one["counted"]) for one in job["attempts"]] == [("revoked", False), ("completed", False)]
    events = [(one["event"], one.get("attempt")) for one in job["timeline"]]
    assert ("revoked", 1) in events
    assert (job["status"], job["tries"]) == ("completed", 0)
    await other.close()


async def test_a_revoked_one_is_never_let_in_again_with_or_without_a_token(raw: RawWorker) -> None:
    await raw.join()
    await act(raw, "revoke")
    await raw.close_code()
    for token in (None, await raw.token()):
        await raw.open()
        await raw.send(raw.registration(token=token, finished=(AttemptRef("0" * 36, 1),)))
        assert (await raw.close_code(), "revoked for good" in raw.close_reason) == (4403, True)


async def test_what_it_may_do_does_not_depend_on_it_being_connected(raw: RawWorker) -> None:
    await raw.join()
    await raw.close()
    for action, status in (("pause", "paused"), ("drain", "draining"), ("resume", "approved"), ("revoke", "revoked")):
        answer = await act(raw, action)
        assert (answer.status_code, answer.json()["status"]) == (200, status)


async def test_repeating_an_action_answers_the_same(raw: RawWorker) -> None:
    await raw.join()
    for action in ("pause", "drain", "resume", "approve", "revoke"):
        first, second = await act(raw, action), await act(raw, action)
        assert (first.status_code, second.status_code) == (200, 200)
        assert first.json()["status"] == second.json()["status"]


async def test_what_its_status_forbids_is_refused_and_says_what_to_do(raw: RawWorker) -> None:
    await raw.join(needs_approval=True)
    for action in ("pause", "resume", "drain"):
        refused = (await act(raw, action)).json()
        assert (refused["status"], refused["code"]) == (409, "worker_not_approved")
        assert "approve it first" in refused["detail"]
    await act(raw, "revoke")
    for action in ("approve", "pause", "resume", "drain"):
        refused = (await act(raw, action)).json()
        assert (refused["status"], refused["code"]) == (409, "worker_revoked")
        assert "join anew, with another key" in refused["detail"]


async def test_a_worker_that_is_not_there_is_404_and_a_body_is_422(raw: RawWorker) -> None:
    for action in ACTIONS:
        assert (await act(raw, action)).status_code == 404
    await raw.join()
    answer = await raw.stack.http.post(f"/v1/workers/{raw.key}/pause", json={"force": True})
    assert (answer.status_code, answer.json()["field"]) == (422, "force")


# -- real workers


def agent(stack: LiveStack, name: str, provider: ScriptedProvider, token: str) -> Worker:
    home = WorkerHome(stack.directory / name)
    return Worker(home=home, providers=[provider], slots=1, name=name, join=parse_join(token))


async def join_line(stack: LiveStack, **options: bool) -> str:
    return str((await stack.http.post("/v1/worker-tokens", json=options)).json()["join"])


async def test_a_real_worker_that_is_revoked_stops_its_model_and_says_why_it_ends(stack: LiveStack) -> None:
    name = next(_names)
    provider = ScriptedProvider(["never ", "whole"], models=(name,), gate=asyncio.Event())
    worker = agent(stack, name, provider, await join_line(stack))
    task = asyncio.create_task(worker.run())
    await worker.wait_connected()
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi", "model": name})).json()
    await provider.begun.wait()
    await stack.http.post(f"/v1/workers/{worker.key}/revoke")
    async with asyncio.timeout(60):
        with pytest.raises(WorkerRefused, match="revoked for good"):
            await task
    assert (provider.calls, provider.stopped) == (1, 1)
    after = (await stack.http.get(f"/v1/jobs/{job['id']}")).json()
    assert (after["status"], after["attempts"][0]["end"]) == ("pending", "revoked")
    with pytest.raises(WorkerRefused, match="another --data-dir"):
        await agent(stack, name, provider, await join_line(stack)).run()


async def test_a_real_worker_that_is_drained_delivers_and_ends(stack: LiveStack) -> None:
    name = next(_names)
    gate = asyncio.Event()
    provider = ScriptedProvider(["an ", "answer"], models=(name,), gate=gate)
    worker = agent(stack, name, provider, await join_line(stack))
    task = asyncio.create_task(worker.run())
    await worker.wait_connected()
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi", "model": name})).json()
    await provider.begun.wait()
    await stack.http.post(f"/v1/workers/{worker.key}/drain")
    gate.set()
    async with asyncio.timeout(60):
        await task
    after = (await stack.http.get(f"/v1/jobs/{job['id']}?wait=60")).json()
    assert (after["status"], after["output"]) == ("completed", "an answer")


@pytest.mark.parametrize("wrong", ["used", "expired", "foreign", "unknown"])
async def test_a_token_that_is_no_good_is_refused_with_what_to_do(
    stack: LiveStack, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wrong == "expired":
        monkeypatch.setattr(defaults, "WORKER_TOKEN_TTL_S", 0)
    line = await join_line(stack)
    if wrong == "used":
        first = agent(stack, next(_names), ScriptedProvider(), line)
        task = asyncio.create_task(first.run())
        await first.wait_connected()
        await first.stop()
        await task
    if wrong == "foreign":
        line = line.rpartition("_")[0] + "_" + "0" * 32
    if wrong == "unknown":
        line = line.replace("cav_wrk_", "cav_wrk_x")
    with pytest.raises(WorkerRefused) as refused:
        await agent(stack, next(_names), ScriptedProvider(), line).run()
    said = str(refused.value)
    assert "`cavvy workers token`" in said
    assert ("not the one this worker was told to join" if wrong == "foreign" else "unknown, used up or expired") in said


# -- tokens


async def test_a_token_takes_its_two_options_and_no_others(stack: LiveStack) -> None:
    for body in ({"needs_approval": "yes"}, {"ttl_s": 5}, {"shared": None}):
        answer = await stack.http.post("/v1/worker-tokens", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field"), answer.text


async def test_only_the_operator_makes_tokens_for_shared_workers_and_no_others(stack: LiveStack) -> None:
    for body, headers in (({"shared": True}, None), ({}, operator(stack))):
        answer = await stack.http.post("/v1/worker-tokens", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


# -- shared workers


async def test_a_shared_worker_runs_every_tenants_jobs_and_tenants_see_what_they_need_of_it(
    raw: RawWorker, stack: LiveStack, other_tenant: str
) -> None:
    await raw.join(stack.server.operator_key, shared=True)
    for headers in (bearer(stack.key), bearer(other_tenant)):
        answer = await stack.http.post("/v1/jobs", json={"prompt": "hi", "model": raw.model}, headers=headers)
        grant = await raw.receive(JobAssign)
        assert grant.job_id == answer.json()["id"]
        assert await raw.complete(grant) == "accepted"
        seen = await shown(raw, headers)
        assert (seen["shared"], seen["online"], seen["models"]) == (True, True, [raw.model])
        assert [seen[name] for name in ("slots", "free", "version", "skew_ms")] == [None] * 4
    assert (await shown(raw, operator(stack)))["slots"] == 1


async def test_only_the_operator_manages_a_shared_worker(raw: RawWorker, stack: LiveStack) -> None:
    await raw.join(stack.server.operator_key, shared=True)
    for action in ACTIONS:
        refused = (await act(raw, action)).json()
        assert (refused["status"], refused["code"]) == (403, "forbidden")
    for action in ("pause", "resume", "revoke"):
        assert (await act(raw, action, operator(stack))).status_code == 200


async def test_p18_the_operator_and_other_tenants_see_nothing_of_a_tenants_own_workers(
    raw: RawWorker, stack: LiveStack, other_tenant: str
) -> None:
    await raw.join()
    for headers in (operator(stack), bearer(other_tenant)):
        listed = (await stack.http.get("/v1/workers", headers=headers)).json()["workers"]
        assert raw.key not in [one["key"] for one in listed]
        for action in ACTIONS:
            assert (await act(raw, action, headers)).status_code == 404
