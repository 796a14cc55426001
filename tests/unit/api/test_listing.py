"""`GET /v1/jobs` with filters."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from cavvy import defaults
from cavvy.testing import LiveStack, ScriptedProvider


async def submitted(stack: LiveStack, **fields: object) -> str:
    return str((await stack.http.post("/v1/jobs", json={"prompt": "hi", **fields})).json()["id"])


async def listed(stack: LiveStack, **query: str | int) -> list[str]:
    answer = await stack.http.get("/v1/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["jobs"]]


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.json()["code"], answer.json()["field"]


async def test_jobs_are_found_by_their_status(stack: LiveStack) -> None:
    gate = asyncio.Event()
    provider = ScriptedProvider(gate=gate)
    await stack.add_worker(provider, slots=1)
    running = await submitted(stack)
    await provider.begun.wait()
    waiting = await submitted(stack)
    cancelled = await submitted(stack, model="huge")
    await stack.http.post(f"/v1/jobs/{cancelled}/cancel")
    while (await stack.http.get(f"/v1/jobs/{running}")).json()["status"] != "running":
        await asyncio.sleep(0)
    found = {status: await listed(stack, status=status) for status in ("pending", "assigned", "running", "failed")}
    assert found == {"pending": [waiting], "assigned": [], "running": [running], "failed": [cancelled]}
    gate.set()


async def test_jobs_are_found_by_their_worker(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider(models=("one",)), name="first")
    await stack.add_worker(ScriptedProvider(models=("two",)), name="second")
    one, two = await submitted(stack, model="one"), await submitted(stack, model="two")
    workers = {each["name"]: each for each in (await stack.http.get("/v1/workers")).json()["workers"]}
    assert await listed(stack, worker=workers["first"]["id"]) == [one]
    assert await listed(stack, worker=workers["second"]["key"]) == [two]


async def test_jobs_are_found_by_a_text(stack: LiveStack) -> None:
    by_prompt = await submitted(stack, prompt="Name three RIVERS")
    by_metadata = await submitted(stack, metadata={"topic": "rivers"})
    await submitted(stack)
    assert await listed(stack, q="rivers") == [by_metadata, by_prompt]
    assert await listed(stack, q=by_prompt[-12:]) == [by_prompt]
    assert await listed(stack, q="rivers", status="completed") == []


async def test_a_page_of_what_is_found_says_exactly_whether_there_is_more(stack: LiveStack) -> None:
    ids = [await submitted(stack, prompt=f"needle {n}") for n in range(4)]
    await submitted(stack)
    first = (await stack.http.get("/v1/jobs", params={"q": "needle", "limit": 2})).json()
    rest = (await stack.http.get("/v1/jobs", params={"q": "needle", "limit": 2, "cursor": first["cursor"]})).json()
    assert [one["id"] for one in first["jobs"] + rest["jobs"]] == ids[::-1]
    assert rest["cursor"] is None


async def test_a_long_search_stops_and_says_where_to_go_on(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "FIND_JOBS", 2)
    monkeypatch.setattr(defaults, "FIND_READS", 3)
    wanted = await submitted(stack, prompt="needle")
    for _ in range(7):
        await submitted(stack)
    first = (await stack.http.get("/v1/jobs", params={"q": "needle"})).json()
    assert first["jobs"] == []
    assert first["cursor"] is not None
    assert await listed(stack, q="needle", cursor=first["cursor"]) == [wanted]


async def test_a_thread_and_an_effort_find_their_jobs(stack: LiveStack) -> None:
    """From the newest to the oldest."""
    for fields in ({}, {"thread_id": "t"}, {"thread_id": "t", "effort": "deep"}, {"thread_id": "u", "effort": "deep"}):
        await stack.http.post("/v1/jobs", json={"prompt": "hi", **fields})
    found = [(job["thread_id"], job["effort"]) for job in (await stack.http.get("/v1/jobs?thread=t")).json()["jobs"]]
    assert found == [("t", "deep"), ("t", "standard")]
    found = [job["thread_id"] for job in (await stack.http.get("/v1/jobs?effort=deep")).json()["jobs"]]
    assert found == ["u", "t"]
    assert len((await stack.http.get("/v1/jobs?effort=standard")).json()["jobs"]) == 2


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "status=",
        "worker=wrk_none",
        "worker=",
        "q=",
        f"q={'x' * 257}",
        "limit=0",
        "cursor=x",
        "thread=",
        "effort=",
        "effort=Deep",
    ],
)
async def test_a_filter_that_means_nothing_is_refused(stack: LiveStack, query: str) -> None:
    assert refusal(await stack.http.get(f"/v1/jobs?{query}")) == (422, "invalid_field", query.partition("=")[0])


async def test_a_wrong_status_is_told_the_right_ones(stack: LiveStack) -> None:
    allowed = (await stack.http.get("/v1/jobs?status=done")).json()["allowed"]
    assert allowed == ["pending", "assigned", "running", "completed", "failed"]
