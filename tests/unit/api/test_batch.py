"""`POST /v1/jobs/batch`: one commit, each job with a result of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cavvy import defaults
from cavvy.core.ed25519 import public_key
from cavvy.core.settings import Settings
from cavvy.core.writes import InsertJob
from cavvy.errors import Refused
from cavvy.protocol.keyfile import load_or_create_seed
from cavvy.store.memory import MemoryStore
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import FailingStore, LiveStack, ScriptedProvider, live_stack

ROUTE = "/v1/jobs/batch"


def prompts(*texts: str) -> dict[str, list[dict[str, str]]]:
    return {"jobs": [{"prompt": text} for text in texts]}


def ids(answer: object) -> list[str]:
    return [one["job"]["id"] for one in answer.json()["results"]]  # type: ignore[attr-defined]


@pytest.fixture
async def counted(tmp_path: Path) -> AsyncIterator[tuple[LiveStack, FailingStore]]:
    """A coordinator and its store, which counts commits."""
    store = FailingStore(SqliteStore(tmp_path / "data"))
    async with live_stack(tmp_path / "data", store) as stack:
        yield stack, store


async def test_the_results_are_in_the_order_of_the_jobs(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider(answer=lambda request: [request.messages[-1].content]), slots=4)
    answer = await stack.http.post(ROUTE, json=prompts("a", "b", "c"))
    assert answer.status_code == 201
    assert [one["status"] for one in answer.json()["results"]] == [201, 201, 201]
    assert [one["job"]["number"] for one in answer.json()["results"]] == [1, 2, 3]
    ended = [(await stack.http.get(f"/v1/jobs/{each}?wait=60")).json() for each in ids(answer)]
    assert [one["output"] for one in ended] == ["a", "b", "c"]


async def test_p01_a_thousand_jobs_are_one_commit(counted: tuple[LiveStack, FailingStore]) -> None:
    stack, store = counted
    before = store.commits
    answer = await stack.http.post(ROUTE, json=prompts(*(str(n) for n in range(defaults.MAX_BATCH_JOBS))))
    assert [one["status"] for one in answer.json()["results"]] == [201] * defaults.MAX_BATCH_JOBS
    assert store.commits == before + 1


async def test_a_bad_job_spoils_no_other(stack: LiveStack) -> None:
    jobs = [{"prompt": "good"}, {"prompt": ""}, {"prompt": "x", "mode": "cloud"}, 7, {"prompt": "fine"}]
    answer = await stack.http.post(ROUTE, json={"jobs": jobs})
    results = answer.json()["results"]
    assert answer.status_code == 201
    assert [one["status"] for one in results] == [201, 422, 422, 422, 201]
    assert [one.get("problem", {}).get("code") for one in results] == [
        None, "invalid_field", "not_supported", "invalid_field", None,
    ]  # fmt: skip
    assert results[2]["problem"]["field"] == "mode"
    assert len((await stack.http.get("/v1/jobs")).json()["jobs"]) == 2


async def test_a_batch_of_nothing_but_bad_jobs_is_answered_200_and_makes_nothing(stack: LiveStack) -> None:
    answer = await stack.http.post(ROUTE, json=prompts("", ""))
    assert (answer.status_code, [one["status"] for one in answer.json()["results"]]) == (200, [422, 422])
    assert (await stack.http.get("/v1/jobs")).json()["jobs"] == []


async def test_a_full_queue_refuses_only_what_does_not_fit(tmp_path: Path) -> None:
    key = public_key(load_or_create_seed(tmp_path / "coordinator.key"))
    settings = Settings(coordinator_key=key.hex(), max_pending_per_tenant=2)
    async with live_stack(tmp_path, MemoryStore(), settings=settings) as stack:
        answer = await stack.http.post(ROUTE, json=prompts("a", "b", "c"), headers={"Idempotency-Key": "k"})
        results = answer.json()["results"]
        assert [one["status"] for one in results] == [201, 201, 429]
        assert results[2]["problem"]["code"] == "queue_full"
        assert str(defaults.MAX_PENDING_PER_TENANT) not in results[2]["problem"]["detail"], "another limit was chosen"
        await stack.http.post(f"/v1/jobs/{results[0]['job']['id']}/cancel")
        again = await stack.http.post(ROUTE, json=prompts("a", "b", "c"), headers={"Idempotency-Key": "k"})
        assert [one["status"] for one in again.json()["results"]] == [200, 200, 201]
        assert ids(again)[:2] == [one["job"]["id"] for one in results[:2]]


async def test_p11_the_same_key_and_body_are_the_same_jobs(stack: LiveStack) -> None:
    headers = {"Idempotency-Key": "import-7"}
    first = await stack.http.post(ROUTE, json=prompts("a", "b"), headers=headers)
    again = await stack.http.post(ROUTE, json=prompts("a", "b"), headers=headers)
    assert (first.status_code, again.status_code, again.headers["idempotent-replayed"]) == (201, 200, "true")
    assert ids(again) == ids(first)
    assert [one["status"] for one in again.json()["results"]] == [200, 200]


async def test_p11_the_same_batch_twice_at_once_is_one_batch(stack: LiveStack) -> None:
    headers = {"Idempotency-Key": "import-7"}
    answers = await asyncio.gather(*(stack.http.post(ROUTE, json=prompts("a", "b"), headers=headers) for _ in range(5)))
    assert len({tuple(ids(answer)) for answer in answers}) == 1
    assert len((await stack.http.get("/v1/jobs")).json()["jobs"]) == 2


async def test_p11_a_key_survives_a_restart(tmp_path: Path) -> None:
    headers = {"Idempotency-Key": "import-7"}
    store = SqliteStore(tmp_path)
    async with live_stack(tmp_path, store) as stack:
        key = stack.key
        first = await stack.http.post(ROUTE, json=prompts("a", "b"), headers=headers)
    async with live_stack(tmp_path, store, key=key) as stack:
        again = await stack.http.post(ROUTE, json=prompts("a", "b"), headers=headers)
    assert ids(again) == ids(first)


async def test_the_same_key_with_another_batch_is_refused_whole(stack: LiveStack) -> None:
    headers = {"Idempotency-Key": "import-7"}
    await stack.http.post(ROUTE, json=prompts("a", ""), headers=headers)
    answer = await stack.http.post(ROUTE, json=prompts("a", "b"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len((await stack.http.get("/v1/jobs")).json()["jobs"]) == 1


async def test_a_batch_and_a_job_may_use_the_same_key(stack: LiveStack) -> None:
    headers = {"Idempotency-Key": "k"}
    batch = await stack.http.post(ROUTE, json=prompts("a"), headers=headers)
    single = await stack.http.post("/v1/jobs", json={"prompt": "a"}, headers=headers)
    assert (batch.status_code, single.status_code) == (201, 201)


async def test_a_job_the_store_refuses_fails_alone(counted: tuple[LiveStack, FailingStore]) -> None:
    stack, store = counted

    def refuse(write: object) -> Exception | None:
        guilty = isinstance(write, InsertJob) and b"guilty" in write.input
        return Refused("no such data") if guilty else None

    store.refuse = refuse
    answer = await stack.http.post(ROUTE, json=prompts("a", "guilty", "b"))
    assert [one["status"] for one in answer.json()["results"]] == [201, 500, 201]
    assert answer.json()["results"][1]["problem"]["request_id"]


@pytest.mark.parametrize("body", [{}, {"jobs": []}, {"jobs": {}}, {"jobs": [{"prompt": "a"}] * 1001}, {"job": [1]}])
async def test_what_is_no_batch_is_refused_whole(stack: LiveStack, body: dict[str, object]) -> None:
    answer = await stack.http.post(ROUTE, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_a_batch_may_be_larger_than_a_job_and_a_job_in_it_may_not(stack: LiveStack) -> None:
    half = "x" * (defaults.MAX_BODY_BYTES // 2)
    answer = await stack.http.post(ROUTE, json=prompts(half, half, half, half * 2))
    assert [one["status"] for one in answer.json()["results"]] == [201, 201, 201, 413]


async def test_the_limit_on_a_body_is_the_routes_own(stack: LiveStack) -> None:
    large = b" " * (defaults.MAX_BATCH_BODY_BYTES + 1)
    headers = {"Content-Type": "application/json"}
    batch = await stack.http.post(ROUTE, content=large, headers=headers)
    single = await stack.http.post("/v1/jobs", content=large[: defaults.MAX_BODY_BYTES + 1], headers=headers)
    told = [(one.status_code, one.json()["code"], one.json()["detail"].split(" bytes")[0]) for one in (batch, single)]
    assert told == [
        (413, "body_too_large", f"A body may have {defaults.MAX_BATCH_BODY_BYTES}"),
        (413, "body_too_large", f"A body may have {defaults.MAX_BODY_BYTES}"),
    ]
