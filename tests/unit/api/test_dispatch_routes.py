"""Dispatch's routes: what its clients send is taken, what they are told is what they know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from cavvy.api.listening import Listen
from cavvy.core.prices import PRICES, policy_of
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack

PAYLOAD = {"job_type": "LLM_INFER", "prompt": "Name three rivers.", "max_tokens": 64}
BODY = {"job_type": "LLM_INFER", "payload": PAYLOAD, "user_id": "user_abc"}
MISSING = "Missing required fields: job_type, payload, user_id"


@pytest.fixture(scope="module")
async def dispatch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveStack]:
    """A coordinator that serves Dispatch's clients, with a worker of the default tenant."""
    directory = tmp_path_factory.mktemp("dispatch") / "data"
    async with live_stack(directory, SqliteStore(directory), listen=Listen(port=0, dispatch=True)) as stack:
        await stack.add_worker(ScriptedProvider(["Amazon, ", "Danube"]))
        yield stack


@pytest.fixture
async def http(dispatch: LiveStack) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    async with httpx.AsyncClient(base_url=dispatch.server.url, trust_env=False, timeout=90) as http:
        yield http


async def commit(http: httpx.AsyncClient, tier: str = "fast", **changes: Any) -> httpx.Response:
    body = {name: value for name, value in {**BODY, **changes}.items() if value is not None}
    return await http.post(f"/v1/jobs/commit/{tier}", json=body)


async def ended(http: httpx.AsyncClient, made: httpx.Response) -> dict[str, Any]:
    """The job when it is over, as a poll shows it."""
    assert made.status_code == 201, made.text
    found: dict[str, Any] = (await http.get(f"/v1/jobs/{made.json()['job_id']}?wait=60")).json()
    return found


async def test_a_commit_answers_with_the_jobs_id_and_nothing_else(http: httpx.AsyncClient) -> None:
    made = await commit(http)
    assert made.status_code == 201
    assert set(made.json()) == {"job_id"}
    assert made.headers["location"] == f"/v1/jobs/{made.json()['job_id']}"


async def test_a_committed_job_runs_and_has_every_field_that_dispatchs_clients_read(http: httpx.AsyncClient) -> None:
    job = await ended(http, await commit(http))
    assert (job["status"], job["result"]["text"]) == ("completed", "Amazon, Danube")
    assert job["receipt"] is not None
    assert datetime.fromisoformat(job["created_at"]) <= datetime.fromisoformat(job["completed_at"])
    assert (job["user_id"], job["prompt"], job["max_tokens"]) == ("user_abc", PAYLOAD["prompt"], 64)


@pytest.mark.parametrize(("tier", "price"), [("fast", "$0.010"), ("cheap", "$0.005")])
async def test_a_job_shows_its_policy_and_its_price(http: httpx.AsyncClient, tier: str, price: str) -> None:
    job = await ended(http, await commit(http, tier))
    assert (job["policy"], job["price"]) == (tier.upper(), price)


async def test_a_job_that_came_another_way_has_neither(dispatch: LiveStack) -> None:
    job = (await dispatch.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    assert (job["policy"], job["price"]) == (None, None)


@pytest.mark.parametrize("name", ["job_type", "payload", "user_id"])
@pytest.mark.parametrize("value", [None, "", 0, False])
async def test_a_field_that_is_missing_or_empty_is_told_in_dispatchs_words(
    http: httpx.AsyncClient, name: str, value: Any
) -> None:
    answer = await commit(http, **{name: value})
    assert (answer.status_code, answer.json()["error"]) == (400, MISSING)


@pytest.mark.parametrize("job_type", ["llm_infer", "EMBED", 7, ["TASK"]])
async def test_a_job_type_that_is_not_known_is_told_in_dispatchs_words(http: httpx.AsyncClient, job_type: Any) -> None:
    answer = await commit(http, job_type=job_type)
    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid job_type")


@pytest.mark.parametrize("privacy_class", ["private", "Private", "PRIVATE ", "SECRET", "", 1])
async def test_a_privacy_class_that_is_not_exactly_one_of_the_two_is_refused(
    http: httpx.AsyncClient, privacy_class: Any
) -> None:
    answer = await commit(http, privacy_class=privacy_class)
    assert (answer.status_code, answer.json()["field"]) == (422, "privacy_class")


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": "just a text"},
        {"payload": {}},
        {"payload": {"prompt": ""}},
        {"payload": {"prompt": "hi", "model": "x"}},
        {"payload": {"job_type": "TASK", "prompt": "hi"}},
        {"payload": {"prompt": "hi", "max_tokens": 0}},
        {"payload": {"task_type": "summarize", "input": "text"}},
        {"user_id": 7},
        {"priority": 1},
    ],
    ids=str,
)
async def test_what_cannot_be_meant_is_refused_and_not_run_half(
    http: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    answer = await commit(http, **changes)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_the_same_commit_twice_is_two_jobs_unless_a_key_says_that_it_is_one(http: httpx.AsyncClient) -> None:
    plain = [(await commit(http)).json()["job_id"] for _ in range(2)]
    assert plain[0] != plain[1]
    keyed = [await http.post("/v1/jobs/commit/fast", json=BODY, headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert [one.status_code for one in keyed] == [201, 200]
    assert keyed[0].json() == keyed[1].json()
    other = await http.post("/v1/jobs/commit/cheap", json=BODY, headers={"Idempotency-Key": "once"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_the_times_of_a_commit_are_dispatchs(http: httpx.AsyncClient) -> None:
    job = await ended(http, await commit(http))
    begun, end = (datetime.fromisoformat(job[name]) for name in ("created_at", "deadline"))
    assert (job["match_window_s"], job["timeout_s"]) == (30, 60)
    assert 59 < (end - begun).total_seconds() <= 60


async def test_the_owner_may_give_a_slow_machine_more_time(tmp_path: Path) -> None:
    limits = {"commit_llm_timeout_s": 600.0, "commit_match_window_s": 5.0}
    listen = Listen(port=0, dispatch=True)
    async with (
        live_stack(tmp_path, SqliteStore(tmp_path), listen=listen, limits=limits) as stack,
        httpx.AsyncClient(base_url=stack.server.url, trust_env=False, timeout=90) as http,
    ):
        made = await commit(http)
        job = (await http.get(f"/v1/jobs/{made.json()['job_id']}")).json()
    assert (job["timeout_s"], job["match_window_s"]) == (600, 5)


async def test_a_job_that_is_not_there_is_told_in_dispatchs_words(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/jobs/01a20084-0742-7a85-8305-b441f3d27978")
    assert (answer.status_code, answer.json()["error"]) == (404, "Job not found")


async def test_without_a_key_a_job_of_another_tenant_is_not_there(dispatch: LiveStack, http: httpx.AsyncClient) -> None:
    job = (await dispatch.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    for answer in (await http.get(f"/v1/jobs/{job['id']}"), await http.post(f"/v1/jobs/{job['id']}/cancel")):
        assert (answer.status_code, answer.json()["error"]) == (404, "Job not found")


async def test_a_committed_job_is_of_the_anonymous_tenant_and_nobody_elses(
    dispatch: LiveStack, http: httpx.AsyncClient
) -> None:
    job_id = (await commit(http)).json()["job_id"]
    assert (await dispatch.http.get(f"/v1/jobs/{job_id}")).status_code == 404


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/workers", "/v1/keys", "/v1/stop", "/v1/events", "/metrics"])
async def test_other_routes_need_a_key_as_ever(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "http://evil.example"}, "foreign_origin"),
        ({"Origin": "null"}, "foreign_origin"),
        ({"Host": "evil.example"}, "misdirected_request"),
        ({"Content-Type": "text/plain"}, "unsupported_media_type"),
        ({"X-Forwarded-For": "127.0.0.1"}, "unauthorized"),
    ],
    ids=str,
)
async def test_a_web_page_or_a_proxy_on_this_machine_commits_nothing(
    http: httpx.AsyncClient, headers: dict[str, str], code: str
) -> None:
    """A browser runs on this machine, too, and so may a proxy that brings the world."""
    answer = await http.post("/v1/jobs/commit/fast", json=BODY, headers=headers)
    assert answer.json()["code"] == code


async def test_a_committed_job_can_be_stopped_without_a_key(http: httpx.AsyncClient) -> None:
    made = await commit(http)
    answer = await http.post(f"/v1/jobs/{made.json()['job_id']}/cancel")
    assert answer.status_code in (200, 202)


async def test_with_a_key_a_commit_is_of_its_tenant(dispatch: LiveStack) -> None:
    made = await dispatch.http.post("/v1/jobs/commit/fast", json={**BODY, "user_id": "owner"})
    job = (await dispatch.http.get(f"/v1/jobs/{made.json()['job_id']}")).json()
    assert (job["user_id"], job["policy"]) == ("owner", "FAST")


async def test_with_a_key_that_may_not_one_commits_for_nobody_else(dispatch: LiveStack) -> None:
    key = (await dispatch.http.post("/v1/keys", json={"role": "submit"})).json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    answer = await dispatch.http.post("/v1/jobs/commit/fast", json=BODY, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (403, "user_id")


@pytest.mark.parametrize("path", ["/v1/jobs/commit/fast", "/v1/jobs/commit/cheap", "/v1/quote?job_type=TASK"])
async def test_without_the_flag_the_refusal_names_it(stack: LiveStack, path: str) -> None:
    async with httpx.AsyncClient(base_url=stack.server.url, trust_env=False, timeout=90) as http:
        answer = await (http.get(path) if "quote" in path else http.post(path, json=BODY))
    assert answer.status_code == 401
    assert "--dispatch" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("job_type", "policy", "price", "resolved"),
    [
        ("LLM_INFER", "FAST", "$0.010", "FAST"),
        ("LLM_INFER", "CHEAP", "$0.005", "CHEAP"),
        ("LLM_INFER", "AUTO", "$0.010", "FAST"),
        ("LLM_INFER", None, "$0.010", "FAST"),
        ("TASK", "FAST", "$0.003", "FAST"),
        ("TASK", "CHEAP", "$0.001", "CHEAP"),
        ("TASK", "AUTO", "$0.001", "CHEAP"),
    ],
)
async def test_a_quote_is_dispatchs(
    http: httpx.AsyncClient, job_type: str, policy: str | None, price: str, resolved: str
) -> None:
    params = {"job_type": job_type, **({"policy": policy} if policy else {})}
    answer = await http.get("/v1/quote", params=params)
    assert answer.json() == {
        "price": price,
        "endpoint": f"/v1/jobs/commit/{resolved.lower()}",
        "policy_resolved": resolved,
        "network": "cavvy:local",
        "expires_at": None,
    }


@pytest.mark.parametrize("query", ["", "?job_type=", "?job_type=task", "?policy=FAST"])
async def test_a_quote_for_no_known_job_type_is_refused_in_dispatchs_words(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/v1/quote{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid job_type. Use LLM_INFER or TASK")


@pytest.mark.parametrize("policy", ["BOGUS", "fast", ""])
async def test_a_quote_for_no_known_policy_is_refused(http: httpx.AsyncClient, policy: str) -> None:
    answer = await http.get("/v1/quote", params={"job_type": "TASK", "policy": policy})
    assert (answer.status_code, answer.json()["field"]) == (422, "policy")


def test_every_quote_names_a_price_of_the_table() -> None:
    assert {(policy_of("AUTO", job_type), job_type) for _, job_type in PRICES} <= set(PRICES)


async def test_health_is_told_as_dispatchs_clients_read_it(http: httpx.AsyncClient) -> None:
    found = (await http.get("/v1/health")).json()
    assert (found["status"], found["workers_online"], found["network"]) == ("ok", 1, "cavvy:local")
    assert datetime.fromisoformat(found["timestamp"]).tzinfo is not None


async def test_health_tells_others_no_more_than_before(stack: LiveStack) -> None:
    assert set((await stack.http.get("/v1/health")).json()) == {"status", "version"}


class Program(ScriptedProvider):
    """Answers by running a program, as far as the coordinator is told."""

    runs_commands = True


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_commit_without_a_key_reaches_a_worker_that_runs_programs_only_where_the_owner_says_so(
    tmp_path: Path, allowed: bool
) -> None:
    listen, limits = Listen(port=0, dispatch=True), {"dispatch_commands": allowed}
    async with live_stack(tmp_path, SqliteStore(tmp_path), listen=listen, limits=limits) as stack:
        await stack.add_worker(Program(["ran"]))
        mine = await stack.http.post("/v1/jobs", json={"prompt": "hi"}, headers={"Prefer": "wait=60"})
        assert mine.json()["status"] == "completed"
        async with httpx.AsyncClient(base_url=stack.server.url, trust_env=False, timeout=90) as http:
            made = await commit(http)
            if allowed:
                assert (await ended(http, made))["output"] == "ran"
                return
            job = (await http.get(f"/v1/jobs/{made.json()['job_id']}")).json()
    assert job["status"] == "pending"
    assert "runs commands" in job["queue"]["reason"]
