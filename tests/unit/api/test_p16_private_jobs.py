"""P16 over HTTP: a PRIVATE job goes to workers that its user trusts, and says so when there is none."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cavvy.client import AsyncCavvy
from cavvy.core.ed25519 import public_key
from cavvy.core.receipt import ReceiptPayload, open_envelope
from cavvy.core.settings import Settings
from cavvy.errors import RequestRefused
from cavvy.protocol.keyfile import load_or_create_seed
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack
from tests.ports import held_port

PRIVATE = {"prompt": "my diary", "privacy_class": "PRIVATE"}
WAIT = {"Prefer": "wait=60"}


class Asked(ScriptedProvider):
    """Answers with its name and remembers what it was asked."""

    def __init__(self, name: str, **more: Any) -> None:
        self.heard: list[str] = []
        super().__init__(answer=lambda request: self.heard.append(str(request.messages[-1].content)) or [name], **more)


async def submit(stack: LiveStack, **fields: Any) -> dict[str, Any]:
    job: dict[str, Any] = (await stack.http.post("/v1/jobs", json=PRIVATE | fields, headers=WAIT)).json()
    return job


async def test_p16_a_private_job_runs_on_the_worker_its_user_trusts(stack: LiveStack) -> None:
    stranger, friend = Asked("stranger"), Asked("friend")
    await stack.add_worker(stranger, name="stranger", slots=8)
    await stack.add_worker(friend, name="friend", slots=1)
    await stack.trust("friend")
    jobs = await asyncio.gather(*(submit(stack) for _ in range(4)))
    assert [(one["status"], one["output"], one["privacy_class"]) for one in jobs] == [
        ("completed", "friend", "PRIVATE")
    ] * 4
    assert stranger.heard == []


async def test_p16_without_a_trusted_worker_it_is_422_and_names_the_job_that_failed(stack: LiveStack) -> None:
    await stack.add_worker(Asked("stranger"))
    answer = await stack.http.post("/v1/jobs", json=PRIVATE, headers=WAIT)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["error"]) == (422, "no_trusted_worker", "no_trusted_worker")
    job = (await stack.http.get(f"/v1/jobs/{problem['job_id']}")).json()
    assert (job["status"], job["failure"]["code"], job["attempts"]) == ("failed", "no_trusted_worker", [])
    assert job["result"] == {"error": "no_trusted_worker"}


async def test_p11_a_refused_submit_that_is_repeated_is_refused_again(stack: LiveStack) -> None:
    """Whatever happened meanwhile: the answer that was lost is the answer."""
    headers = {"Idempotency-Key": "diary"}
    first = await stack.http.post("/v1/jobs", json=PRIVATE, headers=headers)
    await stack.add_worker(Asked("friend"), name="friend")
    await stack.trust("friend")
    again = await stack.http.post("/v1/jobs", json=PRIVATE, headers=headers)
    assert (first.status_code, again.status_code, again.headers["idempotent-replayed"]) == (422, 422, "true")
    assert first.json() == again.json()
    retried = await stack.http.post(f"/v1/jobs/{first.json()['job_id']}/retry")
    assert retried.status_code == 200
    last = await stack.http.post("/v1/jobs", json=PRIVATE, headers=headers | WAIT)
    assert (last.status_code, last.json()["status"]) == (200, "completed")


async def test_p16_a_job_that_may_wait_starts_when_its_user_trusts_a_worker(stack: LiveStack) -> None:
    friend = Asked("friend")
    await stack.add_worker(friend, name="friend")
    job = (await stack.http.post("/v1/jobs", json=PRIVATE | {"on_no_trusted": "wait"})).json()
    assert (job["status"], friend.heard) == ("pending", [])
    assert "paired" in job["queue"]["reason"]
    await stack.trust("friend")
    ended = (await stack.http.get(f"/v1/jobs/{job['id']}?wait=60")).json()
    assert (ended["status"], friend.heard) == ("completed", ["my diary"])


async def test_p16_a_busy_trusted_worker_is_waited_for(stack: LiveStack) -> None:
    gate = asyncio.Event()
    await stack.add_worker(Asked("friend", gate=gate), name="friend", slots=1)
    await stack.trust("friend")
    first = (await stack.http.post("/v1/jobs", json=PRIVATE)).json()
    second = await stack.http.post("/v1/jobs", json=PRIVATE)
    assert second.status_code == 201
    gate.set()
    for job_id in (first["id"], second.json()["id"]):
        assert (await stack.http.get(f"/v1/jobs/{job_id}?wait=60")).json()["status"] == "completed"


async def test_p16_a_worker_trusted_by_one_user_is_a_stranger_to_another(stack: LiveStack) -> None:
    friend = Asked("friend")
    await stack.add_worker(friend, name="friend")
    await stack.trust("friend", "ann")
    body = {"role": "submit", "user": "owner", "act_for_users": True}
    key = (await stack.http.post("/v1/keys", json=body)).json()["key"]
    headers = {"Authorization": f"Bearer {key}"} | WAIT
    answers = [
        await stack.http.post("/v1/jobs", json=PRIVATE | {"user_id": user}, headers=headers)
        for user in ("ann", "Ann", "ann ", "bob")
    ]
    assert [one.status_code for one in answers] == [201, 422, 422, 422]
    assert len(friend.heard) == 1


async def test_p16_unpairing_takes_back_what_runs(stack: LiveStack) -> None:
    gate = asyncio.Event()
    provider = Asked("friend", gate=gate)
    await stack.add_worker(provider, name="friend")
    trust_id = await stack.trust("friend")
    job = (await stack.http.post("/v1/jobs", json=PRIVATE)).json()
    while (await stack.http.get(f"/v1/jobs/{job['id']}")).json()["status"] != "running":
        await asyncio.sleep(0)
    await stack.distrust(trust_id)
    back = (await stack.http.get(f"/v1/jobs/{job['id']}")).json()
    assert (back["status"], back["attempts"][0]["end"], back["tries"]) == ("pending", "revoked", 0)
    while not provider.stopped:
        await asyncio.sleep(0)


@pytest.fixture
def port() -> Iterator[int]:
    with held_port() as port:
        yield port


async def test_p16_trust_outlives_a_restart_and_a_trust_that_ended_does_not_come_back(
    tmp_path: Path, port: int
) -> None:
    key = public_key(load_or_create_seed(tmp_path / "coordinator.key"))
    settings = Settings(coordinator_key=key.hex(), restart_grace_s=0.1)
    async with live_stack(tmp_path, SqliteStore(tmp_path), settings=settings, port=port) as stack:
        await stack.add_worker(Asked("friend"), name="friend")
        await stack.add_worker(Asked("former"), name="former")
        await stack.trust("friend")
        await stack.distrust(await stack.trust("former"))
        admin = stack.key
    async with live_stack(tmp_path, SqliteStore(tmp_path), settings=settings, port=port, key=admin) as stack:
        former = Asked("former")
        await stack.add_worker(former, name="former")
        assert (await stack.http.post("/v1/jobs", json=PRIVATE)).status_code == 422
        await stack.add_worker(Asked("friend"), name="friend")
        assert (await submit(stack))["output"] == "friend"
        assert former.heard == []


@pytest.mark.parametrize("wrong", ["private", "Private", "", "SECRET", "PRIVATE ", None, 1, True, ["PRIVATE"]])
async def test_p16_a_privacy_class_that_is_not_exactly_known_is_refused(stack: LiveStack, wrong: object) -> None:
    """Dispatch takes `private` for PUBLIC, and hands the prompt to whoever is there."""
    answer = await stack.http.post("/v1/jobs", json={"prompt": "my diary", "privacy_class": wrong})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (
        422,
        "invalid_field",
        "privacy_class",
    )
    assert (await stack.http.get("/v1/jobs")).json()["jobs"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "my diary", "on_no_trusted": "wait"},
        PRIVATE | {"on_no_trusted": "Wait"},
        PRIVATE | {"on_no_trusted": ""},
        PRIVATE | {"on_no_trusted": "public"},
        PRIVATE | {"on_no_trusted": True},
    ],
)
async def test_p16_who_says_on_no_trusted_must_say_private_and_a_known_value(
    stack: LiveStack, body: dict[str, Any]
) -> None:
    answer = await stack.http.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "on_no_trusted")


async def test_p16_a_batch_refuses_only_its_private_jobs(stack: LiveStack) -> None:
    await stack.add_worker(Asked("stranger"))
    jobs = [{"prompt": "hi"}, PRIVATE, PRIVATE | {"on_no_trusted": "wait"}]
    headers = {"Idempotency-Key": "batch"}
    first = await stack.http.post("/v1/jobs/batch", json={"jobs": jobs}, headers=headers)
    again = await stack.http.post("/v1/jobs/batch", json={"jobs": jobs}, headers=headers)
    results, repeated = first.json()["results"], again.json()["results"]
    assert [one["status"] for one in results] == [201, 422, 201]
    assert [one["status"] for one in repeated] == [200, 422, 200]
    assert results[1]["problem"]["code"] == "no_trusted_worker"
    assert results[1]["problem"]["job_id"] == repeated[1]["problem"]["job_id"]
    failed = (await stack.http.get(f"/v1/jobs/{results[1]['problem']['job_id']}")).json()
    assert failed["failure"]["code"] == "no_trusted_worker"


async def test_p18_another_tenants_user_of_the_same_name_is_another_user(stack: LiveStack) -> None:
    friend = Asked("friend")
    await stack.add_worker(friend, name="friend")
    await stack.trust("friend")
    operator = {"Authorization": f"Bearer {stack.server.operator_key}"}
    made = (await stack.http.post("/v1/tenants", json={"id": "acme"}, headers=operator)).json()
    theirs = {"Authorization": f"Bearer {made['admin']['key']}"}
    refused = await stack.http.post("/v1/jobs", json=PRIVATE, headers=theirs)
    assert (refused.status_code, friend.heard) == (422, [])
    job_id = (await submit(stack))["id"]
    for route in ("", "/result", "/receipt", "/events"):
        assert (await stack.http.get(f"/v1/jobs/{job_id}{route}", headers=theirs)).status_code == 404


async def test_p15_the_receipt_on_the_job_is_what_was_signed_and_carries_the_payment(stack: LiveStack) -> None:
    await stack.add_worker(Asked("friend"), name="friend")
    await stack.trust("friend")
    job = await submit(stack, payment_ref="pay_1")
    envelope = (await stack.http.get(f"/v1/jobs/{job['id']}/receipt")).content
    opened, shown = open_envelope(envelope), dict(job["receipt"])
    assert list(shown)[:5] == ["job_id", "provider_pubkey", "output_hash", "completed_at", "payment_ref"]
    assert (shown.pop("verified"), base64.b64decode(shown.pop("signature"))) == (True, opened.signature)
    assert msgspec.convert(shown, ReceiptPayload) == opened.payload
    assert (job["payment_ref"], shown["payment_ref"], shown["privacy_class"]) == ("pay_1", "pay_1", "PRIVATE")
    listed = (await stack.http.get("/v1/jobs")).json()["jobs"]
    assert [(one["payment_ref"], one["receipt"]) for one in listed] == [("pay_1", None)]


async def test_a_payment_ref_that_is_no_name_is_refused(stack: LiveStack) -> None:
    for wrong in ("", "x" * 1000, 7):
        answer = await stack.http.post("/v1/jobs", json={"prompt": "hi", "payment_ref": wrong})
        assert (answer.status_code, answer.json()["field"]) == (422, "payment_ref")


async def test_p16_the_sdk_runs_what_is_private_and_verifies_its_receipt(stack: LiveStack) -> None:
    await stack.add_worker(Asked("friend"), name="friend")
    async with AsyncCavvy(stack.server.url, stack.key) as client:
        with pytest.raises(RequestRefused) as refused:
            await client.run("my diary", privacy_class="PRIVATE")
        assert (refused.value.status, refused.value.code) == (422, "no_trusted_worker")
        assert (await client.job(refused.value.problem["job_id"])).failure is not None
        await stack.trust("friend")
        job = await client.run("my diary", privacy_class="PRIVATE", payment_ref="pay_1")
        assert job.receipt is not None
        payload = job.receipt.verify()
        assert (payload.privacy_class, payload.payment_ref, job.payment_ref) == ("PRIVATE", "pay_1", "pay_1")
        assert job.receipt.envelope == (await client.receipt(job.id)).envelope
