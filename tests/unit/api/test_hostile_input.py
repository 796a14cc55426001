"""Bad input gets a clear error with a documented code; the process lives and the next honest request works."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cavvy import defaults
from cavvy.api import bodies
from cavvy.api.bodies import strict_json
from cavvy.api.problems import CODES
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, live_stack

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveStack]:
    """One coordinator for all of them: whatever came before, the next request is answered alike."""
    directory = tmp_path_factory.mktemp("hostile") / "data"
    async with live_stack(directory, SqliteStore(directory)) as stack:
        yield stack


@pytest.fixture(autouse=True)
async def still_alive(stack: LiveStack) -> AsyncIterator[None]:
    """After each test an honest job is taken."""
    yield
    assert (await stack.http.post("/v1/jobs", json={"prompt": "honest"})).status_code == 201


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (b"", 400, "invalid_json", "character 0"),
        (b'{"prompt": "hi"', 400, "invalid_json", "character 15"),
        (b"{'prompt': 'hi'}", 400, "invalid_json", "character 1"),
        (b"[" * 200_000, 400, "invalid_json", "nested"),
        (b'{"metadata":' + b'{"a":' * 100 + b"1" + b"}" * 101, 400, "invalid_json", "nested"),
        (b'{"prompt": "\xff"}', 400, "invalid_json", "UTF-8"),
        (
            b'{"prompt": "a", "metadata": {' + b",".join(b'"k%d": 1' % n for n in range(2000)) + b"}}",
            400,
            "invalid_json",
            "1024 fields",
        ),
        (b'{"prompt": "a", "' + b"x" * 300_000 + b'": 1}', 422, "invalid_field", "There is no field"),
        (b'{"prompt": "\\ud800"}', 400, "invalid_json", "surrogate"),
        (b'{"prompt": "a\\u0000b"}', 400, "invalid_json", "NUL"),
        (b'{"prompt": "a", "prompt": "b"}', 400, "invalid_json", "twice"),
        (b'{"prompt": "a", "max_tokens": 1' + b"0" * 400 + b"}", 400, "invalid_json", "64 bits"),
        (b'{"prompt": "a", "temperature": 1e999}', 400, "invalid_json", "too large"),
        (b'{"prompt": "a", "temperature": NaN}', 400, "invalid_json", "NaN"),
        (b"null", 422, "invalid_field", "object"),
        (b"[]", 422, "invalid_field", "object"),
        (b"{}", 422, "invalid_field", "exactly one"),
        (b'{"prompt": ""}', 422, "invalid_field", "empty"),
        (b'{"prompt": 1}', 422, "invalid_field", "expected"),
        (b'{"prompt": "a", "messages": []}', 422, "invalid_field", "exactly one"),
        (b'{"messages": []}', 422, "invalid_field", "messages"),
        (b'{"messages": [{"role": "wizard", "content": "x"}]}', 422, "invalid_field", "system, user, assistant"),
        (b'{"prompt": "a", "frobnicate": 1}', 422, "invalid_field", "allowed are"),
        (b'{"prompt": "a", "privacy_class": "private"}', 422, "invalid_field", "PUBLIC"),
        (b'{"prompt": "a", "privacy_class": "private"}', 422, "invalid_field", "PRIVATE"),
        (b'{"prompt": "a", "job_type": "DANCE"}', 422, "invalid_field", "LLM_INFER"),
        (b'{"prompt": "a", "job_type": []}', 422, "invalid_field", "LLM_INFER"),
        (b'{"prompt": "a", "max_tokens": 0}', 422, "invalid_field", "from 1"),
        (b'{"prompt": "a", "max_tokens": 1.5}', 422, "invalid_field", "max_tokens"),
        (b'{"prompt": "a", "temperature": 3}', 422, "invalid_field", "from 0 to 2"),
        (b'{"prompt": "a", "stop": []}', 422, "invalid_field", "stop"),
        (b'{"prompt": "a", "model": ""}', 422, "invalid_field", "model"),
        (b'{"prompt": "a", "effort": "Deep"}', 422, "invalid_field", "trivial, quick, standard, deep, critical"),
        (b'{"prompt": "a", "effort": null}', 422, "invalid_field", "effort"),
        (b'{"prompt": "a", "thread_id": ""}', 422, "invalid_field", "thread_id"),
        (b'{"prompt": "a", "timeout_s": 0}', 422, "invalid_field", "more than 0 and at most 604800 seconds"),
        (b'{"prompt": "a", "timeout_s": 604801}', 422, "invalid_field", "timeout_s"),
        (b'{"prompt": "a", "timeout_s": "60"}', 422, "invalid_field", "timeout_s"),
        (b'{"prompt": "a", "timeout_s": true}', 422, "invalid_field", "timeout_s"),
        (b'{"prompt": "a", "first_token_timeout_s": -1}', 422, "invalid_field", "first_token_timeout_s"),
        (b'{"prompt": "a", "stall_timeout_s": 1e300}', 422, "invalid_field", "stall_timeout_s"),
        (b'{"prompt": "a", "match_window_s": 0}', 422, "invalid_field", "match_window_s"),
        (b'{"prompt": "a", "max_attempts": 0}', 422, "invalid_field", "from 1 to 100"),
        (b'{"prompt": "a", "max_attempts": 1.5}', 422, "invalid_field", "max_attempts"),
        (b'{"prompt": "a", "deadline": "tomorrow"}', 422, "invalid_field", "ISO 8601"),
        (b'{"prompt": "a", "deadline": 1900000000}', 422, "invalid_field", "deadline"),
        (b'{"prompt": "a", "deadline": "2001-01-01T00:00:00Z"}', 422, "invalid_field", "must be in the future"),
        (b'{"prompt": "a", "deadline": "0001-01-01T00:00:00+14:00"}', 422, "invalid_field", "from 1970 to 9999"),
        (b'{"prompt": "a", "not_before": "9999-12-31T23:59:59-14:00"}', 422, "invalid_field", "from 1970 to 9999"),
        (b'{"prompt": "a", "not_before": ""}', 422, "invalid_field", "not_before"),
        (
            b'{"prompt": "a", "not_before": "2090-01-02T00:00:00Z", "deadline": "2090-01-02T01:00:00+01:00"}',
            422,
            "invalid_field",
            "must be after 'not_before'",
        ),
        (
            b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}',
            422,
            "not_supported",
            "image_url",
        ),
    ],
)
async def test_a_bad_body_is_refused_with_what_is_wrong(
    stack: LiveStack, body: bytes, status: int, code: str, says: str
) -> None:
    answer = await stack.http.post("/v1/jobs", content=body, headers=JSON)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert says in problem["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json-seq", ""])
async def test_a_body_that_is_not_declared_json_is_415(stack: LiveStack, kind: str) -> None:
    answer = await stack.http.post("/v1/jobs", content=b'{"prompt":"x"}', headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_a_compressed_body_is_415(stack: LiveStack) -> None:
    answer = await stack.http.post("/v1/jobs", content=b"x", headers={**JSON, "Content-Encoding": "gzip"})
    assert answer.status_code == 415


async def test_an_oversized_body_is_413(stack: LiveStack) -> None:
    answer = await stack.http.post("/v1/jobs", content=b"x" * (defaults.MAX_BODY_BYTES + 1), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_an_oversized_body_without_a_length_is_413(stack: LiveStack) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    answer = await stack.http.post("/v1/jobs", content=chunks(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_the_largest_body_is_taken(stack: LiveStack) -> None:
    room = defaults.MAX_BODY_BYTES - len(b'{"prompt":""}')
    answer = await stack.http.post("/v1/jobs", content=b'{"prompt":"' + b"x" * room + b'"}', headers=JSON)
    assert answer.status_code == 201


@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key", "Content-Type", "Content-Encoding"])
async def test_a_header_that_stands_twice_is_400(stack: LiveStack, name: str) -> None:
    said = dict(stack.http.headers) | {name: "x"}
    answer = await stack.http.post("/v1/jobs", content=b"{}", headers=[*said.items(), (name, "y")])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert name.lower() in answer.json()["detail"]


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer nonsense", "Bearer cav_adm_x_y", "Basic abc", "Bearer é"]
)
async def test_without_a_valid_key_nothing_is_answered(stack: LiveStack, authorization: str) -> None:
    for method, path in (
        ("GET", "/v1/jobs"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/workers"),
        ("POST", "/v1/worker-tokens"),
    ):
        headers = {"Authorization": authorization.encode("latin-1")}
        answer = await stack.http.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_the_operators_key_reads_no_jobs(stack: LiveStack) -> None:
    headers = {"Authorization": f"Bearer {stack.server.operator_key}"}
    answer = await stack.http.get("/v1/jobs", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_another_host_name_is_421(stack: LiveStack) -> None:
    answer = await stack.http.get("/v1/health", headers={"Host": "evil.example:4010"})
    assert (answer.status_code, answer.json()["code"]) == (421, "misdirected_request")


async def test_a_foreign_origin_is_403_and_changes_nothing(stack: LiveStack) -> None:
    before = (await stack.http.get("/v1/jobs")).json()["jobs"]
    answer = await stack.http.post("/v1/jobs", json={"prompt": "x"}, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert (await stack.http.get("/v1/jobs")).json()["jobs"] == before


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/nonsense",
        "/v1/jobs/01a20084-0742-7a85-8305-b441f3d27978",
        "/v1/jobs/01a20084-0742-7a85-8305-b441f3d27978/events",
        "/v1/jobs/%00",
        "/v1/workers/wrk_none",
        "/nowhere",
        "/openapi.json/x",
        "/v1/jobs/..%2f..%2fetc%2fpasswd",
        "/v1/jobs/%2e%2e/workers",
        "//v1//jobs",
    ],
)
async def test_what_is_not_there_is_404(stack: LiveStack, path: str) -> None:
    answer = await stack.http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/jobs", "GET, OPTIONS, POST"),
        ("PURGE", "/v1/jobs", "GET, OPTIONS, POST"),
        ("DELETE", "/v1/workers/x", "GET, OPTIONS"),
        ("POST", "/openapi.json", "GET, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_405(stack: LiveStack, method: str, path: str, allow: str) -> None:
    answer = await stack.http.request(method, path, json={})
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allow


async def test_head_is_405_and_options_lets_nobody_in(stack: LiveStack) -> None:
    assert (await stack.http.head("/v1/jobs")).status_code == 405
    answer = await stack.http.options("/v1/jobs", headers={"Access-Control-Request-Method": "POST"})
    assert answer.status_code == 204
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_field"),
        ("limit=501", "invalid_field"),
        ("limit=-1", "invalid_field"),
        ("limit=ten", "invalid_field"),
        ("cursor=abc", "invalid_field"),
        ("effort=t", "invalid_field"),
        ("colour=red", "invalid_field"),
        ("limit=1&limit=1", "invalid_field"),
        ("limit", "invalid_field"),
        ("limit=%ff", "invalid_field"),
        ("cursor=%D9%A1", "invalid_field"),
        ("cursor=" + "9" * 5000, "invalid_field"),
        ("%00=%00", "invalid_field"),
        ("%F0%9F%90%8E=1", "invalid_field"),
    ],
)
async def test_a_bad_query_is_refused(stack: LiveStack, query: str, code: str) -> None:
    answer = await stack.http.get(f"/v1/jobs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_every_code_has_a_status_and_a_title() -> None:
    assert all(400 <= status < 600 and title for status, title in CODES.values())


async def test_a_large_body_is_read_beside_the_others(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, begun, go = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def slow(raw: bytes) -> Any:
        if len(raw) > defaults.ASIDE_BYTES:
            loop.call_soon_threadsafe(begun.set)
            go.wait(60)
        return strict_json(raw)

    monkeypatch.setattr(bodies, "strict_json", slow)
    large = asyncio.create_task(stack.http.post("/v1/jobs", json={"prompt": "x" * defaults.ASIDE_BYTES}))
    try:
        async with asyncio.timeout(60):
            await begun.wait()
        assert (await stack.http.post("/v1/jobs", json={"prompt": "small"})).status_code == 201
    finally:
        go.set()
    assert (await large).status_code == 201
