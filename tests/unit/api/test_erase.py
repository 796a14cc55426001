"""Erasing over HTTP: what goes, what stays, who may."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from cavvy import defaults
from cavvy.client import AsyncCavvy
from cavvy.testing import LiveStack, ScriptedProvider

CANARY = "canary-zebra"


async def completed(stack: LiveStack, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    body = {"prompt": f"{CANARY} prompt", "metadata": {"a": CANARY}, "stop": [CANARY], "max_tokens": 9, **fields}
    answer = await stack.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60", **(headers or {})})
    assert answer.json()["status"] == "completed", answer.text
    job: dict[str, Any] = answer.json()
    return job


@pytest.fixture
async def busy(stack: LiveStack) -> LiveStack:
    await stack.add_worker(ScriptedProvider([CANARY, " output"]))
    return stack


async def test_erasing_takes_the_texts_and_leaves_hashes_receipt_and_usage(busy: LiveStack) -> None:
    before = await completed(busy)
    answer = await busy.http.delete(f"/v1/jobs/{before['id']}")
    after = answer.json()
    assert (answer.status_code, CANARY in answer.text) == (200, False)
    kept = ("status", "usage", "output_hash", "receipt", "attempts", "input_salt", "served_model", "created_at")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    gone = ("prompt", "messages", "metadata", "stop", "result", "output")
    assert {name: after[name] for name in gone} == dict.fromkeys(gone)
    assert after["timeline"][-1] == {"at": after["erased_at"], "event": "erased"}


async def test_erasing_twice_is_erasing_once(busy: LiveStack) -> None:
    job = await completed(busy)
    first, second = [(await busy.http.delete(f"/v1/jobs/{job['id']}")).json() for _ in range(2)]
    assert first == second


async def test_a_job_that_has_not_ended_is_not_erased(stack: LiveStack) -> None:
    job = (await stack.http.post("/v1/jobs", json={"prompt": CANARY})).json()
    answer = await stack.http.delete(f"/v1/jobs/{job['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ended")
    assert (await stack.http.get(f"/v1/jobs/{job['id']}")).json()["prompt"] == CANARY


async def test_an_erased_jobs_result_is_410_and_its_receipt_still_there(busy: LiveStack) -> None:
    job = await completed(busy)
    receipt = await busy.http.get(f"/v1/jobs/{job['id']}/receipt")
    await busy.http.delete(f"/v1/jobs/{job['id']}")
    result = await busy.http.get(f"/v1/jobs/{job['id']}/result")
    assert (result.status_code, result.json()["code"]) == (410, "erased")
    assert (await busy.http.get(f"/v1/jobs/{job['id']}/receipt")).content == receipt.content


async def test_the_stream_of_an_erased_job_has_its_end_and_no_text(busy: LiveStack) -> None:
    job = await completed(busy)
    await busy.http.delete(f"/v1/jobs/{job['id']}")
    stream = (await busy.http.get(f"/v1/jobs/{job['id']}/events")).text
    assert re.findall("event: (.*)", stream) == ["job", "end"]
    assert '"length":0,"output_hash":null' in stream
    assert CANARY not in stream


async def test_a_reader_that_comes_back_to_an_erased_job_is_told_that_it_is_over(busy: LiveStack) -> None:
    job = await completed(busy)
    await busy.http.delete(f"/v1/jobs/{job['id']}")
    stream = (await busy.http.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": "1.3"})).text
    assert re.findall("event: (.*)", stream) == ["job", "end"]


async def test_an_erased_job_is_not_found_by_its_texts(busy: LiveStack) -> None:
    job = await completed(busy)
    await busy.http.delete(f"/v1/jobs/{job['id']}")
    assert (await busy.http.get("/v1/jobs", params={"q": CANARY})).json()["jobs"] == []
    (listed,) = (await busy.http.get("/v1/jobs")).json()["jobs"]
    assert listed["erased_at"] is not None


async def test_a_failed_jobs_words_are_erased_and_its_code_stays(stack: LiveStack) -> None:
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    await stack.http.post(f"/v1/jobs/{job['id']}/cancel", json={"reason": CANARY})
    after = await stack.http.delete(f"/v1/jobs/{job['id']}")
    assert (after.json()["failure"]["code"], CANARY in after.text) == ("aborted", False)
    result = await stack.http.get(f"/v1/jobs/{job['id']}/result")
    assert (result.status_code, result.json()["code"]) == (404, "no_result")


async def test_the_same_idempotency_key_finds_the_erased_job(busy: LiveStack) -> None:
    headers = {"Idempotency-Key": "once", "Prefer": "wait=60"}
    job = (await busy.http.post("/v1/jobs", json={"prompt": "hi"}, headers=headers)).json()
    await busy.http.delete(f"/v1/jobs/{job['id']}")
    again = await busy.http.post("/v1/jobs", json={"prompt": "hi"}, headers=headers)
    assert (again.status_code, again.json()["id"], again.json()["prompt"]) == (200, job["id"], None)


async def key(stack: LiveStack, **fields: Any) -> dict[str, str]:
    made = (await stack.http.post("/v1/keys", json=fields)).json()
    return {"Authorization": f"Bearer {made['key']}"}


async def test_a_submit_key_erases_jobs_of_its_own_user_only(busy: LiveStack) -> None:
    site = await key(busy, role="submit", act_for_users=True)
    own, others = [await completed(busy, headers=site, user_id=user) for user in ("ana", "bob")]
    anas = await key(busy, role="submit", user="ana")
    assert (await busy.http.delete(f"/v1/jobs/{own['id']}", headers=anas)).status_code == 200
    refused = await busy.http.delete(f"/v1/jobs/{others['id']}", headers=anas)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await busy.http.get(f"/v1/jobs/{others['id']}")).json()["erased_at"] is None


async def test_a_key_that_acts_for_users_erases_their_jobs(busy: LiveStack) -> None:
    site = await key(busy, role="submit", user="site", act_for_users=True)
    job = await completed(busy, headers=site, user_id="bob")
    assert (await busy.http.delete(f"/v1/jobs/{job['id']}", headers=site)).status_code == 200


async def test_the_sdk_erases_and_the_receipt_still_verifies(busy: LiveStack) -> None:
    async with AsyncCavvy(busy.server.url, busy.key) as client:
        job = await client.job((await completed(busy))["id"])
        after = await client.erase(job.id)
        assert (after.erased_at is not None, after.output, after.output_hash) == (True, None, job.output_hash)
        assert after.receipt is not None
        assert after.receipt.verify().output_hash == job.output_hash
        followed = await client.follow(job.id).result()
        assert (followed.status, followed.output) == ("completed", None)


async def test_within_seconds_no_file_of_the_coordinator_holds_what_was_erased(
    busy: LiveStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "SCRUB_AFTER_S", 0.01)

    def held() -> bool:
        return any(CANARY.encode() in path.read_bytes() for path in busy.directory.glob("cavvy.db*"))

    job = await completed(busy)
    assert held()
    await busy.http.delete(f"/v1/jobs/{job['id']}")
    async with asyncio.timeout(60):
        while held():
            await asyncio.sleep(0.01)
