"""`GET /v1/events`: what changes for a tenant, from now on, and nothing of anybody else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cavvy import defaults
from cavvy.api.feed import Feed
from cavvy.core.effects import JobChanged
from cavvy.core.job import JobHeader, JobStatus, Needs, Now
from cavvy.protocol.rest_workers import WorkerView
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack
from tests.unit.api.event_stream import Event, Stream


@contextlib.asynccontextmanager
async def listening(stack: LiveStack, key: str | None = None, **headers: str) -> AsyncIterator[Stream]:
    """An open stream of the key's tenant that has told its cursor: what happens from here on is in it."""
    async with opened(stack, key, **headers) as stream:
        assert (await stream.next()).name == "cursor"
        yield stream


@contextlib.asynccontextmanager
async def opened(stack: LiveStack, key: str | None = None, **headers: str) -> AsyncIterator[Stream]:
    """The same with its cursor still to be read."""
    headers["Authorization"] = f"Bearer {key or stack.key}"
    async with stack.http.stream("GET", "/v1/events", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Stream(response)


async def until(stream: Stream, name: str, **wanted: Any) -> Event:
    """The next event of this name whose fields are like this."""
    while True:
        event = await stream.next()
        if event.name == name and wanted.items() <= event.data.items():
            return event


async def submit(stack: LiveStack, key: str | None = None, **fields: Any) -> Any:
    headers = {"Authorization": f"Bearer {key or stack.key}"}
    answer = await stack.http.post("/v1/jobs", json={"prompt": "a secret", **fields}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def other_tenant(stack: LiveStack) -> str:
    """The admin key of another tenant."""
    headers = {"Authorization": f"Bearer {stack.server.operator_key}"}
    made = await stack.http.post("/v1/tenants", json={"id": "other"}, headers=headers)
    return str(made.json()["admin"]["key"])


# -- the cursor


async def test_it_begins_with_a_cursor_from_which_to_list_what_was_before(stack: LiveStack) -> None:
    async with opened(stack) as stream:
        assert await stream.next() == Event("cursor", {"cursor": None})
    before = await submit(stack)
    async with opened(stack) as stream:
        cursor = (await stream.next()).data["cursor"]
        after = await submit(stack)
        listed = (await stack.http.get("/v1/jobs", params={"cursor": cursor})).json()["jobs"]
        assert [one["id"] for one in listed] == [before["id"]]
        assert (await until(stream, "job")).data["id"] == after["id"]


async def test_there_is_no_replay(stack: LiveStack) -> None:
    async with listening(stack) as stream:
        await submit(stack)
        await until(stream, "job")
    async with listening(stack, **{"Last-Event-ID": "1.1"}) as stream:
        later = await submit(stack)
        assert (await stream.next()).data["id"] == later["id"]


# -- jobs


async def test_each_change_of_a_job_is_told_without_its_texts(stack: LiveStack) -> None:
    gate = asyncio.Event()
    await stack.add_worker(ScriptedProvider(["an ", "answer"], gate=gate))
    (worker,) = (await stack.http.get("/v1/workers")).json()["workers"]
    async with listening(stack) as stream:
        job = await submit(stack)
        running = (await until(stream, "job", status="running")).data
        gate.set()
        ended = (await until(stream, "job", status="completed")).data
    assert (running["id"], running["attempt"], running["worker_id"]) == (job["id"], 1, worker["id"])
    shown = (await stack.http.get(f"/v1/jobs/{job['id']}")).json()
    same = (
        "id",
        "number",
        "status",
        "attempt",
        "usage",
        "job_type",
        "privacy_class",
        "user_id",
        "created_at",
        "effort",
        "thread_id",
    )
    assert {name: ended[name] for name in same} == {name: shown[name] for name in same}
    assert "secret" not in str([running, ended])
    assert "answer" not in str([running, ended])


async def test_a_job_that_waits_and_one_that_is_stopped_are_told(stack: LiveStack) -> None:
    async with listening(stack) as stream:
        job = await submit(stack, model="nobody's")
        waits = (await until(stream, "job")).data
        await stack.http.post(f"/v1/jobs/{job['id']}/cancel", json={"reason": "no longer needed"})
        ended = (await until(stream, "job", status="failed")).data
    assert (waits["status"], waits["attempt"], waits["worker_id"], waits["model"]) == ("pending", 0, None, "nobody's")
    assert (ended["failure_code"], ended["stopped_by"], ended["stopping"]) == ("aborted", "owner", False)
    assert "no longer needed" not in str(ended)


# -- workers


@pytest.fixture
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are looked at as often as they change."""
    monkeypatch.setattr(defaults, "FEED_WORKERS_S", 0.0)


@pytest.mark.usefixtures("looks_at_once")
async def test_workers_are_told_as_the_list_shows_them(stack: LiveStack) -> None:
    async with listening(stack) as stream:
        worker = await stack.add_worker(ScriptedProvider(), name="w")
        online = (await until(stream, "worker", online=True)).data
        assert (await stack.http.get("/v1/workers")).json()["workers"] == [online]
        await stack.http.post(f"/v1/workers/{online['id']}/pause")
        await until(stream, "worker", status="paused")
        await worker.stop()
        offline = (await until(stream, "worker", online=False)).data
        await stack.http.post(f"/v1/workers/{online['id']}/revoke")
        await until(stream, "worker", status="revoked")
    assert (offline["status"], offline["slots"]) == ("paused", None)


@pytest.mark.usefixtures("looks_at_once", "beating_fast")
async def test_a_workers_slots_are_told(stack: LiveStack) -> None:
    gate = asyncio.Event()
    async with listening(stack) as stream:
        await stack.add_worker(ScriptedProvider(gate=gate), slots=2)
        await until(stream, "worker", online=True, free=2)
        await submit(stack)
        await until(stream, "worker", free=1)
        gate.set()
        await until(stream, "worker", free=2)


async def test_a_stop_of_everything_and_its_release_are_told(stack: LiveStack) -> None:
    async with listening(stack) as stream:
        await stack.http.post("/v1/stop", json={"reason": "it went wild"})
        held = (await until(stream, "stop")).data
        await stack.http.post("/v1/stop/release")
        assert (await until(stream, "stop")).data["stopped"] is False
    assert (held["stopped"], held["by"], held["reason"]) == (True, "owner", "it went wild")


# -- P18


async def test_p18_nothing_of_another_tenant_is_told(stack: LiveStack) -> None:
    key = await other_tenant(stack)
    async with listening(stack, key) as stream:
        await stack.add_worker(ScriptedProvider(["hi"]))
        mine = await submit(stack)
        await stack.http.get(f"/v1/jobs/{mine['id']}", params={"wait": 60})
        theirs = await submit(stack, key)
        assert (await stream.next()).data["id"] == theirs["id"]


async def test_p18_of_a_shared_worker_only_its_view_is_told(tmp_path: Path) -> None:
    feed_of: dict[str, dict[str, WorkerView]] = {}

    async def workers_of(tenant: str) -> dict[str, WorkerView]:
        return feed_of.get(tenant, {})

    feed = Feed(workers_of, lambda: Now(0.0, 0))
    shared = WorkerView(
        id="wrk_1", key="aa", name="s", status="approved", shared=True, enrolled_at="", online=True, models=["m"]
    )
    async with feed.listen("a") as listener:
        feed_of["a"] = {"wrk_1": shared}
        feed.workers(defaults.SHARED)
        assert await listener.news(10)
        block = listener.take()
        assert block is not None
        assert b'"slots":null,"free":null' in block
        feed.workers(defaults.SHARED)  # a slot of it became busy, which its view does not show
        assert not await listener.news(0.05)


# -- slow readers, many readers, no readers


def changed(job_id: str, status: JobStatus = JobStatus.PENDING, tenant: str = "a") -> JobChanged:
    needs = Needs(tenant=tenant)
    job = JobHeader(id=job_id, seq=1, number=1, user_id="u", needs=needs, status=status, created_at_ms=0)
    return JobChanged(job=job)


@pytest.fixture
def feed() -> Feed:
    async def nobody(tenant: str) -> dict[str, WorkerView]:
        return {}

    return Feed(nobody, lambda: Now(0.0, 0))


async def test_of_what_happens_to_a_job_at_once_only_the_newest_is_told(feed: Feed) -> None:
    async with feed.listen("a") as listener:
        feed.job(changed("1"))
        feed.job(changed("2"))
        feed.job(changed("1", JobStatus.RUNNING))
        await listener.news(10)
        block = listener.take()
        assert block is not None
        assert block.count(b"event: job") == 2
        assert b'"status":"running"' in block
        assert listener.take() is None


async def test_all_listeners_of_a_tenant_get_the_same_bytes(feed: Feed) -> None:
    async with feed.listen("a") as one, feed.listen("a") as other:
        feed.job(changed("1"))
        await one.news(10)
        assert one.take() is other.take()


async def test_a_reader_that_is_too_slow_falls_behind_and_the_memory_stays_bounded(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "FEED_WINDOW_S", 0.0)
    monkeypatch.setattr(defaults, "FEED_BYTES", 2_000)
    async with feed.listen("a") as slow, feed.listen("a") as quick:
        for number in range(100):
            feed.job(changed(str(number)))
            await quick.news(10)
            assert quick.take() is not None
        assert slow.behind
        assert not quick.behind
        assert sum(len(block) for channel in feed._channels.values() for block in channel.blocks) <= 2_000


async def test_who_fell_behind_is_told_to_come_back(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(stack) as stream:
        monkeypatch.setattr("cavvy.api.feed.Listener.behind", True)
        await submit(stack)
        bye = (await stream.rest())[-1]
    assert bye == Event("bye", {"retry_ms": defaults.SSE_RETRY_MS, "reason": "too_slow"})


async def test_while_nobody_listens_nothing_is_kept(feed: Feed) -> None:
    feed.job(changed("1"))
    async with feed.listen("a"):
        feed.job(changed("1", tenant="b"))
        assert list(feed._channels) == ["a"]
    assert not feed._channels
    assert feed.listeners == 0


# -- ends


async def test_revoking_the_key_closes_the_stream_and_no_other(stack: LiveStack) -> None:
    made = (await stack.http.post("/v1/keys", json={"role": "read"})).json()
    async with listening(stack, made["key"]) as ended, listening(stack) as going_on:
        await stack.http.delete(f"/v1/keys/{made['id']}")
        assert [one.name for one in await ended.rest()] == ["bye"]
        await submit(stack)
        await until(going_on, "job")


async def test_a_coordinator_that_stops_says_bye(tmp_path: Path) -> None:
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data")) as stack, listening(stack) as stream:
        stopping = asyncio.create_task(stack.server.stop())
        assert await stream.rest() == [Event("bye", {"retry_ms": defaults.SSE_RETRY_MS})]
        await stopping


async def test_a_silent_stream_is_kept_open_by_comments(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "SSE_HEARTBEAT_S", 0.01)
    async with listening(stack) as stream:
        assert await stream.next_or_comment() == Event(":", "still here")
    assert defaults.SSE_HEARTBEAT_S <= 15


async def test_proxies_are_told_not_to_hold_it_back(stack: LiveStack) -> None:
    async with listening(stack) as stream:
        headers = stream.response.headers
    assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-store")
    assert headers["content-type"].startswith("text/event-stream")
