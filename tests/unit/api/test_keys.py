"""Keys and tenants over HTTP: made, listed, rotated, revoked; what ends with them, and how often one may ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cavvy import defaults
from cavvy.api.server import system_clock
from cavvy.api.views import iso
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack

HOUR_MS = 3_600_000


def bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def make(stack: LiveStack, key: str | None = None, query: str = "", **body: Any) -> dict[str, Any]:
    """A new key, asked for with `key`."""
    answer = await stack.http.post(
        f"/v1/keys{query}", json={"role": "submit", **body}, headers=bearer(key or stack.key)
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def status(stack: LiveStack, key: str, path: str = "/v1/jobs") -> int:
    return (await stack.http.get(path, headers=bearer(key))).status_code


async def test_a_key_is_good_at_once_and_shown_once(stack: LiveStack) -> None:
    made = await make(stack, name="website", user="ana")
    secret = made.pop("key")
    assert secret.startswith(f"cav_sub_{made['id']}_")
    assert made.pop("login") == f"cavvy://{stack.server.reach.here}/{secret}"
    assert await status(stack, secret) == 200
    listed = await stack.http.get("/v1/keys")
    assert secret[20:] not in listed.text
    assert listed.json()["keys"][-1] == made
    assert (made["role"], made["status"], made["tenant"], made["name"], made["user"]) == (
        "submit", "active", "default", "website", "ana",
    )  # fmt: skip
    assert (await stack.http.get(f"/v1/keys/{made['id']}")).json() == made
    assert listed.headers["cache-control"] == "no-store"


async def test_the_store_keeps_no_secret(stack: LiveStack) -> None:
    made = await make(stack)
    await stack.http.post(f"/v1/keys/{made['id']}/rotate")
    for file in stack.directory.rglob("*"):
        assert not file.is_file() or made["key"][20:].encode() not in file.read_bytes()


async def test_a_job_is_its_keys_users(stack: LiveStack) -> None:
    made = await make(stack, user="ana")
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi"}, headers=bearer(made["key"]))).json()
    assert job["user_id"] == "ana"


async def test_only_a_key_that_acts_for_users_says_whose_job_it_is(stack: LiveStack) -> None:
    acting = await make(stack, act_for_users=True)
    body = {"prompt": "hi", "user_id": "bo"}
    job = await stack.http.post("/v1/jobs", json=body, headers=bearer(acting["key"]))
    assert job.json()["user_id"] == "bo"
    plain = await make(stack)
    refused = await stack.http.post("/v1/jobs", json=body, headers=bearer(plain["key"]))
    assert (refused.status_code, refused.json()["field"]) == (403, "user_id")
    assert "--act-for-users" in refused.json()["detail"]
    too_long = await stack.http.post("/v1/jobs", json={**body, "user_id": "b" * 257}, headers=bearer(acting["key"]))
    assert too_long.status_code == 422


async def test_the_owners_first_key_acts_for_users(stack: LiveStack) -> None:
    job = await stack.http.post("/v1/jobs", json={"prompt": "hi", "user_id": "bo"})
    assert job.json()["user_id"] == "bo"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"role": "king"}, "invalid_field", "role"),
        ({}, "invalid_field", None),
        ({"role": "read", "budget": {"usd": 5, "per": "day"}}, "not_supported", "budget"),
        ({"role": "read", "expires_at": "tomorrow"}, "invalid_field", "expires_at"),
        ({"role": "read", "expires_at": "2001-01-01T00:00:00Z"}, "invalid_field", "expires_at"),
        ({"role": "read", "expires_at": "0001-01-01T00:00:00+14:00"}, "invalid_field", "expires_at"),
        ({"role": "read", "user": ""}, "invalid_field", "user"),
        ({"role": "read", "name": "n" * 257}, "invalid_field", "name"),
        ({"role": "read", "tenant": "other"}, "invalid_field", "tenant"),
    ],
)
async def test_a_key_that_cannot_be_made_says_why(
    stack: LiveStack, body: dict[str, Any], code: str, field: str | None
) -> None:
    answer = await stack.http.post("/v1/keys", json=body)
    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (422, code, field)


async def test_an_admin_makes_no_operator(stack: LiveStack) -> None:
    answer = await stack.http.post("/v1/keys", json={"role": "operator"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_revoked_key_opens_nothing_any_more_also_after_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with live_stack(data, SqliteStore(data)) as stack:
        admin, kept, ended = stack.key, await make(stack), await make(stack)
        for _ in range(2):
            answer = await stack.http.delete(f"/v1/keys/{ended['id']}")
            assert (answer.status_code, answer.json()["status"]) == (200, "revoked")
        assert (await status(stack, ended["key"]), await status(stack, kept["key"])) == (401, 200)
    async with live_stack(data, SqliteStore(data), key=admin) as stack:
        assert (await status(stack, ended["key"]), await status(stack, kept["key"])) == (401, 200)
        assert (await stack.http.get("/v1/keys")).json()["keys"][-1]["status"] == "revoked"


async def test_the_last_admin_key_stays_and_the_refusal_says_what_to_do(stack: LiveStack) -> None:
    (admin,) = (await stack.http.get("/v1/keys")).json()["keys"]
    answer = await stack.http.delete(f"/v1/keys/{admin['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "last_key")
    assert "rotate it with grace_s 0" in answer.json()["detail"]
    assert await status(stack, stack.key) == 200


async def test_a_rotated_keys_old_secret_goes_on_for_its_grace(stack: LiveStack) -> None:
    made = await make(stack)
    rotated = (await stack.http.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 60})).json()
    assert rotated["id"] == made["id"]
    assert rotated["old_secret_until"] is not None
    assert (await status(stack, made["key"]), await status(stack, rotated["key"])) == (200, 200)
    again = (await stack.http.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 0})).json()
    assert again["old_secret_until"] is None
    statuses = [await status(stack, one["key"]) for one in (made, rotated, again)]
    assert statuses == [401, 401, 200]


async def test_the_grace_of_a_rotation_ends(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make(stack)
    await stack.http.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": 60})
    events = stack.http.stream("GET", await waiting_job(stack), headers=bearer(made["key"]))
    async with events as stream:
        an_hour_later(stack, monkeypatch)
        assert await last_event(stream) == "bye"
    assert await status(stack, made["key"]) == 401


@pytest.mark.parametrize("grace_s", [-1, defaults.KEY_GRACE_MAX_S + 1, "1", 1.5])
async def test_a_grace_is_from_nothing_to_thirty_days(stack: LiveStack, grace_s: Any) -> None:
    made = await make(stack)
    answer = await stack.http.post(f"/v1/keys/{made['id']}/rotate", json={"grace_s": grace_s})
    assert (answer.status_code, answer.json()["field"]) == (422, "grace_s")


async def test_a_key_that_has_ended_is_not_rotated(stack: LiveStack) -> None:
    made = await make(stack)
    await stack.http.delete(f"/v1/keys/{made['id']}")
    assert (await stack.http.post(f"/v1/keys/{made['id']}/rotate")).status_code == 404


# Streams and long polls


def an_hour_later(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the keys; streams look at them again and again from now on."""
    services = stack.server._services
    assert services is not None
    later = system_clock().wall_ms + HOUR_MS
    monkeypatch.setattr(defaults, "SSE_HEARTBEAT_S", 0.01)
    monkeypatch.setattr(services.ring, "_clock", lambda: system_clock()._replace(wall_ms=later))
    services.hub.wake()


async def waiting_job(stack: LiveStack, leaf: str = "/events") -> str:
    """The path of a job that nobody runs."""
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi", "model": "nobody's"})).json()
    return f"/v1/jobs/{job['id']}{leaf}"


async def last_event(stream: httpx.Response) -> str:
    """The name of the stream's last event, once it is over."""
    assert stream.status_code == 200
    names = [line.removeprefix("event: ") async for line in stream.aiter_lines() if line.startswith("event: ")]
    return names[-1]


async def test_revoking_a_key_closes_its_streams_and_no_others(stack: LiveStack) -> None:
    made, path = await make(stack), await waiting_job(stack)
    async with (
        stack.http.stream("GET", path, headers=bearer(made["key"])) as ended,
        stack.http.stream("GET", path) as going_on,
    ):
        await stack.http.delete(f"/v1/keys/{made['id']}")
        assert await last_event(ended) == "bye"
        await stack.http.post(path.replace("/events", "/cancel"))
        assert await last_event(going_on) == "end"


async def test_a_key_that_expires_closes_its_streams(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make(stack, expires_at=iso(system_clock().wall_ms + 60_000))
    async with stack.http.stream("GET", await waiting_job(stack), headers=bearer(made["key"])) as stream:
        an_hour_later(stack, monkeypatch)
        assert await last_event(stream) == "bye"
    assert await status(stack, made["key"]) == 401


async def test_a_revoked_keys_stream_does_not_say_how_the_job_ended(stack: LiveStack) -> None:
    gate = asyncio.Event()
    await stack.add_worker(ScriptedProvider(gate=gate))
    made = await make(stack)
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    async with stack.http.stream("GET", f"/v1/jobs/{job['id']}/events", headers=bearer(made["key"])) as stream:
        await stack.http.delete(f"/v1/keys/{made['id']}")
        gate.set()
        assert b"event: end" not in await stream.aread()


async def test_revoking_a_key_ends_its_long_polls(stack: LiveStack) -> None:
    made, path = await make(stack), await waiting_job(stack, "")
    polling = asyncio.create_task(stack.http.get(f"{path}?wait=60", headers=bearer(made["key"])))
    submitting = asyncio.create_task(
        stack.http.post(
            "/v1/jobs", json={"prompt": "hi", "model": "-"}, headers={**bearer(made["key"]), "Prefer": "wait=60"}
        )
    )
    while len((await stack.http.get("/v1/jobs")).json()["jobs"]) < 2:
        await asyncio.sleep(0)
    await stack.http.delete(f"/v1/keys/{made['id']}")
    polled, submitted = await asyncio.wait_for(asyncio.gather(polling, submitting), 60)
    assert (polled.status_code, submitted.status_code) == (401, 401)
    listed = [one["id"] for one in (await stack.http.get("/v1/jobs")).json()["jobs"]]
    assert submitted.json()["job_id"] in listed, "what was accepted is named"


# Tenants


async def test_a_tenant_comes_with_an_admin_key_that_sees_nothing_of_others(stack: LiveStack) -> None:
    operator = bearer(stack.server.operator_key)
    await stack.http.post("/v1/jobs", json={"prompt": "mine"})
    made = await stack.http.post("/v1/tenants", json={"id": "acme"}, headers=operator)
    assert made.status_code == 201
    admin = made.json()["admin"]
    assert (admin["role"], admin["tenant"]) == ("admin", "acme")
    assert (await stack.http.get("/v1/jobs", headers=bearer(admin["key"]))).json()["jobs"] == []
    tenants = (await stack.http.get("/v1/tenants", headers=operator)).json()["tenants"]
    assert [one["id"] for one in tenants] == ["default", "acme"]


async def test_a_tenants_id_is_given_once(stack: LiveStack) -> None:
    operator = bearer(stack.server.operator_key)
    for code in ("tenant_taken", "invalid_field"):
        body = {"id": "default" if code == "tenant_taken" else "Not Good"}
        answer = await stack.http.post("/v1/tenants", json=body, headers=operator)
        assert answer.json()["code"] == code


async def test_the_operator_manages_the_keys_of_any_tenant(stack: LiveStack) -> None:
    operator = stack.server.operator_key
    made = await make(stack, operator, "?tenant=default", role="admin")
    assert (made["tenant"], await status(stack, made["key"])) == ("default", 200)
    listed = (await stack.http.get("/v1/keys?tenant=default", headers=bearer(operator))).json()["keys"]
    assert [one["role"] for one in listed] == ["admin", "admin"]
    path = f"/v1/keys/{made['id']}?tenant=default"
    assert (await stack.http.delete(path, headers=bearer(operator))).json()["status"] == "revoked"
    unknown = await stack.http.get("/v1/keys?tenant=nobody", headers=bearer(operator))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_the_operators_own_keys_belong_to_no_tenant(stack: LiveStack) -> None:
    operator = stack.server.operator_key
    made = await make(stack, operator, role="operator")
    assert made["tenant"] is None
    listed = (await stack.http.get("/v1/keys", headers=bearer(made["key"]))).json()["keys"]
    assert [one["role"] for one in listed] == ["operator", "operator"]
    answer = await stack.http.post("/v1/keys", json={"role": "admin"}, headers=bearer(operator))
    assert (answer.status_code, answer.json()["field"]) == (422, "role")
    assert "?tenant=" in answer.json()["detail"]


# Rate limits

NEXT_IN_AN_HOUR = 1 / 3600  # a second


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[LiveStack]:
    """Five failures from an address, and keys that may ask ten times; long before the next a test is over."""
    limits = {"auth_failures_burst": 5, "key_requests_burst": 10}
    slowly = {"auth_failures_per_s": NEXT_IN_AN_HOUR, "key_requests_per_s": NEXT_IN_AN_HOUR}
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data"), limits=limits | slowly) as stack:
        yield stack


async def test_an_address_that_fails_too_often_is_told_to_wait_but_a_valid_key_never(strict: LiveStack) -> None:
    wrong = [await strict.http.get("/v1/jobs", headers=bearer("cav_adm_x")) for _ in range(8)]
    assert [one.status_code for one in wrong] == [401] * 5 + [429] * 3
    assert (wrong[-1].json()["code"], int(wrong[-1].headers["retry-after"]) >= 1) == ("rate_limited", True)
    assert await status(strict, strict.key) == 200


async def test_a_key_that_asks_too_often_is_told_to_wait_and_others_are_not(strict: LiveStack) -> None:
    other = await make(strict)
    answers = [await strict.http.get("/v1/jobs") for _ in range(12)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) > 3000
    assert await status(strict, other["key"]) == 200
