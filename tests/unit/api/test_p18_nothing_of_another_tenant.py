"""P18: every route of /openapi.json, tried without a right to it: refused, and not a row of the store is changed.

Whoever adds a route adds its entry to `ENTRIES`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from cavvy.api.app import ROUTES
from cavvy.api.auth import MANAGES, MEASURES, OPERATES, READS, SUBMITS, Role
from cavvy.api.openapi import describe
from cavvy.api.server import system_clock
from cavvy.api.views import iso
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack

#: Open to everybody.
PUBLIC: tuple[Role, ...] = ()
HIDDEN = 404


class Entry(NamedTuple):
    """One operation: which roles it is open to, what to send, and what another tenant's admin gets.

    `other` is the status: HIDDEN where the path names something of the first tenant, else that of a request that stays
    among what the other tenant has. `{…}` in path and body is filled in from `World.names`. Of an
    `endless` answer only the beginning is looked at.
    """

    roles: tuple[Role, ...]
    other: int
    body: Any = None
    endless: bool = False
    query: str = ""


COMMIT = {"job_type": "LLM_INFER", "payload": {"prompt": "mine"}, "user_id": "owner"}
ENTRIES: dict[tuple[str, str], Entry] = {
    ("GET", "/v1/health"): Entry(PUBLIC, 200),
    ("GET", "/v1/ready"): Entry(PUBLIC, 200),
    ("POST", "/v1/jobs"): Entry(SUBMITS, 201, {"prompt": "mine"}),
    ("POST", "/v1/jobs/batch"): Entry(SUBMITS, 201, {"jobs": [{"prompt": "mine"}]}),
    ("GET", "/v1/jobs"): Entry(READS, 200),
    ("GET", "/v1/jobs/{job_id}"): Entry(READS, HIDDEN),
    ("DELETE", "/v1/jobs/{job_id}"): Entry(SUBMITS, HIDDEN),
    ("GET", "/v1/jobs/{job_id}/events"): Entry(READS, HIDDEN),
    ("POST", "/v1/jobs/{job_id}/cancel"): Entry(SUBMITS, HIDDEN),
    ("POST", "/v1/jobs/{job_id}/retry"): Entry(SUBMITS, HIDDEN),
    ("GET", "/v1/jobs/{job_id}/result"): Entry(READS, HIDDEN),
    ("GET", "/v1/jobs/{job_id}/receipt"): Entry(READS, HIDDEN),
    ("POST", "/v1/jobs/commit/fast"): Entry(SUBMITS, 201, COMMIT),
    ("POST", "/v1/jobs/commit/cheap"): Entry(SUBMITS, 201, COMMIT),
    ("GET", "/v1/quote"): Entry(READS, 200, query="?job_type=TASK"),
    ("GET", "/v1/stop"): Entry(READS, 200),
    ("POST", "/v1/stop"): Entry(SUBMITS, 200, {"latch": False}),
    ("POST", "/v1/stop/release"): Entry(MANAGES, 200),
    ("GET", "/v1/events"): Entry(READS, 200, endless=True),
    ("POST", "/v1/threads/{thread_id}/cancel"): Entry(SUBMITS, 200),
    ("GET", "/v1/workers"): Entry((*READS, *OPERATES), 200),
    ("GET", "/v1/workers/{worker_id}"): Entry((*READS, *OPERATES), HIDDEN),
    ("POST", "/v1/workers/{worker_id}/approve"): Entry((*MANAGES, *OPERATES), HIDDEN),
    ("POST", "/v1/workers/{worker_id}/pause"): Entry((*MANAGES, *OPERATES), HIDDEN),
    ("POST", "/v1/workers/{worker_id}/resume"): Entry((*MANAGES, *OPERATES), HIDDEN),
    ("POST", "/v1/workers/{worker_id}/drain"): Entry((*MANAGES, *OPERATES), HIDDEN),
    ("POST", "/v1/workers/{worker_id}/revoke"): Entry((*MANAGES, *OPERATES), HIDDEN),
    ("POST", "/v1/worker-tokens"): Entry((*MANAGES, *OPERATES), 201),
    ("POST", "/v1/trust/create"): Entry((*SUBMITS, *OPERATES), 201),
    ("POST", "/v1/trust/claim"): Entry(SUBMITS, 400, {"pairing_code": "3FA9C1", "provider_pubkey": "ab" * 32}),
    ("GET", "/v1/trust/list"): Entry((*READS, *OPERATES), 200),
    ("POST", "/v1/trust/confirm"): Entry((*SUBMITS, *OPERATES), HIDDEN, {"id": "{trust_id}", "fingerprint": "X"}),
    ("POST", "/v1/trust/pair"): Entry((*SUBMITS, *OPERATES), HIDDEN, {"worker": "{worker_id}"}),
    ("DELETE", "/v1/trust/{trust_id}"): Entry((*SUBMITS, *OPERATES), HIDDEN),
    ("GET", "/v1/key"): Entry(tuple(Role), 200),
    ("GET", "/v1/keys"): Entry((*MANAGES, *OPERATES), 200),
    ("POST", "/v1/keys"): Entry((*MANAGES, *OPERATES), 201, {"role": "read"}),
    ("GET", "/v1/keys/{key_id}"): Entry((*MANAGES, *OPERATES), HIDDEN),
    ("DELETE", "/v1/keys/{key_id}"): Entry((*MANAGES, *OPERATES), HIDDEN),
    ("POST", "/v1/keys/{key_id}/rotate"): Entry((*MANAGES, *OPERATES), HIDDEN),
    ("GET", "/v1/tenants"): Entry(OPERATES, 403),
    ("GET", "/metrics"): Entry(MEASURES, 403),
    ("POST", "/v1/tenants"): Entry(OPERATES, 403, {"id": "third"}),
}
#: What is served and not described: open to everybody, or proven inside.
UNDESCRIBED = {"/openapi.json", "/v1/workers/connect", "/"}

OPERATIONS = [
    (method.upper(), path)
    for path, item in msgspec.json.decode(describe(Litestar(ROUTES, openapi_config=None)))["paths"].items()
    for method in item
]
CLOSED = [(method, path) for method, path in OPERATIONS if ENTRIES.get((method, path), Entry(READS, 0)).roles]


def each(operations: list[tuple[str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("method", "path"), operations, ids=[" ".join(one) for one in operations])


each_operation = each(CLOSED)
TOO_SMALL = [(*one, role) for one in CLOSED for role in Role if role not in ENTRIES.get(one, Entry(READS, 0)).roles]


class World:
    """A tenant with something of everything, another one, and keys of every kind."""

    def __init__(self, stack: LiveStack) -> None:
        self._stack = stack
        self.names: dict[str, str] = {}
        self.of_role: dict[Role, str] = {}
        self.canaries: list[str] = []

    async def settle(self) -> None:
        stack = self._stack
        assert stack.server.operator_key is not None
        self.operator = stack.server.operator_key
        worker = await stack.add_worker(ScriptedProvider(["canary ", "output"]), name="canary-worker")
        prompt = {"prompt": "canary prompt"}
        done = await self._made("/v1/jobs", prompt, stack.key, Prefer="wait=60")
        assert done["status"] == "completed"
        await worker.stop()
        await self._made("/v1/jobs", {**prompt, "model": "nobody-has-it", "thread_id": "canary-thread"}, stack.key)
        (shown,) = (await stack.http.get("/v1/workers")).json()["workers"]
        paired = await self._made("/v1/trust/pair", {"worker": shown["id"]}, stack.key)
        spare = await self._made("/v1/keys", {"role": "read", "name": "canary-key"}, stack.key)
        self.names = {
            "job_id": done["id"],
            "worker_id": shown["id"],
            "key_id": spare["id"],
            "thread_id": "canary-thread",
            "trust_id": paired["id"],
        }
        self.canaries = ["canary", done["id"], shown["id"], shown["key"], spare["id"], stack.key.split("_")[2]]
        self.canaries += [paired["id"], paired["fingerprint"]]
        for role in (Role.ADMIN, Role.SUBMIT, Role.READ, Role.WORKER):
            self.of_role[role] = (await self._made("/v1/keys", {"role": role}, stack.key))["key"]
        self.of_role[Role.OPERATOR] = self.operator
        self.of_role[Role.METRICS] = (await self._made("/v1/keys", {"role": "metrics"}, self.operator))["key"]
        self.other = (await self._made("/v1/tenants", {"id": "other"}, self.operator))["admin"]["key"]
        revoked = await self._made("/v1/keys", {"role": "admin"}, stack.key)
        assert (await stack.http.delete(f"/v1/keys/{revoked['id']}")).status_code == 200
        rotated = await self._made("/v1/keys", {"role": "admin"}, stack.key)
        await self._made(f"/v1/keys/{rotated['id']}/rotate", {"grace_s": 0}, stack.key)
        self.dead = {"revoked": revoked["key"], "rotated": rotated["key"], "expired": await self._expired()}

    async def send(
        self, method: str, path: str, key: str | None, names: dict[str, str] | None = None, query: str = ""
    ) -> httpx.Response:
        """The entry's request with this key, or with none."""
        entry = ENTRIES[method, path]
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        names = self.names if names is None else names
        url = self._stack.server.url + path.format_map(names) + (query or entry.query)
        body = entry.body
        if isinstance(body, dict):
            body = {name: one.format_map(names) if isinstance(one, str) else one for name, one in body.items()}
        async with httpx.AsyncClient(trust_env=False, timeout=90) as http:
            if entry.endless:
                return await _beginning(http, method, url, headers)
            return await http.request(method, url, json=body, headers=headers)

    def rows(self) -> list[str]:
        """Every row of every table, as SQL."""
        with closing(sqlite3.connect(self._stack.directory / "cavvy.db")) as connection:
            return list(connection.iterdump())

    async def _made(self, path: str, body: Any, key: str, **headers: str) -> Any:
        headers["Authorization"] = f"Bearer {key}"
        answer = await self._stack.http.post(path, json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def _short_lived(self, life_ms: int) -> Any:
        """A key that is good for no longer than it takes to make it here."""
        body = {"role": "admin", "expires_at": iso(system_clock().wall_ms + life_ms)}
        answer = await self._stack.http.post("/v1/keys", json=body)
        return answer.json() if answer.status_code == 201 else await self._short_lived(10 * life_ms)

    async def _expired(self) -> str:
        """A key that has expired by the time this returns."""
        made = await self._short_lived(20)
        while (await self._stack.http.get(f"/v1/keys/{made['id']}")).json()["status"] != "expired":
            await asyncio.sleep(0.01)
        return str(made["key"])


async def _beginning(http: httpx.AsyncClient, method: str, url: str, headers: dict[str, str]) -> httpx.Response:
    """The answer and, if it is a stream, its first event."""
    async with http.stream(method, url, headers=headers) as answer:
        if answer.status_code != 200:
            await answer.aread()
            return answer
        text = ""
        async for line in answer.aiter_lines():
            if not line:
                break
            text += line
        return httpx.Response(200, headers=answer.headers, text=text)


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    directory = tmp_path_factory.mktemp("p18") / "data"
    limits = {"auth_failures_burst": 1_000_000}
    async with live_stack(directory, SqliteStore(directory), limits=limits) as stack:
        world = World(stack)
        await world.settle()
        yield world


def refused(answer: httpx.Response, status: int) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["status"]) == (status, status), answer.text
    assert "canary" not in answer.text


def test_p18_every_route_has_an_entry() -> None:
    assert sorted(ENTRIES) == sorted(OPERATIONS)


def test_p18_every_route_that_is_served_is_described() -> None:
    served = {
        route.path_format if isinstance(route, HTTPRoute) else route.path
        for route in Litestar(ROUTES, openapi_config=None).routes
    }
    assert served - UNDESCRIBED == {path for _, path in OPERATIONS}


@each_operation
async def test_p18_no_key_opens_nothing(world: World, method: str, path: str) -> None:
    before = world.rows()
    refused(await world.send(method, path, None), 401)
    assert world.rows() == before


@each_operation
@pytest.mark.parametrize("kind", ["revoked", "rotated", "expired"])
async def test_p18_a_key_that_has_ended_opens_nothing(world: World, method: str, path: str, kind: str) -> None:
    before = world.rows()
    refused(await world.send(method, path, world.dead[kind]), 401)
    assert world.rows() == before


@pytest.mark.parametrize(("method", "path", "role"), TOO_SMALL, ids=[" ".join(one) for one in TOO_SMALL])
async def test_p18_a_role_that_is_too_small_opens_nothing(world: World, method: str, path: str, role: Role) -> None:
    before = world.rows()
    refused(await world.send(method, path, world.of_role[role]), 403)
    assert world.rows() == before


@each_operation
async def test_p18_another_tenant_sees_and_changes_nothing_of_this_one(world: World, method: str, path: str) -> None:
    before = world.rows()
    answer = await world.send(method, path, world.other)
    assert answer.status_code == ENTRIES[method, path].other, answer.text
    assert not [one for one in world.canaries if one in answer.text]
    after = world.rows()
    if answer.status_code < 300:
        own = b"other".hex().upper()
        assert {row for row in before if own not in row} <= set(after)
        fresh = [row for row in after if row not in before]
        assert not [row for row in fresh if b"default".hex().upper() in row]
    else:
        assert after == before


@each([one for one in CLOSED if "{" in one[1]])
async def test_p18_what_is_another_tenants_looks_like_what_is_not_there(world: World, method: str, path: str) -> None:
    nothing = {name: value[:-1] + ("0" if value[-1] != "0" else "1") for name, value in world.names.items()}
    foreign, absent = [await world.send(method, path, world.other, names) for names in (None, nothing)]
    assert (foreign.status_code, foreign.content) == (absent.status_code, absent.content)


@each([one for one in CLOSED if "keys" in one[1]])
async def test_p18_only_the_operator_names_a_tenant(world: World, method: str, path: str) -> None:
    before = world.rows()
    refused(await world.send(method, path, world.other, query="?tenant=default"), 403)
    assert world.rows() == before
