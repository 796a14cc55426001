"""Dispatch's trust routes for those who send no key: its shapes and its words, and what it lacks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from cavvy import defaults
from cavvy.api.listening import Listen
from cavvy.protocol.fingerprint import worker_fingerprint
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, live_stack
from tests.unit.api.raw_worker import RawWorker

PROVIDER = "ab" * 32


@pytest.fixture
async def stack(tmp_path: Any) -> AsyncIterator[LiveStack]:
    listen = Listen(port=0, dispatch=True)
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data"), listen=listen) as stack:
        yield stack


@pytest.fixture
async def http(stack: LiveStack) -> AsyncIterator[httpx.AsyncClient]:
    """A client of Dispatch's."""
    async with httpx.AsyncClient(base_url=stack.server.url, trust_env=False, timeout=90) as http:
        yield http


async def create(http: httpx.AsyncClient, user: str = "alice") -> str:
    answer = await http.post("/v1/trust/create", json={"user_id": user})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["pairing_code"])


async def claim(http: httpx.AsyncClient, code: str, provider: str = PROVIDER) -> httpx.Response:
    return await http.post("/v1/trust/claim", json={"pairing_code": code, "provider_pubkey": provider})


async def listed(http: httpx.AsyncClient, **headers: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = (await http.get("/v1/trust/list?user_id=alice", headers=headers)).json()
    return found


def operators(stack: LiveStack) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.server.operator_key}"}


async def test_a_code_is_made_claimed_and_listed_in_dispatchs_shapes(http: httpx.AsyncClient) -> None:
    made = await http.post("/v1/trust/create", json={"user_id": "alice"})
    assert {"pairing_code", "expires_at"} <= set(made.json())
    claimed = await claim(http, made.json()["pairing_code"])
    assert claimed.status_code == 200
    assert claimed.json()["user_id"] == "alice"
    assert "paired_at" in claimed.json()
    assert "providers" in await listed(http)


@pytest.mark.parametrize(
    ("method", "path", "body", "error"),
    [
        ("POST", "/v1/trust/create", {}, "Missing user_id"),
        ("POST", "/v1/trust/claim", {"pairing_code": "3FA9C1"}, "Missing pairing_code or provider_pubkey"),
        ("POST", "/v1/trust/claim", {"provider_pubkey": PROVIDER}, "Missing pairing_code or provider_pubkey"),
        ("GET", "/v1/trust/list", None, "Missing user_id query param"),
    ],
)
async def test_what_is_missing_is_said_in_dispatchs_words(
    http: httpx.AsyncClient, method: str, path: str, body: Any, error: str
) -> None:
    answer = await http.request(method, path, json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_a_code_that_is_wrong_or_used_is_refused_in_dispatchs_words(http: httpx.AsyncClient) -> None:
    code = await create(http)
    assert (await claim(http, "000000")).json()["error"] == "invalid_code"
    await claim(http, code)
    again = await claim(http, code)
    assert (again.status_code, again.json()["error"]) == (400, "already_claimed")


async def test_a_claim_alone_pairs_nobody(http: httpx.AsyncClient) -> None:
    claimed = await claim(http, await create(http))
    assert claimed.json()["status"] == "awaiting_confirmation"
    shown = await listed(http)
    assert shown["providers"] == []
    assert [one["provider_pubkey"] for one in shown["waiting"]] == [PROVIDER]


async def test_the_operators_key_confirms_for_who_sends_none(http: httpx.AsyncClient, stack: LiveStack) -> None:
    await claim(http, await create(http))
    (waiting,) = (await listed(http, **operators(stack)))["waiting"]
    body = {"id": waiting["id"], "fingerprint": worker_fingerprint(PROVIDER), "user_id": "alice"}
    answer = await http.post("/v1/trust/confirm", json=body, headers=operators(stack))
    assert (answer.status_code, answer.json()["status"]) == (200, "paired")
    assert [one["provider_pubkey"] for one in (await listed(http))["providers"]] == [PROVIDER]


async def test_a_key_of_the_tenant_dispatch_confirms_too(http: httpx.AsyncClient, stack: LiveStack) -> None:
    key = await http.post(
        "/v1/keys?tenant=dispatch", json={"role": "submit", "act_for_users": True}, headers=operators(stack)
    )
    headers = {"Authorization": f"Bearer {key.json()['key']}"}
    await claim(http, await create(http))
    (waiting,) = (await listed(http))["waiting"]
    body = {"id": waiting["id"], "fingerprint": worker_fingerprint(PROVIDER), "user_id": "alice"}
    assert (await http.post("/v1/trust/confirm", json=body, headers=headers)).status_code == 200


async def test_no_native_worker_joins_the_tenant_dispatch_where_it_could_not_come_back(
    http: httpx.AsyncClient, stack: LiveStack
) -> None:
    key = await http.post("/v1/keys?tenant=dispatch", json={"role": "admin"}, headers=operators(stack))
    headers = {"Authorization": f"Bearer {key.json()['key']}"}
    answer = await http.post("/v1/worker-tokens", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("key", [None, "default"])
async def test_nobody_else_confirms_pairs_or_ends_for_them(
    http: httpx.AsyncClient, stack: LiveStack, key: str | None
) -> None:
    await claim(http, await create(http))
    (waiting,) = (await listed(http))["waiting"]
    headers = {"Authorization": f"Bearer {stack.key}"} if key else {}
    confirming = {"id": waiting["id"], "fingerprint": worker_fingerprint(PROVIDER)}
    answers = [
        await http.post("/v1/trust/confirm", json=confirming, headers=headers),
        await http.post("/v1/trust/pair", json={"worker": PROVIDER}, headers=headers),
        await http.delete(f"/v1/trust/{waiting['id']}", headers=headers),
    ]
    assert [one.status_code for one in answers] == [404 if key else 401] * 3
    assert await listed(http) == {"providers": [], "waiting": [waiting]}


async def test_the_operator_pairs_who_sends_no_key_with_a_worker_of_the_first_tenant(
    http: httpx.AsyncClient, stack: LiveStack
) -> None:
    worker = RawWorker(stack, "desk")
    await worker.join()
    body = {"worker": worker.key, "user_id": "alice"}
    answer = await http.post("/v1/trust/pair", json=body, headers=operators(stack))
    assert (answer.status_code, answer.json()["name"]) == (200, "desk")


async def test_the_operator_has_to_say_whom_it_is_about(http: httpx.AsyncClient, stack: LiveStack) -> None:
    answer = await http.get("/v1/trust/list", headers=operators(stack))
    assert (answer.status_code, answer.json()["field"]) == (422, "user_id")


async def test_a_native_worker_claims_such_a_code_over_its_socket(http: httpx.AsyncClient, stack: LiveStack) -> None:
    worker = RawWorker(stack, "desk")
    await worker.join()
    assert (await worker.claim(await create(http))).status == "awaiting_confirmation"


async def test_who_guesses_too_often_is_told_when_to_come_back(http: httpx.AsyncClient) -> None:
    code = await create(http)
    for number in range(defaults.WRONG_CLAIMS_PER_ADDRESS):
        assert (await claim(http, f"{number}")).status_code == 400
    answer = await claim(http, code)
    assert (answer.status_code, answer.json()["error"]) == (429, "too_many_claims")
    assert answer.headers["retry-after"] == str(defaults.WRONG_CLAIMS_WINDOW_S)


async def test_a_key_that_cannot_be_one_is_refused(http: httpx.AsyncClient) -> None:
    answer = await claim(http, await create(http), "../../etc")
    assert (answer.status_code, answer.json()["field"]) == (422, "provider_pubkey")
