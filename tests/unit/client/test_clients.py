"""Both clients against a fake coordinator over real sockets; every test runs once for each."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from cavvy.client import (
    AsyncCavvy,
    AsyncJobStream,
    Cavvy,
    Delta,
    EventsCursor,
    Job,
    JobChange,
    JobStream,
    StopView,
    WorkerView,
    _flow,
)
from cavvy.errors import (
    AttemptRestarted,
    ClientError,
    InvalidInput,
    JobFailed,
    JobTimeout,
    NoCoordinator,
    RequestRefused,
)
from cavvy.protocol import rest_job
from tests.ports import held_port
from tests.unit.client.fake_coordinator import (
    JOB_ID,
    SILENCE,
    Answer,
    FakeCoordinator,
    completed,
    delta,
    end,
    event,
    failed,
    job,
    json,
    problem,
    stream,
)

CUT = Answer(cut=True)
EVENTS = f"/v1/jobs/{JOB_ID}/events"


ACTIONS = ("approve", "pause", "resume", "drain", "revoke")
WORKER = {"id": "wrk_1", "key": "ab" * 32, "name": "w", "status": "paused", "enrolled_at": "", "online": False}
KEY = {
    "id": "k1", "role": "read", "status": "active", "tenant": "default", "name": None, "user": "owner",
    "act_for_users": False, "created_at": "", "created_by": None, "expires_at": None, "revoked_at": None,
    "old_secret_until": None,
}  # fmt: skip
STOPPED = {"stopped": True, "by": "owner", "reason": None, "at": ""}
THREAD_STOPPED = {"running": 1, "pending": 2, "durable": True}
NEW_KEY = KEY | {"key": "cav_ro_k1_s", "login": "cavvy://127.0.0.1:4010/cav_ro_k1_s"}


class SyncDriver:
    def call(self, url: str, method: str, *args: Any, **fields: Any) -> Any:
        with Cavvy(url, "cav_key") as client:
            return getattr(client, method)(*args, **fields)

    def stream(self, url: str, show: Callable[[Delta], None], **fields: Any) -> Job | None:
        with Cavvy(url) as client, client.stream("hi", **fields) as stream:
            for each in stream:
                show(each)
            return stream.job


class AsyncDriver:
    def call(self, url: str, method: str, *args: Any, **fields: Any) -> Any:
        async def main() -> Any:
            async with AsyncCavvy(url, "cav_key") as client:
                return await getattr(client, method)(*args, **fields)

        return asyncio.run(main())

    def stream(self, url: str, show: Callable[[Delta], None], **fields: Any) -> Job | None:
        async def main() -> Job | None:
            async with AsyncCavvy(url) as client, client.stream("hi", **fields) as stream:
                async for each in stream:
                    show(each)
                return stream.job

        return asyncio.run(main())


@pytest.fixture(params=[SyncDriver, AsyncDriver], ids=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> Any:
    return request.param()


def text_of(deltas: list[Delta]) -> str:
    return "".join(each.text for each in deltas)


def last_ids(coordinator: FakeCoordinator) -> list[str | None]:
    return [each.headers.get("last-event-id") for each in coordinator.requests if each.path == EVENTS]


# Submitting


def test_a_submit_carries_the_fields_and_the_key(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    found = driver.call(coordinator.url, "submit", "hi", model="m", temperature=0, stop=["x"], metadata={"a": 1})
    sent = coordinator.requests[0]
    assert found.id == JOB_ID
    assert sent.headers["authorization"] == "Bearer cav_key"
    assert msgspec.json.decode(sent.body) == {
        "prompt": "hi", "model": "m", "temperature": 0.0, "stop": ["x"], "metadata": {"a": 1},
    }  # fmt: skip


@pytest.mark.parametrize("operation", ["submit_task", "run_task"])
def test_a_task_is_sent_with_its_text_and_no_prompt(driver: Any, coordinator: FakeCoordinator, operation: str) -> None:
    coordinator.on("POST", "/v1/jobs", json(completed("Paris."), 201))
    found = driver.call(coordinator.url, operation, "summarize", "A text.", effort="deep")
    assert found.output == "Paris."
    assert msgspec.json.decode(coordinator.requests[0].body) == {
        "job_type": "TASK", "task_type": "summarize", "input": "A text.", "effort": "deep",
    }  # fmt: skip


def test_the_object_of_a_task_is_its_result(driver: Any, coordinator: FakeCoordinator) -> None:
    done = completed("positive", job_type="TASK", task_type="classify", input="Fine.")
    done["result"] = {"sentiment": "positive"}
    coordinator.on("POST", "/v1/jobs", json(done, 201))
    found = driver.call(coordinator.url, "run_task", "classify", "Fine.")
    assert (found.result, found.task_type, found.input) == ({"sentiment": "positive"}, "classify", "Fine.")


@pytest.mark.parametrize("operation", ["submit", "submit_many"])
def test_the_times_of_a_job_are_sent_and_a_datetime_as_the_api_wants_it(
    driver: Any, coordinator: FakeCoordinator, operation: str
) -> None:
    at = datetime(2030, 1, 31, 12, tzinfo=timezone(timedelta(hours=1)))
    fields = {"effort": "deep", "thread_id": "t", "timeout_s": 1.5, "max_attempts": 1, "match_window_s": 2.0}
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on("POST", "/v1/jobs/batch", json({"results": []}))
    prompt = "hi" if operation == "submit" else [{"prompt": "hi"}]
    driver.call(coordinator.url, operation, prompt, deadline=at, not_before="2030-01-30", **fields)
    sent = msgspec.json.decode(coordinator.requests[0].body)
    sent = sent if operation == "submit" else sent["jobs"][0]
    assert datetime.fromisoformat(sent.pop("deadline")) == at
    assert sent == {"prompt": "hi", "not_before": "2030-01-30", **fields}


def test_jobs_are_asked_for_by_thread_and_effort(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("GET", "/v1/jobs", json({"jobs": [], "cursor": None}))
    driver.call(coordinator.url, "jobs", thread="a b", effort="deep")
    assert coordinator.requests[0].target == "/v1/jobs?thread=a+b&effort=deep"


def test_messages_are_sent_as_messages(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    driver.call(coordinator.url, "submit", messages)
    assert msgspec.json.decode(coordinator.requests[0].body) == {"messages": messages}


def test_p11_a_submit_whose_answer_is_lost_is_repeated_with_its_key(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", CUT, CUT, json(job(), 201))
    assert driver.call(coordinator.url, "submit", "hi").id == JOB_ID
    keys = [each.headers["idempotency-key"] for each in coordinator.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_p11_two_submits_have_two_keys(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    driver.call(coordinator.url, "submit", "hi")
    driver.call(coordinator.url, "submit", "hi")
    one, two = (each.headers["idempotency-key"] for each in coordinator.requests)
    assert one != two


def test_a_503_is_repeated_after_the_pause_it_asks_for(
    driver: Any, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("cavvy.client._async_wire.asyncio.sleep", sleep)
    full = problem(503, "store_unavailable", "Try again.", **{"Retry-After": "7"})
    coordinator.on("POST", "/v1/jobs", full, json(job(), 201))
    driver.call(coordinator.url, "submit", "hi")
    assert pauses == [7.0]


def test_a_submit_that_may_have_been_taken_is_not_said_to_be_refused(driver: Any, coordinator: FakeCoordinator) -> None:
    """A first try was under way when the disk was full; later ones were turned away at the door."""
    title, code = "The store takes no writes now", "store_unavailable"
    doubt, refusal = (
        json({"title": title, "status": 503, "detail": detail, "code": code, "outcome": outcome}, 503)
        for detail, outcome in (("It may have been taken.", "unknown"), ("Nothing was taken.", "not_accepted"))
    )
    coordinator.on("POST", "/v1/jobs", doubt, refusal)
    with pytest.raises(RequestRefused, match="It may have been taken") as caught:
        driver.call(coordinator.url, "submit", "hi")
    assert caught.value.problem["outcome"] == "unknown"


def test_a_coordinator_that_never_answers_is_given_up(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", CUT)
    with pytest.raises(NoCoordinator, match=r"stopped answering.*unknown"):
        driver.call(coordinator.url, "submit", "hi")
    assert len(coordinator.requests) == _flow.TRIES


def test_a_refused_connection_says_what_to_start(driver: Any) -> None:
    with held_port() as port:
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(NoCoordinator, match=f"nothing answers at {url}; start one with `cavvy up`"):
            driver.call(url, "submit", "hi")


def test_a_problem_is_told_in_its_own_words(driver: Any, coordinator: FakeCoordinator) -> None:
    refusal = {"status": 422, "code": "no_trusted_worker", "detail": "No worker is trusted.", "job_id": JOB_ID}
    coordinator.on("POST", "/v1/jobs", json(refusal, 422))
    with pytest.raises(RequestRefused, match="No worker is trusted") as caught:
        driver.call(coordinator.url, "submit", "hi", privacy_class="PRIVATE", on_no_trusted="fail", payment_ref="pay_1")
    assert (caught.value.status, caught.value.code) == (422, "no_trusted_worker")
    assert caught.value.problem["job_id"] == JOB_ID
    assert len(coordinator.requests) == 1


def test_an_unknown_field_is_refused_before_anything_is_sent(driver: Any, coordinator: FakeCoordinator) -> None:
    with pytest.raises(InvalidInput, match="effrot"):
        driver.call(coordinator.url, "submit", "hi", effrot="deep")
    assert coordinator.requests == []


def test_a_prompt_that_is_none_is_refused_before_anything_is_sent(driver: Any, coordinator: FakeCoordinator) -> None:
    for operation, prompt in (("submit", None), ("submit", 3), ("submit_many", [3])):
        with pytest.raises(InvalidInput, match="cannot be submitted"):
            driver.call(coordinator.url, operation, prompt)
    assert coordinator.requests == []


BEFORE_TIME = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23)))  # in UTC it is in the year 0


@pytest.mark.parametrize(
    "fields",
    [{"timeout_s": math.nan}, {"temperature": math.inf}, {"metadata": {"a": [-math.inf]}}, {"deadline": BEFORE_TIME}],
    ids=str,
)
def test_what_json_cannot_say_is_refused_and_not_left_out(
    driver: Any, coordinator: FakeCoordinator, fields: dict[str, Any]
) -> None:
    for operation, prompt in (("submit", "hi"), ("submit_many", [{"prompt": "hi"}])):
        with pytest.raises(InvalidInput, match="cannot be submitted"):
            driver.call(coordinator.url, operation, prompt, **fields)
    with pytest.raises(InvalidInput, match="cannot be submitted"):
        driver.call(coordinator.url, "submit_many", [{"prompt": "hi", **fields}])
    assert coordinator.requests == []


def test_who_asks_a_tls_coordinator_without_tls_is_told(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("GET", f"/v1/jobs/{JOB_ID}", CUT)
    with pytest.raises(NoCoordinator, match=r"--lan, its address begins with https://"):
        driver.call(coordinator.url, "job", JOB_ID)


def test_something_else_on_the_port_is_noticed(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", Answer(b"<html>hello"))
    with pytest.raises(ClientError, match="check the URL"):
        driver.call(coordinator.url, "submit", "hi")


def test_a_worker_token_says_whom_it_is_for(driver: Any, coordinator: FakeCoordinator) -> None:
    made = {"token": "t", "join": "cavvy://h:1/t", "expires_at": ""}
    coordinator.on("POST", "/v1/worker-tokens", json(made), json(made))
    driver.call(coordinator.url, "create_worker_token", needs_approval=True)
    driver.call(coordinator.url, "create_worker_token", shared=True)
    sent = [msgspec.json.decode(each.body) for each in coordinator.requests]
    assert sent == [{"needs_approval": True}, {"shared": True}]


def test_a_worker_token_is_asked_for_once_only(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/worker-tokens", CUT)
    with pytest.raises(NoCoordinator):
        driver.call(coordinator.url, "create_worker_token")
    assert len(coordinator.requests) == 1


# Waiting


def test_run_waits_until_the_job_has_ended(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("", json(job("running")), json(completed("Paris.")))
    found = driver.call(coordinator.url, "run", "hi")
    assert (found.output, found.result["finish_reason"]) == ("Paris.", "stop")
    assert coordinator.requests[0].headers["prefer"] == "wait=60"
    assert coordinator.requests[1].target.endswith("?wait=60")


def test_run_outlives_a_restart_of_the_coordinator(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    gone = problem(503, "starting", "Starting.")
    coordinator.on_job("", CUT, gone, gone, CUT, CUT, CUT, CUT, CUT, json(completed("Paris.")))
    assert driver.call(coordinator.url, "run", "hi").output == "Paris."


def test_run_raises_what_the_job_failed_of(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(failed("worker_error", "out of memory"), 201))
    with pytest.raises(JobFailed, match=r"worker_error.*out of memory") as caught:
        driver.call(coordinator.url, "run", "hi")
    assert caught.value.job.failure.code == "worker_error"


def test_an_aborted_job_says_who_stopped_it(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(failed("aborted", "stopped", by="owner", reason="enough"), 201))
    with pytest.raises(JobFailed, match="was stopped by owner: enough"):
        driver.call(coordinator.url, "run", "hi")


def test_run_stops_waiting_at_its_timeout(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job("running"), 201))
    coordinator.on_job("", json(job("running")))
    with pytest.raises(JobTimeout, match="goes on") as caught:
        driver.call(coordinator.url, "run", "hi", wait_s=0.05)
    assert caught.value.job_id == JOB_ID


# Streaming


def test_a_stream_gives_the_deltas_and_then_the_job(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    events = stream(event("job", job()), event("attempt", {"attempt": 1}), delta(1, 0, "Pa"), delta(1, 2, "ris."),
                    event("usage", {"input_tokens": 1, "output_tokens": 2}), end(1, 6))  # fmt: skip
    coordinator.on_job("/events", events)
    coordinator.on_job("", json(completed("Paris.")))
    seen: list[Delta] = []
    found = driver.stream(coordinator.url, seen.append)
    assert [each.text for each in seen] == ["Pa", "ris."]
    assert found.output == "Paris."


@pytest.mark.parametrize("cut", [True, False], ids=["broken", "ended early"])
def test_p13_a_stream_without_its_end_goes_on_where_it_stopped(
    driver: Any, coordinator: FakeCoordinator, cut: bool
) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    first = stream(delta(1, 0, "Pa"), cut=cut)
    coordinator.on_job("/events", first, CUT, stream(delta(1, 2, "ris."), end(1, 6)))
    coordinator.on_job("", json(completed("Paris.")))
    seen: list[Delta] = []
    driver.stream(coordinator.url, seen.append)
    assert text_of(seen) == "Paris."
    assert last_ids(coordinator) == [None, "1.2", "1.2"]


def test_a_stream_comes_back_after_bye(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    bye = event("bye", {"retry_ms": 0})
    coordinator.on_job("/events", stream(delta(1, 0, "Pa"), bye, delta(1, 2, "lost"), hold=True),
                       problem(503, "starting", "Starting."), stream(delta(1, 2, "ris."), end(1, 6)))  # fmt: skip
    coordinator.on_job("", json(completed("Paris.")))
    seen: list[Delta] = []
    driver.stream(coordinator.url, seen.append)
    assert text_of(seen) == "Paris."


def test_repeated_text_is_shown_once_and_missing_text_is_asked_for(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    gap = stream(delta(1, 0, "Pa"), delta(1, 1, "ar"), delta(1, 5, "!"), hold=True)
    coordinator.on_job("/events", gap, stream(delta(1, 3, "is!"), end(1, 6)))
    coordinator.on_job("", json(completed("Paris!")))
    seen: list[Delta] = []
    driver.stream(coordinator.url, seen.append)
    assert text_of(seen) == "Paris!"
    assert last_ids(coordinator) == [None, "1.3"]


def test_an_end_that_is_too_early_is_not_believed(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(delta(1, 0, "Pa"), end(1, 6)), stream(delta(1, 2, "ris."), end(1, 6)))
    coordinator.on_job("", json(completed("Paris.")))
    seen: list[Delta] = []
    driver.stream(coordinator.url, seen.append)
    assert text_of(seen) == "Paris."
    assert last_ids(coordinator) == [None, "1.2"]


def test_a_new_attempt_after_text_was_shown_is_an_error(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(delta(1, 0, "Lon"), event("attempt", {"attempt": 2}), hold=True))
    seen: list[Delta] = []
    with pytest.raises(AttemptRestarted) as caught:
        driver.stream(coordinator.url, seen.append)
    assert (text_of(seen), caught.value.attempt) == ("Lon", 2)


def test_a_new_attempt_is_told_by_offset_0_to_those_who_asked(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    again = stream(event("attempt", {"attempt": 2}), delta(2, 0, "Paris."), end(2, 6))
    coordinator.on_job("/events", stream(delta(1, 0, "Lon"), cut=True), again)
    coordinator.on_job("", json(completed("Paris.")))
    seen: list[Delta] = []
    driver.stream(coordinator.url, seen.append, restart=True)
    assert [(each.attempt, each.offset, each.text) for each in seen] == [(1, 0, "Lon"), (2, 0, ""), (2, 0, "Paris.")]


def test_a_new_attempt_before_any_text_is_nothing_special(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    attempts = [event("attempt", {"attempt": number}) for number in (1, 2)]
    coordinator.on_job("/events", stream(*attempts, delta(2, 0, "Hi"), end(2, 2)))
    coordinator.on_job("", json(completed("Hi")))
    seen: list[Delta] = []
    driver.stream(coordinator.url, seen.append)
    assert [(each.attempt, each.text) for each in seen] == [(2, "Hi")]


def test_unknown_events_and_kinds_are_ignored(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    reasoning = event("delta", {"attempt": 1, "offset": 0, "kind": "reasoning", "text": "hm"}, "1.0")
    coordinator.on_job("/events", stream(event("weather", {"sun": True}), reasoning, delta(1, 0, "Hi"), end(1, 2)))
    coordinator.on_job("", json(completed("Hi")))
    seen: list[Delta] = []
    driver.stream(coordinator.url, seen.append)
    assert text_of(seen) == "Hi"


def test_what_the_model_thinks_is_given_to_who_asks(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    reasoning = event("delta", {"attempt": 1, "offset": 0, "kind": "reasoning", "text": "hm"}, "1.0")
    coordinator.on_job("/events", stream(reasoning, delta(1, 0, "Hi"), end(1, 2)))
    coordinator.on_job("", json(completed("Hi")))
    seen: list[Delta] = []
    driver.stream(coordinator.url, seen.append, reasoning=True)
    assert [(each.kind, each.text) for each in seen] == [("reasoning", "hm"), ("text", "Hi")]


def test_the_stream_of_a_job_that_fails_raises(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(delta(1, 0, "Pa"), end(1, 2, None)))
    coordinator.on_job("", json(failed("worker_lost", "gone")))
    seen: list[Delta] = []
    with pytest.raises(JobFailed, match="worker_lost"):
        driver.stream(coordinator.url, seen.append)
    assert text_of(seen) == "Pa"


def test_a_stream_that_never_gets_on_is_given_up(
    driver: Any, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_flow, "PATIENCE_S", 0.05)
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(delta(1, 0, "Pa"), cut=True), stream(event("job", job()), cut=True))
    with pytest.raises(ClientError, match="again and again"):
        driver.stream(coordinator.url, print)


def test_a_refused_stream_says_why(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", problem(401, "unauthorized", "Give a key."))
    with pytest.raises(RequestRefused, match="Give a key"):
        driver.stream(coordinator.url, print)


def test_result_reads_the_rest_of_a_stream(coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(delta(1, 0, "Hi"), end(1, 2)))
    coordinator.on_job("", json(completed("Hi")))
    with Cavvy(coordinator.url) as client, client.stream("hi") as answer:
        assert answer.result().output == "Hi"


def test_leaving_a_stream_early_leaves_nothing_open(coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(delta(1, 0, "Hi"), hold=True))
    with Cavvy(coordinator.url) as client:
        with client.stream("hi") as answer:
            assert next(iter(answer)).text == "Hi"
        with pytest.raises(ClientError, match="closed before its end"):
            answer.result()


# Everything else


@pytest.mark.parametrize(
    ("method", "args", "route", "body"),
    [
        ("job", (JOB_ID,), ("GET", f"/v1/jobs/{JOB_ID}"), completed("Hi")),
        ("jobs", (), ("GET", "/v1/jobs"), {"jobs": [job()], "cursor": None}),
        ("cancel", (JOB_ID,), ("POST", f"/v1/jobs/{JOB_ID}/cancel"), job("running")),
        ("retry", (JOB_ID,), ("POST", f"/v1/jobs/{JOB_ID}/retry"), job("pending")),
        ("cancel_thread", ("chat 7",), ("POST", "/v1/threads/chat%207/cancel"), THREAD_STOPPED),
        ("stop_all", (), ("POST", "/v1/stop"), STOPPED | THREAD_STOPPED),
        ("release_stop", (), ("POST", "/v1/stop/release"), STOPPED | {"stopped": False}),
        ("stop_state", (), ("GET", "/v1/stop"), STOPPED),
        ("workers", (), ("GET", "/v1/workers"), {"workers": []}),
        ("health", (), ("GET", "/v1/health"), {"status": "ok", "version": "0"}),
        (
            "create_worker_token", (), ("POST", "/v1/worker-tokens"),
            {"token": "t", "join": "cavvy://h:1/t", "expires_at": "2026-01-01T00:00:00.000Z"},
        ),
        *((f"{each}_worker", ("wrk_1",), ("POST", f"/v1/workers/wrk_1/{each}"), WORKER) for each in ACTIONS),
        ("keys", (), ("GET", "/v1/keys"), {"keys": [KEY]}),
        ("create_key", ("read",), ("POST", "/v1/keys"), NEW_KEY),
        ("rotate_key", ("k1",), ("POST", "/v1/keys/k1/rotate"), NEW_KEY),
        ("revoke_key", ("k1",), ("DELETE", "/v1/keys/k1"), KEY),
        ("tenants", (), ("GET", "/v1/tenants"), {"tenants": []}),
        ("create_tenant", ("acme",), ("POST", "/v1/tenants"), {"id": "acme", "created_at": "", "admin": NEW_KEY}),
    ],
)  # fmt: skip
def test_each_method_asks_its_route(
    driver: Any, coordinator: FakeCoordinator, method: str, args: tuple[str, ...], route: tuple[str, str], body: Any
) -> None:
    coordinator.on(*route, json(body))
    driver.call(coordinator.url, method, *args)
    assert [(each.method, each.path) for each in coordinator.requests] == [route]


@pytest.mark.parametrize(
    ("method", "args", "route"),
    [
        ("create_key", ("read",), ("POST", "/v1/keys")),
        ("rotate_key", ("k1",), ("POST", "/v1/keys/k1/rotate")),
        ("create_tenant", ("acme",), ("POST", "/v1/tenants")),
    ],
)
def test_what_makes_a_secret_is_asked_for_once_only(
    driver: Any, coordinator: FakeCoordinator, method: str, args: tuple[str, ...], route: tuple[str, str]
) -> None:
    coordinator.on(*route, CUT)
    with pytest.raises(NoCoordinator):
        driver.call(coordinator.url, method, *args)
    assert len(coordinator.requests) == 1


def test_a_key_is_asked_for_with_all_it_shall_be(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/keys", json(NEW_KEY, 201))
    at = datetime(2030, 1, 31, 12, tzinfo=UTC)
    made = driver.call(
        coordinator.url, "create_key", "submit", name="n", user="u", act_for_users=True, expires_at=at, tenant="a b"
    )
    (request,) = coordinator.requests
    sent = msgspec.json.decode(request.body)
    assert (request.target, made.key) == ("/v1/keys?tenant=a+b", "cav_ro_k1_s")
    assert datetime.fromisoformat(sent.pop("expires_at")) == at
    assert sent == {"role": "submit", "name": "n", "user": "u", "act_for_users": True}


def test_result_is_the_exact_bytes(driver: Any, coordinator: FakeCoordinator) -> None:
    coordinator.on_job("/result", Answer(b'{ "text":"x"}'))
    assert driver.call(coordinator.url, "result", JOB_ID) == b'{ "text":"x"}'


def test_a_strange_id_cannot_leave_its_place_in_the_path(driver: Any, coordinator: FakeCoordinator) -> None:
    with pytest.raises(RequestRefused):
        driver.call(coordinator.url, "job", "../workers?x=1")
    assert coordinator.requests[0].target == "/v1/jobs/..%2Fworkers%3Fx%3D1"


def _public(kind: type) -> dict[str, str]:
    """Each method with its signature, as the other client has to have it."""
    names = [name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))]
    return {
        name.replace("aclose", "close"): str(inspect.signature(getattr(kind, name))).replace("Async", "")
        for name in names
    }


@pytest.mark.parametrize(("one", "other"), [(Cavvy, AsyncCavvy), (JobStream, AsyncJobStream)])
def test_both_clients_have_the_same_methods_and_parameters(one: type, other: type) -> None:
    assert _public(one) == _public(other)


def test_the_job_has_every_field_of_the_api() -> None:
    def encoded(kind: Callable[..., Any]) -> set[str]:
        return {field.encode_name for field in msgspec.structs.fields(kind)}  # type: ignore[arg-type]

    assert encoded(Job) == encoded(rest_job.Job)


# Batches


def batch_of(*results: dict[str, Any]) -> Answer:
    return json({"results": list(results)}, 201)


def test_a_batch_gives_each_job_or_its_refusal_in_order(coordinator: FakeCoordinator, driver: Any) -> None:
    refusal = {"status": 422, "code": "invalid_field", "detail": "Say something.", "field": "prompt"}
    results = [{"status": 201, "job": job()}, {"status": 422, "problem": refusal}]
    coordinator.on("POST", "/v1/jobs/batch", batch_of(*results))
    given = ["hi", {"prompt": "", "max_tokens": 3}, [{"role": "user", "content": "hi"}]]
    first, second = driver.call(coordinator.url, "submit_many", given, model="m", max_tokens=7)
    assert isinstance(first, Job)
    assert isinstance(second, RequestRefused)
    assert (second.status, second.code, second.problem["field"]) == (422, "invalid_field", "prompt")
    assert msgspec.json.decode(coordinator.requests[0].body) == {
        "jobs": [
            {"model": "m", "max_tokens": 7, "prompt": "hi"},
            {"model": "m", "max_tokens": 3, "prompt": ""},
            {"model": "m", "max_tokens": 7, "messages": [{"role": "user", "content": "hi"}]},
        ]
    }


def test_p11_a_batch_whose_answer_is_lost_is_repeated_with_its_key(coordinator: FakeCoordinator, driver: Any) -> None:
    coordinator.on("POST", "/v1/jobs/batch", CUT, batch_of({"status": 200, "job": job()}))
    (made,) = driver.call(coordinator.url, "submit_many", ["hi"])
    assert made.id == JOB_ID
    keys = [each.headers["idempotency-key"] for each in coordinator.requests]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_batch_takes_a_key_of_the_callers(coordinator: FakeCoordinator, driver: Any) -> None:
    coordinator.on("POST", "/v1/jobs/batch", batch_of({"status": 201, "job": job()}))
    driver.call(coordinator.url, "submit_many", ["hi"], idempotency_key="import-7")
    assert coordinator.requests[0].headers["idempotency-key"] == "import-7"


def test_a_batch_refused_whole_raises(coordinator: FakeCoordinator, driver: Any) -> None:
    coordinator.on("POST", "/v1/jobs/batch", problem(422, "idempotency_key_reused", "Use a fresh key."))
    with pytest.raises(RequestRefused) as refused:
        driver.call(coordinator.url, "submit_many", ["hi"])
    assert refused.value.code == "idempotency_key_reused"


def test_a_batch_of_what_is_no_json_is_not_sent(coordinator: FakeCoordinator, driver: Any) -> None:
    with pytest.raises(InvalidInput):
        driver.call(coordinator.url, "submit_many", [{"prompt": object()}])
    assert coordinator.requests == []


def test_jobs_are_listed_by_filter(coordinator: FakeCoordinator, driver: Any) -> None:
    coordinator.on("GET", "/v1/jobs", json({"jobs": [job()], "cursor": "7"}))
    page = driver.call(coordinator.url, "jobs", status="failed", q="a b", limit=3)
    assert (page.jobs[0].id, page.cursor) == (JOB_ID, "7")
    assert coordinator.requests[0].target == "/v1/jobs?status=failed&q=a+b&limit=3"


async def test_any_number_of_calls_may_wait_and_none_waits_behind_them(coordinator: FakeCoordinator) -> None:
    coordinator.on_job("", SILENCE)
    coordinator.on("GET", "/v1/health", json({"status": "ok", "version": "0"}))
    async with AsyncCavvy(coordinator.url, timeout=20) as client, asyncio.TaskGroup() as group:
        waiting = [group.create_task(client.job(JOB_ID, wait=60)) for _ in range(101)]
        await asyncio.to_thread(coordinator.wait_for, "GET", f"/v1/jobs/{JOB_ID}", len(waiting))
        assert (await client.health()).status == "ok"
        for one in waiting:
            one.cancel()


# The tenant's events


CHANGE = {
    "id": JOB_ID, "number": 1, "status": "running", "at": "", "attempt": 1, "worker_id": "wrk_1", "stopping": False,
    "failure_code": None, "stopped_by": None, "usage": None, "job_type": "LLM_INFER", "privacy_class": "PUBLIC",
    "model": None, "effort": "standard", "thread_id": None, "user_id": "owner", "created_at": "",
}  # fmt: skip
CURSOR = event("cursor", {"cursor": "7"})


def take(client: str, url: str, count: int) -> list[Any]:
    """The first `count` events."""
    if client == "sync":
        with Cavvy(url) as cavvy, contextlib.closing(cavvy.events()) as events:
            return list(itertools.islice(events, count))

    async def main() -> list[Any]:
        found: list[Any] = []
        async with AsyncCavvy(url) as cavvy, contextlib.aclosing(cavvy.events()) as events:
            async for each in events:
                found.append(each)
                if len(found) == count:
                    break
        return found

    return asyncio.run(main())


each_client = pytest.mark.parametrize("client", ["sync", "async"])


@each_client
def test_events_begin_again_with_a_cursor_after_a_broken_connection(client: str, coordinator: FakeCoordinator) -> None:
    changed, bye = event("job", CHANGE), event("bye", {"retry_ms": 1, "reason": "too_slow"})
    answers = [stream(CURSOR, changed, cut=True), Answer(status=503), stream(CURSOR, event("worker", WORKER), bye)]
    coordinator.on("GET", "/v1/events", *answers, stream(CURSOR, hold=True))
    found = take(client, coordinator.url, 5)
    assert [type(each) for each in found] == [EventsCursor, JobChange, EventsCursor, WorkerView, EventsCursor]
    assert (found[0].cursor, found[1].status, found[3].id) == ("7", "running", "wrk_1")
    assert [each.headers.get("last-event-id") for each in coordinator.requests] == [None] * 4


@each_client
def test_events_of_a_kind_nobody_knows_are_passed_over(client: str, coordinator: FakeCoordinator) -> None:
    new, stopped = event("weather", {"sun": True}), event("stop", {"stopped": True, "by": "owner"})
    coordinator.on("GET", "/v1/events", stream(CURSOR, new, stopped, hold=True))
    assert [type(each) for each in take(client, coordinator.url, 2)] == [EventsCursor, StopView]


@each_client
def test_events_of_nobody_are_an_error(client: str) -> None:
    with held_port() as port, pytest.raises(NoCoordinator, match="cavvy up"):
        take(client, f"http://127.0.0.1:{port}", 1)


@each_client
def test_events_are_refused_without_a_key(client: str, coordinator: FakeCoordinator) -> None:
    coordinator.on("GET", "/v1/events", problem(401, "unauthorized", "Send a valid key."))
    with pytest.raises(RequestRefused, match="Send a valid key"):
        take(client, coordinator.url, 1)
