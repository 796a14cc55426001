"""Schemathesis against the application in-process: what /openapi.json describes, and what it does not, at random.

No answer is a 5xx, every error is a problem whose code the description lists, every body is of the described type, and
every operation has answered 2xx. Streams, waits and the deletion of keys are not tried here: their tests are in
tests/unit/api/test_events.py, test_jobs.py and test_keys.py; those of claims are in test_trust.py.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import jsonschema_rs
import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from litestar import Litestar
from schemathesis import Case, GenerationMode

from cavvy.api.app import ROUTES, create_app
from cavvy.api.openapi import describe
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack

#: The coordinator's own dice, thrown on its thread, look like a strategy's.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")

T = TypeVar("T")
SEED = 20_261_122
CASES = 50
#: What the description shows needs somebody else's doing first: a code, and a worker that claimed one.
NEEDS_OTHERS = {"claim_trust_code", "confirm_trust"}
#: A stream does not end by itself, and a deleted key ends the others' tests.
EXCLUDED = {"job_events", "revoke_key", "tenant_events"}
WAITS = {"wait", "prefer"}
#: What the path or the method alone decide, before an operation is found.
BY_ROUTING = {"not_found", "method_not_allowed", "invalid_request"}

DOCUMENT = msgspec.json.decode(describe(Litestar(ROUTES, openapi_config=None, logging_config=None)))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
#: What leaves the others little to do comes behind them.
LAST = ("revoke_worker", "erase_job", "stop_everything", "release_stop")
FOUND = {one.definition.raw["operationId"]: one for one in (found.ok() for found in SCHEMA.get_all_operations())}
OPERATIONS = {name: FOUND[name] for name in [*(name for name in FOUND if name not in EXCLUDED | {*LAST}), *LAST]}


class World:
    """A live coordinator with something of everything, on an event loop of its own."""

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, Counter[int]] = {name: Counter() for name in OPERATIONS}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._directory = directory
        self._stop: asyncio.Event | None = None
        ready: Any = self.do(self._start())
        self._ended = asyncio.run_coroutine_threadsafe(ready, self._loop)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self) -> Coroutine[Any, Any, None]:
        """Everything is there; what it returns stops it again."""
        block = live_stack(self._directory, SqliteStore(self._directory))
        stack = await block.__aenter__()
        await self._settle(stack)
        services = stack.server._services
        assert services is not None
        transport = httpx.ASGITransport(create_app(services))
        self.http = httpx.AsyncClient(transport=transport, base_url=stack.server.url)
        self.url = stack.server.url
        self.keys = [stack.key, stack.server.operator_key or ""]
        self._stop = asyncio.Event()

        async def stop() -> None:
            assert self._stop is not None
            await self._stop.wait()
            await self.http.aclose()
            await block.__aexit__(None, None, None)

        return stop()

    async def _settle(self, stack: LiveStack) -> None:
        await stack.add_worker(ScriptedProvider(["an ", "answer"]), name="w")
        http = stack.http
        done = (await http.post("/v1/jobs", json={"prompt": "hi"}, headers={"Prefer": "wait=30"})).json()
        waiting = (await http.post("/v1/jobs", json={"prompt": "hi", "model": "nobody-has-it"})).json()
        (worker,) = (await http.get("/v1/workers")).json()["workers"]
        key = (await http.post("/v1/keys", json={"role": "read"})).json()
        self.names: dict[str, list[str]] = {
            "job_id": [done["id"], waiting["id"]],
            "worker_id": [worker["id"], worker["key"]],
            "key_id": [key["id"]],
            "thread_id": ["chat-7", "nobody's"],
            "trust_id": [(await http.post("/v1/trust/create")).json()["id"] for _ in range(2)],
        }
        self.bodies = {
            "pair_worker": {"worker": worker["id"]},
            "commit_fast": {"user_id": "owner"},
            "commit_cheap": {"user_id": "owner"},
        }

    def stop(self) -> None:
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._ended.result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(self, case: Case, key: str) -> httpx.Response | None:
        """What the application answers to this case, without what would make it wait."""
        case.query = {name: value for name, value in (case.query or {}).items() if name != "wait"}
        wanted = case.as_transport_kwargs(base_url=self.url)
        wanted.pop("cookies", None)
        wanted["headers"] = {
            name: value for name, value in wanted["headers"].items() if name.lower() not in WAITS | {"authorization"}
        }
        try:
            made = requests.Request(**wanted).prepare()
            request = self.http.build_request(
                made.method or "", made.url or "", headers={**made.headers}, content=made.body or b""
            )
        except (requests.RequestException, UnicodeError, httpx.InvalidURL):
            return None  # what no client can send
        request.headers["Authorization"] = f"Bearer {key}"
        return self.do(self.http.send(request))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("fuzz") / "data")
    yield world
    world.stop()
    for name, answers in world.answers.items():
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(answers.items()))
        sys.stdout.write(f"{name:20} {counts}\n")


def judge(name: str, answer: httpx.Response) -> None:
    """Raises AssertionError for an answer that is not as described."""
    status, described = str(answer.status_code), OPERATIONS[name].definition.raw["responses"]
    assert answer.status_code < 500, answer.text
    kind = answer.headers.get("content-type", "")
    if answer.status_code < 400:
        assert status in described, f"{status} is not described"
        for media_type, content in described[status].get("content", {}).items():
            assert kind.partition(";")[0] == media_type
            if media_type == "application/json":
                check(content["schema"], answer.json())
        return
    assert kind == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["detail"]
    if problem["code"] not in BY_ROUTING:
        listed = described.get(status, {}).get("content", {}).get(kind, {}).get("examples", {})
        assert problem["code"] in listed, f"{problem['code']} is not among the described errors"


def check(schema: dict[str, Any], body: Any) -> None:
    jsonschema_rs.validate({**schema, "components": DOCUMENT["components"]}, body)


def example_of(name: str, world: World, which: int) -> Case:
    """The case that the description shows, with names of what is there."""
    operation = OPERATIONS[name]
    raw = operation.definition.raw
    query = {one["name"]: one["example"] for one in raw["parameters"] if one["in"] == "query" and one["required"]}
    case = operation.Case(path_parameters=named(operation, world, which), query=query)
    if "requestBody" in raw:
        case.body = raw["requestBody"]["content"]["application/json"]["example"] | world.bodies.get(name, {})
        case.media_type = "application/json"
    return case


def named(operation: Any, world: World, which: int) -> dict[str, str]:
    parameters = (one["name"] for one in operation.definition.raw["parameters"] if one["in"] == "path")
    return {name: world.names[name][which % len(world.names[name])] for name in parameters}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_the_description_shows_works(world: World, name: str) -> None:
    for key in world.keys:
        for which in range(2):
            answer = world.send(example_of(name, world, which), key)
            assert answer is not None
            judge(name, answer)
            world.answers[name][answer.status_code] += 1
    assert name in NEEDS_OTHERS or any(200 <= status < 300 for status in world.answers[name]), world.answers[name]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "not fitting"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_anything_is_answered_as_described(world: World, name: str, mode: GenerationMode) -> None:
    operation = OPERATIONS[name]
    by_operator = "tenants" in operation.definition.raw["tags"]
    takes = operation.definition.raw["parameters"] or "requestBody" in operation.definition.raw
    if mode is GenerationMode.NEGATIVE and not takes:
        pytest.skip("it takes nothing")

    @seed(SEED)
    @settings(max_examples=CASES, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode), st.booleans(), st.integers(0, 3), st.integers(0, 4))
    def anything(case: Case, existing: bool, which: int, key: int) -> None:
        if existing:
            case.path_parameters = named(operation, world, which)
        answer = world.send(case, world.keys[(key == 4) is not by_operator])
        if answer is not None:
            world.answers[name][answer.status_code] += 1
            judge(name, answer)

    anything()
