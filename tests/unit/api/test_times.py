"""The times of a job over HTTP, real sockets and a real store: what the caller sees of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cavvy import defaults
from cavvy.core.commands import Command, Progress
from cavvy.core.job import AttemptRef
from cavvy.protocol.messages import JobAssign, JobCancel, JobDelta
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack
from tests.unit.api.raw_worker import RawWorker

_names = (f"slow-{number}" for number in count(1))


@pytest.fixture
async def raw(shared_stack: LiveStack) -> AsyncIterator[RawWorker]:
    """A worker that does nothing by itself; nobody else serves its model."""
    raw = RawWorker(shared_stack, next(_names))
    await raw.join()
    yield raw
    await raw.close()


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def submitted(stack: LiveStack, **fields: Any) -> dict[str, Any]:
    answer = await stack.http.post("/v1/jobs", json={"prompt": "hi", **fields})
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def ended(stack: LiveStack, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await stack.http.get(f"/v1/jobs/{job['id']}?wait=60")).json()
    assert found["status"] in ("completed", "failed"), found
    return found


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"timeout_s": 0.1}, "timeout"),
        ({"first_token_timeout_s": 0.1}, "stalled"),
        ({"deadline": 0.4}, "deadline"),
    ],
)
async def test_p07_a_hung_attempt_ends_and_its_worker_is_told(
    shared_stack: LiveStack, raw: RawWorker, fields: dict[str, Any], code: str
) -> None:
    given = {name: soon(value) if name == "deadline" else value for name, value in fields.items()}
    job = await submitted(shared_stack, model=raw.model, **given)
    await raw.start(await raw.receive(JobAssign))
    stop = await raw.receive(JobCancel)
    assert (stop.job_id, stop.epoch) == (job["id"], 1)
    found = await ended(shared_stack, job)
    assert (found["failure"]["code"], found["attempts"][0]["end"], found["result"]) == (code, code, {"error": code})
    assert found["failure"]["message"] == stop.reason


async def test_p02_a_job_nobody_can_run_ends_after_its_match_window_and_said_so(
    shared_stack: LiveStack, raw: RawWorker
) -> None:
    """A worker is online, with another model."""
    job = await submitted(shared_stack, model="absent", match_window_s=0.2)
    assert "online for 0.2 s (match_window_s)" in job["queue"]["reason"]
    found = await ended(shared_stack, job)
    assert found["failure"]["code"] == "no_eligible_worker"
    assert "No worker online serves model 'absent'" in found["failure"]["message"]


async def test_p02_a_pending_job_ends_at_its_deadline_and_said_so(shared_stack: LiveStack) -> None:
    job = await submitted(shared_stack, model="absent", deadline=soon(0.5))
    assert "(deadline)" in job["queue"]["reason"]
    found = await ended(shared_stack, job)
    assert (found["failure"]["code"], found["attempts"]) == ("deadline", [])
    assert found["completed_at"] >= found["deadline"]


async def test_p02_a_job_with_not_before_says_until_when_it_rests_then_runs(shared_stack: LiveStack) -> None:
    model = next(_names)
    await shared_stack.add_worker(ScriptedProvider(["fine"], models=(model,)), name=model)
    job = await submitted(shared_stack, model=model, not_before=soon(0.5))
    assert job["queue"]["reason"].startswith("It is not started before ")
    found = await ended(shared_stack, job)
    assert (found["output"], found["attempts"][0]["granted_at"] >= found["not_before"]) == ("fine", True)


async def test_a_deadline_in_the_past_is_refused_alone_in_a_batch(shared_stack: LiveStack) -> None:
    jobs = [{"prompt": "hi", "model": "absent"}, {"prompt": "hi", "deadline": soon(-1)}]
    results = (await shared_stack.http.post("/v1/jobs/batch", json={"jobs": jobs})).json()["results"]
    assert [one["status"] for one in results] == [201, 422]
    assert (results[1]["problem"]["field"], results[1]["problem"]["code"]) == ("deadline", "invalid_field")


async def test_p11_a_submit_repeated_after_its_deadline_is_the_same_job(shared_stack: LiveStack) -> None:
    body = {"prompt": "hi", "model": "absent", "deadline": soon(0.3)}
    headers = {"Idempotency-Key": next(_names)}
    first = (await shared_stack.http.post("/v1/jobs", json=body, headers=headers)).json()
    await ended(shared_stack, first)
    again = await shared_stack.http.post("/v1/jobs", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])


async def test_every_kind_of_delta_is_a_sign_of_life_and_they_are_reported_together(
    shared_stack: LiveStack, raw: RawWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, reasoning, and a delta of nothing, which is a keep-alive."""
    monkeypatch.setattr(defaults, "PROGRESS_S", 0.0)
    reports: asyncio.Queue[tuple[AttemptRef, ...]] = asyncio.Queue()
    services = shared_stack.server._services
    assert services is not None
    engine = services.engine
    post = engine.post

    def watched(command: Command) -> None:
        if isinstance(command, Progress):
            reports.put_nowait(command.refs)
        post(command)

    monkeypatch.setattr(engine, "post", watched)
    grant = await raw.granted()
    await raw.start(grant)
    for kind, text in (("text", ""), ("reasoning", ""), ("text", "word"), ("reasoning", "thought")):
        delta = JobDelta(job_id=grant.job_id, epoch=grant.epoch, offset=0, text=text, kind=kind)  # type: ignore[arg-type]
        await raw.send(delta)
        async with asyncio.timeout(60):
            assert await reports.get() == (raw.ref(grant),)
    assert await raw.complete(grant) == "accepted"


async def test_a_jobs_times_survive_a_restart(tmp_path: Path) -> None:
    """The whole way: HTTP, SQLite, a second process' worth of coordinator."""
    data = tmp_path / "data"
    fields = {"deadline": soon(3600), "not_before": soon(1800), "timeout_s": 7.5, "effort": "deep", "thread_id": "t"}
    async with live_stack(data, SqliteStore(data)) as stack:
        rests = await submitted(stack, **fields)
        late = await submitted(stack, deadline=soon(0.3))
        key = stack.key
    async with live_stack(data, SqliteStore(data), key=key) as stack:
        again = (await stack.http.get(f"/v1/jobs/{rests['id']}")).json()
        assert {**again, "queue": None} == {**rests, "queue": None}
        assert again["queue"]["reason"] == rests["queue"]["reason"]
        assert (await ended(stack, late))["failure"]["code"] == "deadline"


async def test_the_times_of_a_job_that_does_not_say_are_the_owners(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with live_stack(data, SqliteStore(data), limits={"timeout_s": 60, "stall_timeout_s": 5}) as stack:
        silent, says = await submitted(stack), await submitted(stack, timeout_s=7)
        assert (silent["timeout_s"], silent["first_token_timeout_s"], silent["stall_timeout_s"]) == (60, 600, 5)
        assert (says["timeout_s"], says["stall_timeout_s"]) == (7, 5)
