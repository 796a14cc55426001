"""`POST /v1/jobs/{id}/retry` over HTTP, and how retries look to who watches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from cavvy.protocol.messages import HeartbeatMessage, JobAssign, JobFailedMessage
from cavvy.testing import LiveStack
from tests.unit.api.event_stream import Stream
from tests.unit.api.raw_worker import RawWorker

_names = (f"retrier-{number}" for number in count(1))


@pytest.fixture
async def raw(shared_stack: LiveStack) -> AsyncIterator[RawWorker]:
    """A worker that sends exactly what a test says, when it says so."""
    raw = RawWorker(shared_stack, next(_names))
    await raw.join()
    yield raw
    await raw.close()


async def fail(raw: RawWorker, grant: JobAssign, *, retryable: bool = False) -> None:
    words = {"code": "worker_error", "message": "broken", "retryable": retryable}
    await raw.send(JobFailedMessage(job_id=grant.job_id, epoch=grant.epoch, **words))
    await raw.send(HeartbeatMessage(held=(), free=1))


async def failed(raw: RawWorker) -> str:
    """A job that has failed; its id."""
    grant = await raw.granted()
    await raw.start(grant)
    await fail(raw, grant)
    shown = await raw.stack.http.get(f"/v1/jobs/{grant.job_id}?wait=60")
    assert shown.json()["status"] == "failed"
    return grant.job_id


async def retry(raw: RawWorker, job_id: str, **how: Any) -> tuple[int, Any]:
    answer = await raw.stack.http.post(f"/v1/jobs/{job_id}/retry", **how)
    return answer.status_code, answer.json()


async def test_a_failed_job_runs_again_and_completes_under_its_id(raw: RawWorker) -> None:
    job_id = await failed(raw)
    status, job = await retry(raw, job_id)
    assert (status, job["status"], job["tries"], job["failure"]) == (200, "assigned", 0, None)
    grant = await raw.assigned_next(job_id)
    assert grant.epoch == 2
    assert await raw.complete(grant, "at last") == "accepted"
    ended = await raw.job(job_id)
    assert (ended["status"], ended["output"]) == ("completed", "at last")
    first, second = ended["attempts"]
    assert (first["end"], first["code"], first["message"]) == ("failed", "worker_error", "broken")
    assert (second["end"], second["code"], second["message"]) == ("completed", None, None)
    events = [one["event"] for one in ended["timeline"]]
    assert events == ["submitted", "assigned", "started", "attempt_failed", "retried", "assigned", "completed"]


async def test_asking_again_while_it_runs_changes_nothing(raw: RawWorker) -> None:
    job_id = await failed(raw)
    await retry(raw, job_id)
    assert await retry(raw, job_id) == (200, (await raw.job(job_id)))
    grant = await raw.assigned_next(job_id)
    assert await raw.complete(grant) == "accepted"


async def test_a_job_that_has_not_failed_is_left_alone(raw: RawWorker) -> None:
    grant = await raw.granted()
    status, problem = await retry(raw, grant.job_id)
    assert (status, problem["code"], "assigned" in problem["detail"]) == (409, "not_failed", True)
    assert await raw.complete(grant) == "accepted"
    status, problem = await retry(raw, grant.job_id)
    assert (status, problem["code"], "completed" in problem["detail"]) == (409, "not_failed", True)


async def test_a_stopped_job_runs_again(raw: RawWorker) -> None:
    answer = await raw.stack.http.post("/v1/jobs", json={"prompt": "hi", "model": "nobody-has-this"})
    job_id = answer.json()["id"]
    await raw.stack.http.post(f"/v1/jobs/{job_id}/cancel")
    status, job = await retry(raw, job_id)
    assert (status, job["status"], job["cancel_requested"]) == (200, "pending", None)
    await raw.stack.http.post(f"/v1/jobs/{job_id}/cancel")


async def test_a_job_whose_texts_are_gone_does_not_run_again(raw: RawWorker) -> None:
    job_id = await failed(raw)
    await raw.stack.http.delete(f"/v1/jobs/{job_id}")
    status, problem = await retry(raw, job_id)
    assert (status, problem["code"]) == (410, "erased")


async def test_there_is_nothing_to_say_in_a_body(raw: RawWorker) -> None:
    status, problem = await retry(raw, await failed(raw), json={"attempt": 1})
    assert (status, problem["code"], problem["field"]) == (422, "invalid_field", "attempt")


async def test_a_stream_of_a_retried_job_begins_with_the_job_and_goes_on_with_the_new_attempt(raw: RawWorker) -> None:
    job_id = await failed(raw)
    await retry(raw, job_id)
    grant = await raw.assigned_next(job_id)
    headers = {"Last-Event-ID": "1.end"}
    async with raw.stack.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
        await raw.start(grant, "again")
        assert await raw.complete(grant, "again") == "accepted"
        names = [event.name for event in await Stream(response).rest()]
    assert names[0] == "job"
    assert names.index("attempt") < names.index("delta")
    assert names[-1] == "end"


async def test_an_attempt_that_is_tried_again_is_shown_with_what_failed_it(raw: RawWorker) -> None:
    grant = await raw.granted()
    await raw.start(grant)
    await fail(raw, grant, retryable=True)
    again = await raw.assigned_next(grant.job_id)
    assert again.epoch == 2
    job = await raw.job(grant.job_id)
    first = job["attempts"][0]
    assert (first["end"], first["code"], first["message"], first["counted"]) == (
        "failed", "worker_error", "broken", True,
    )  # fmt: skip
    assert job["tries"] == 1
    assert await raw.complete(again) == "accepted"
