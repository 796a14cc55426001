"""Jobs over HTTP, end to end with a scripted provider."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from cavvy import defaults
from cavvy.errors import ProviderError
from cavvy.protocol.rest_submit import NOT_BUILT_FIELDS
from cavvy.testing import LiveStack, ScriptedProvider


async def test_a_submit_is_answered_201_with_location_and_the_job(stack: LiveStack) -> None:
    answer = await stack.http.post("/v1/jobs", json={"prompt": "hi", "metadata": {"a": [1]}})
    job = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/jobs/{job['id']}")
    assert (job["status"], job["prompt"], job["metadata"]) == ("pending", "hi", {"a": [1]})


@pytest.fixture
def an_hour(monkeypatch: pytest.MonkeyPatch) -> int:
    """As many seconds as one may ask to wait: what answers only then answers nobody here."""
    monkeypatch.setattr(defaults, "MAX_WAIT_S", 3600)
    return 3600


async def test_prefer_wait_answers_when_the_job_is_completed(stack: LiveStack, an_hour: int) -> None:
    await stack.add_worker(ScriptedProvider(["a", "b"]))
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi"}, headers={"Prefer": f"wait={an_hour}"})).json()
    assert (job["status"], job["output"], job["served_model"]) == ("completed", "ab", "m")
    assert [one["event"] for one in job["timeline"]] == ["submitted", "assigned", "started", "completed"]


async def test_a_long_poll_answers_when_the_job_ends(stack: LiveStack, an_hour: int) -> None:
    gate = asyncio.Event()
    await stack.add_worker(ScriptedProvider(gate=gate))
    job_id = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()["id"]
    polling = asyncio.create_task(stack.http.get(f"/v1/jobs/{job_id}?wait={an_hour}"))
    services = stack.server._services
    assert services is not None
    while not services.hub.streams:  # nobody waits yet
        await asyncio.sleep(0)
    gate.set()
    assert (await polling).json()["status"] == "completed"


async def test_messages_reach_the_provider_as_they_were(stack: LiveStack) -> None:
    heard = []
    provider = ScriptedProvider(answer=lambda request: heard.append(request) or ["ok"])
    await stack.add_worker(provider)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello ✓"}]},
    ]
    body = {"messages": messages, "max_tokens": 7, "temperature": 0.5, "stop": "END"}
    job = (await stack.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"})).json()
    (request,) = heard
    assert [(one.role, one.content) for one in request.messages] == [("system", "Be brief."), ("user", "Hello ✓")]
    assert (request.max_tokens, request.temperature, request.stop) == (7, 0.5, ("END",))
    assert (job["messages"], job["stop"]) == (messages, ["END"])


async def test_the_result_route_serves_exactly_the_signed_bytes(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider(['he said "hi"\n']))
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi"}, headers={"Prefer": "wait=60"})).json()
    result = await stack.http.get(f"/v1/jobs/{job['id']}/result")
    assert hashlib.sha256(result.content).hexdigest() == job["output_hash"]


async def test_a_job_without_result_says_so(stack: LiveStack) -> None:
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    answer = await stack.http.get(f"/v1/jobs/{job['id']}/receipt")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_result")


async def test_a_pending_job_says_why_it_waits(stack: LiveStack) -> None:
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    assert "No worker is online" in job["queue"]["reason"]
    await stack.add_worker(ScriptedProvider(gate=asyncio.Event()), slots=1)
    other = (await stack.http.post("/v1/jobs", json={"prompt": "hi", "model": "huge"})).json()
    assert other["queue"]["reason"] == "No worker online serves model 'huge'; served now: m."
    busy = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    assert "busy" in busy["queue"]["reason"]
    assert [one["queue"]["position"] for one in (job, other, busy)] == [1, 1, 1]


async def test_a_pending_job_says_where_it_stands(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider(gate=asyncio.Event()), slots=1)
    jobs = [(await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json() for _ in range(5)]
    assert jobs[4]["queue"] == {
        "reason": "Every worker that can run this job is busy; it starts when a slot is free.",
        "position": 4,
        "estimate_s": None,
    }
    listed = (await stack.http.get("/v1/jobs?status=pending")).json()["jobs"]
    assert [one["queue"]["position"] for one in listed] == [4, 3, 2, 1]


async def test_a_job_that_may_not_start_yet_stands_in_no_line(stack: LiveStack) -> None:
    body = {"prompt": "hi", "not_before": "2099-01-01T00:00:00.000Z"}
    queue = (await stack.http.post("/v1/jobs", json=body)).json()["queue"]
    assert (queue["position"], "not_before" in queue["reason"]) == (None, True)


async def test_the_list_is_newest_first_and_paged_by_cursor(stack: LiveStack) -> None:
    ids = [(await stack.http.post("/v1/jobs", json={"prompt": str(n)})).json()["id"] for n in range(5)]
    first = (await stack.http.get("/v1/jobs?limit=3")).json()
    rest = (await stack.http.get("/v1/jobs", params={"limit": 3, "cursor": first["cursor"]})).json()
    assert [one["id"] for one in first["jobs"] + rest["jobs"]] == ids[::-1]
    assert rest["cursor"] is None
    assert first["jobs"][0]["prompt"] is None


async def test_p11_the_same_key_and_body_is_the_same_job(stack: LiveStack) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await stack.http.post("/v1/jobs", json={"prompt": "hi", "max_tokens": 5}, headers=headers)
    again = await stack.http.post("/v1/jobs", json={"max_tokens": 5, "prompt": "hi"}, headers=headers)
    assert (first.status_code, again.status_code, again.headers["idempotent-replayed"]) == (201, 200, "true")
    assert first.json()["id"] == again.json()["id"]


async def test_p11_racing_submits_with_one_key_make_one_job(stack: LiveStack) -> None:
    posts = [stack.http.post("/v1/jobs", json={"prompt": "hi"}, headers={"Idempotency-Key": "race"}) for _ in range(20)]
    answers = await asyncio.gather(*posts)
    assert sorted(one.status_code for one in answers) == [200] * 19 + [201]
    assert len({one.json()["id"] for one in answers}) == 1


async def test_p11_the_same_key_with_another_body_is_refused(stack: LiveStack) -> None:
    headers = {"Idempotency-Key": "k-2"}
    await stack.http.post("/v1/jobs", json={"prompt": "a"}, headers=headers)
    answer = await stack.http.post("/v1/jobs", json={"prompt": "b"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_p10_cancelling_a_pending_job_answers_200_with_who_and_why(stack: LiveStack) -> None:
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    answer = await stack.http.post(f"/v1/jobs/{job['id']}/cancel", json={"reason": "no need"})
    failure = answer.json()["failure"]
    assert (answer.status_code, failure["code"], failure["by"], failure["reason"]) == (
        200,
        "aborted",
        "owner",
        "no need",
    )
    again = await stack.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (again.status_code, again.json()["failure"]) == (200, failure)


async def test_p10_cancelling_a_running_job_stops_its_provider(stack: LiveStack) -> None:
    provider = ScriptedProvider(gate=asyncio.Event())
    await stack.add_worker(provider)
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    await provider.begun.wait()
    answer = await stack.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code in (200, 202)
    ended = (await stack.http.get(f"/v1/jobs/{job['id']}?wait=60")).json()
    assert (ended["status"], ended["failure"]["code"], provider.stopped) == ("failed", "aborted", 1)


async def test_a_failing_provider_fails_the_job_with_its_words(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider([], error=ProviderError("the model is broken")))
    job = (
        await stack.http.post("/v1/jobs", json={"prompt": "hi", "max_attempts": 1}, headers={"Prefer": "wait=60"})
    ).json()
    assert (job["status"], job["failure"]["code"], job["result"]) == (
        "failed",
        "worker_error",
        {"error": "worker_error"},
    )
    assert "the model is broken" in job["failure"]["message"]


async def test_a_providers_bug_is_told_without_its_words_which_may_hold_the_prompt(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider([], error=RuntimeError("broke at 'hi'")))
    job = (
        await stack.http.post("/v1/jobs", json={"prompt": "hi", "max_attempts": 1}, headers={"Prefer": "wait=60"})
    ).json()
    assert "RuntimeError" in job["failure"]["message"]
    assert "broke at" not in job["failure"]["message"]


@pytest.mark.parametrize("field", sorted(NOT_BUILT_FIELDS))
async def test_a_field_whose_feature_is_not_built_is_refused_by_name(stack: LiveStack, field: str) -> None:
    answer = await stack.http.post("/v1/jobs", json={"prompt": "hi", field: "x"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (422, "not_supported", field)


def test_the_fields_not_built_yet_are_these() -> None:
    """Shrinks with each feature; nothing may join it."""
    assert sorted(NOT_BUILT_FIELDS) == [
        "context",
        "context_from",
        "max_cost_usd",
        "mode",
        "payload",
        "response_format",
        "tags",
        "targets",
    ]


async def test_a_job_shows_its_effort_its_thread_and_its_times(stack: LiveStack) -> None:
    given = {
        "effort": "deep",
        "thread_id": "report",
        "timeout_s": 60.5,
        "first_token_timeout_s": 30.0,
        "stall_timeout_s": 10.0,
        "match_window_s": 5.0,
        "max_attempts": 2,
        "deadline": "2090-01-02T04:04:05.678+01:00",
        "not_before": "2090-01-02T03:04:05",
    }
    shown = (await stack.http.post("/v1/jobs", json={"prompt": "hi", **given})).json()
    want = given | {"deadline": "2090-01-02T03:04:05.678Z", "not_before": "2090-01-02T03:04:05.000Z"}
    assert {name: shown[name] for name in given} == want


async def test_a_job_that_says_nothing_shows_the_times_it_has(stack: LiveStack) -> None:
    shown = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    assert (shown["effort"], shown["thread_id"], shown["max_attempts"]) == ("standard", None, 3)
    assert (shown["timeout_s"], shown["first_token_timeout_s"], shown["stall_timeout_s"]) == (3600, 600, 120)
    assert (shown["match_window_s"], shown["deadline"], shown["not_before"]) == (None, None, None)
