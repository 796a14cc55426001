"""What was measured of the original over REST, each with its outcome turned around; a program without a key asks.

The numbers are those of the list of the original's weaknesses; what it does over its workers' socket is beside this.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cavvy import defaults
from cavvy.api.listening import Listen
from cavvy.core.ed25519 import public_key
from cavvy.core.settings import Settings
from cavvy.errors import ProviderError
from cavvy.protocol.keyfile import load_or_create_seed
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack

PAYLOAD = {"job_type": "LLM_INFER", "prompt": "hi"}
BODY = {"job_type": "LLM_INFER", "payload": PAYLOAD, "user_id": "alice"}
JSON = {"Content-Type": "application/json"}
LISTEN = Listen(port=0, dispatch=True)


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveStack]:
    """One coordinator for those tests that need no worker of their own."""
    directory = tmp_path_factory.mktemp("weaknesses") / "data"
    async with live_stack(directory, SqliteStore(directory), listen=LISTEN) as stack:
        await stack.add_worker(ScriptedProvider())
        yield stack


@pytest.fixture
async def anybody(shared: LiveStack) -> AsyncIterator[httpx.AsyncClient]:
    async with stranger(shared) as http:
        yield http


def stranger(stack: LiveStack) -> httpx.AsyncClient:
    """A program on the same machine, without a key."""
    return httpx.AsyncClient(base_url=stack.server.url, trust_env=False, timeout=90)


async def commit(http: httpx.AsyncClient, **changes: Any) -> str:
    answer = await http.post("/v1/jobs/commit/fast", json=BODY | changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["job_id"])


async def ended(http: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    while True:
        job: dict[str, Any] = (await http.get(f"/v1/jobs/{job_id}?wait=60")).json()
        if job["status"] in ("completed", "failed"):
            return job


async def kept(stack: LiveStack) -> list[str]:
    """The ids of all jobs of those who send no key."""
    return [one.id for one in await stack.server._store.jobs("dispatch", before=None, limit=500)]


# Who may see and do what (4, 8)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/jobs/commit/fast"),
        ("POST", "/v1/jobs/commit/cheap"),
        ("GET", "/v1/jobs/01a20084-0742-7a85-8305-b441f3d27978"),
        ("GET", "/v1/quote?job_type=TASK"),
    ],
)
async def test_without_a_key_nothing_is_done_or_shown_unless_the_owner_said_so(
    tmp_path: Path, method: str, path: str
) -> None:
    async with live_stack(tmp_path, SqliteStore(tmp_path)) as stack, stranger(stack) as http:
        answer = await http.request(method, path, json=BODY if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_who_knows_the_id_of_a_job_reads_nothing_of_another_tenant(
    shared: LiveStack, anybody: httpx.AsyncClient
) -> None:
    owners = (await shared.http.post("/v1/jobs", json={"prompt": "mine"}, headers={"Prefer": "wait=60"})).json()
    for path in ("", "/result", "/receipt", "/events"):
        assert (await anybody.get(f"/v1/jobs/{owners['id']}{path}")).status_code in (401, 404)
    anonymous = await commit(anybody)
    assert (await shared.http.get(f"/v1/jobs/{anonymous}")).status_code == 404


@pytest.mark.parametrize("path", ["/v1/demo/start", "/v1/demo/stop", "/dashboard"])
async def test_there_is_no_switch_and_no_page_for_everybody(anybody: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST"):
        assert (await anybody.request(method, path, headers=JSON)).status_code in (401, 404, 405)


async def test_it_listens_to_its_own_machine_only(shared: LiveStack) -> None:
    assert shared.server.url.startswith("http://127.0.0.1:")


# What is PRIVATE (5)


@pytest.mark.parametrize(
    "privacy_class", ["private", "Private", "PRIVATE ", "SECRET", "", None, 1, ["PRIVATE"]], ids=str
)
async def test_p16_what_is_nearly_private_is_refused_and_never_public(
    shared: LiveStack, anybody: httpx.AsyncClient, privacy_class: Any
) -> None:
    before = await kept(shared)
    answer = await anybody.post("/v1/jobs/commit/fast", json=BODY | {"privacy_class": privacy_class})
    assert (answer.status_code, answer.json()["field"]) == (422, "privacy_class")
    assert await kept(shared) == before


async def test_p16_a_private_job_waits_for_its_trusted_worker_while_that_is_busy(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with live_stack(tmp_path, SqliteStore(tmp_path), listen=LISTEN) as stack, stranger(stack) as http:
        provider = ScriptedProvider(gate=gate)
        await stack.add_worker(provider, slots=1)
        await stack.trust("w", "alice", tenant="dispatch")
        public = await commit(http)
        await provider.begun.wait()
        private = await commit(http, privacy_class="PRIVATE")
        assert (await http.get(f"/v1/jobs/{private}")).json()["status"] == "pending"
        gate.set()
        assert [(await ended(http, one))["status"] for one in (public, private)] == ["completed"] * 2


# Pairing (1, 4, 8)

WORKER, THIEF = "ab" * 32, "cd" * 32


async def code(http: httpx.AsyncClient, **headers: str) -> str:
    answer = await http.post("/v1/trust/create", json={"user_id": "alice"}, headers=headers)
    return str(answer.json()["pairing_code"])


async def claim(http: httpx.AsyncClient, pairing_code: str, provider: str) -> httpx.Response:
    return await http.post("/v1/trust/claim", json={"pairing_code": pairing_code, "provider_pubkey": provider})


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[LiveStack]:
    """A coordinator of the test's own: codes and wrong claims are counted."""
    async with live_stack(tmp_path, SqliteStore(tmp_path), listen=LISTEN) as stack:
        yield stack


async def test_p16_who_names_himself_in_a_claim_is_trusted_by_nobody_for_it(own: LiveStack) -> None:
    async with stranger(own) as http:
        assert (await claim(http, await code(http), THIEF)).json()["status"] == "awaiting_confirmation"
        assert (await http.get("/v1/trust/list?user_id=alice")).json()["providers"] == []
        private = await http.post("/v1/jobs/commit/fast", json=BODY | {"privacy_class": "PRIVATE"})
    assert (private.status_code, private.json()["error"]) == (422, "no_trusted_worker")


async def test_p16_a_code_that_was_made_with_a_key_cannot_be_claimed_by_who_has_none(own: LiveStack) -> None:
    made = await code(own.http)
    async with stranger(own) as http:
        answer = await claim(http, made, THIEF)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_code")


async def test_p16_nobody_sees_whom_users_with_a_key_trust(own: LiveStack) -> None:
    await own.add_worker(ScriptedProvider())
    await own.trust("w", "alice")
    async with stranger(own) as http:
        assert (await http.get("/v1/trust/list?user_id=alice")).json() == {"providers": [], "waiting": []}


async def test_of_two_that_claim_one_code_at_once_one_gets_it(own: LiveStack) -> None:
    async with stranger(own) as http:
        made = await code(http)
        answers = await asyncio.gather(*(claim(http, made, one) for one in (WORKER, THIEF)))
    assert sorted(one.status_code for one in answers) == [200, 400]


async def test_guessing_codes_comes_to_an_end_soon(own: LiveStack) -> None:
    async with stranger(own) as http:
        answers = [await claim(http, f"{guess:06X}", THIEF) for guess in range(defaults.WRONG_CLAIMS_PER_ADDRESS + 1)]
        right = await claim(http, await code(http), THIEF)
    assert {answers[0].status_code, answers[-1].status_code, right.status_code} == {400, 429}
    assert answers[-1].status_code == right.status_code == 429


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/trust/create", {"user_id": "alice"}),
        ("POST", "/v1/trust/claim", {"pairing_code": "3FA9C1", "provider_pubkey": THIEF}),
        ("GET", "/v1/trust/list?user_id=alice", None),
    ],
)
async def test_without_the_flag_nobody_pairs_without_a_key(tmp_path: Path, method: str, path: str, body: Any) -> None:
    async with live_stack(tmp_path, SqliteStore(tmp_path)) as stack, stranger(stack) as http:
        assert (await http.request(method, path, json=body)).status_code == 401


# What is no good request (7, 8)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"job_type": "LLM_INFER",', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"null", 422),
        (b'{"job_type":"LLM_INFER","payload":{"prompt":"hi"},"user_id":7}', 422),
        (b'{"job_type":"LLM_INFER","payload":"a bare text","user_id":"alice"}', 422),
        (b'{"job_type":"LLM_INFER","payload":{"prompt":7},"user_id":"alice"}', 422),
        (b'{"job_type":"LLM_INFER","payload":{"prompt":"' + b"x" * 1_100_000 + b'"},"user_id":"alice"}', 413),
    ],
    ids=["cut", "no text", "deep", "null", "user", "payload", "prompt", "large"],
)
async def test_a_bad_body_is_told_in_json_and_no_page_of_the_insides_comes(
    anybody: httpx.AsyncClient, body: bytes, status: int
) -> None:
    answer = await anybody.post("/v1/jobs/commit/fast", content=body, headers=JSON)
    assert answer.status_code == status
    assert "json" in answer.headers["content-type"]
    assert answer.json()["error"]
    assert not any(word in answer.text for word in ("Traceback", "<pre>", ".py", "node_modules"))


async def test_a_policy_that_nobody_knows_has_no_price(anybody: httpx.AsyncClient) -> None:
    answer = await anybody.get("/v1/quote?job_type=TASK&policy=BOGUS")
    assert (answer.status_code, "price" in answer.json()) == (422, False)


async def test_a_commit_with_bad_members_leaves_nothing_behind(shared: LiveStack, anybody: httpx.AsyncClient) -> None:
    before = await kept(shared)
    await anybody.post("/v1/jobs/commit/fast", json=BODY | {"payload": {"prompt": ""}})
    assert await kept(shared) == before


# What becomes of a job (10, 11, 13, 16)


async def test_a_job_that_fails_is_failed_and_not_completed_with_an_error(tmp_path: Path) -> None:
    provider = ScriptedProvider(error=ProviderError("the model broke", retryable=False))
    async with live_stack(tmp_path, SqliteStore(tmp_path), listen=LISTEN) as stack, stranger(stack) as http:
        await stack.add_worker(provider)
        job = await ended(http, await commit(http))
    assert (job["status"], job["result"], job["receipt"]) == ("failed", {"error": "worker_error"}, None)
    assert job["completed_at"] is not None


async def test_jobs_beyond_the_workers_wait_in_line_and_none_fails_for_it(tmp_path: Path) -> None:
    done: list[str] = []

    def answer(request: Any) -> list[str]:
        done.append(request.messages[-1].content)
        return ["ok"]

    async with live_stack(tmp_path, SqliteStore(tmp_path), listen=LISTEN) as stack, stranger(stack) as http:
        gate = asyncio.Event()
        await stack.add_worker(ScriptedProvider(answer=answer, gate=gate), slots=1)
        jobs = [await commit(http, payload=PAYLOAD | {"prompt": str(number)}) for number in range(20)]
        gate.set()
        found = [await ended(http, one) for one in jobs]
    assert {one["status"] for one in found} == {"completed"}
    assert done == [str(number) for number in range(20)]


async def test_a_worker_that_comes_takes_a_waiting_job_at_once(tmp_path: Path) -> None:
    async with live_stack(tmp_path, SqliteStore(tmp_path), listen=LISTEN) as stack, stranger(stack) as http:
        job_id = await commit(http)
        assert (await http.get(f"/v1/jobs/{job_id}")).json()["status"] == "pending"
        await stack.add_worker(ScriptedProvider())
        assert (await ended(http, job_id))["status"] == "completed"


async def test_a_restart_loses_neither_what_waits_nor_what_runs(tmp_path: Path) -> None:
    own_key = public_key(load_or_create_seed(tmp_path / "coordinator.key")).hex()
    hurried = Settings(coordinator_key=own_key, restart_grace_s=0.5)
    async with live_stack(tmp_path, SqliteStore(tmp_path), listen=LISTEN) as stack, stranger(stack) as http:
        provider = ScriptedProvider(gate=asyncio.Event())
        await stack.add_worker(provider, slots=1)
        running = await commit(http)
        await provider.begun.wait()
        waiting = await commit(http)
    again = live_stack(tmp_path, SqliteStore(tmp_path), listen=LISTEN, key=stack.key, settings=hurried)
    async with again as stack, stranger(stack) as http:
        found = [(await http.get(f"/v1/jobs/{one}")).json()["status"] for one in (running, waiting)]
        assert set(found) <= {"pending", "assigned", "running"}
        await stack.add_worker(ScriptedProvider(), name="other")
        assert [(await ended(http, one))["status"] for one in (running, waiting)] == ["completed"] * 2


async def test_a_client_need_not_ask_again_and_again(anybody: httpx.AsyncClient) -> None:
    job_id = await commit(anybody)
    assert (await anybody.get(f"/v1/jobs/{job_id}?wait=60")).json()["status"] == "completed"


async def test_a_commit_whose_answer_was_lost_is_one_job_when_it_is_repeated(anybody: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "the-same"}
    answers = [await anybody.post("/v1/jobs/commit/cheap", json=BODY, headers=headers) for _ in range(2)]
    assert len({one.json()["job_id"] for one in answers}) == 1


async def test_a_job_can_be_stopped(tmp_path: Path) -> None:
    async with live_stack(tmp_path, SqliteStore(tmp_path), listen=LISTEN) as stack, stranger(stack) as http:
        job_id = await commit(http)
        await http.post(f"/v1/jobs/{job_id}/cancel")
        assert (await ended(http, job_id))["failure"]["code"] == "aborted"
