"""A job on its whole way: over HTTP, through coordinator and worker, to a provider, and back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cavvy.providers.anyllm import AnyLlm
from cavvy.providers.command import Command
from cavvy.store.memory import MemoryStore
from cavvy.testing import LiveStack, live_stack
from tests.unit.providers.dialects import by_name
from tests.unit.providers.http_server import Exchange, Handler, HttpServer, serving

KEY = "sk-canary-0123456789"
BOX = by_name("box")


class Site:
    """A coordinator and one worker with two providers; `answer` is how the first one's server answers."""

    def __init__(self, stack: LiveStack, server: HttpServer) -> None:
        self.stack = stack
        self.server = server
        self.answer: Handler = self.hello

    async def handle(self, exchange: Exchange) -> None:
        if exchange.request.method == "GET":
            await BOX.wire.models(exchange, ["big", "small"])
        else:
            await self.answer(exchange)

    async def hello(self, exchange: Exchange) -> None:
        await BOX.wire.begin(exchange)
        await BOX.wire.think(exchange, "hm")
        await BOX.wire.say(exchange, "hello")
        await BOX.wire.finish(exchange, read=7, written=2)

    async def submit(self, **body: Any) -> str:
        answer = await self.stack.http.post("/v1/jobs", json={"prompt": "canary-prompt", **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def ended(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = (await self.stack.http.get(f"/v1/jobs/{job_id}", params={"wait": 60})).json()
        assert job["status"] in ("completed", "failed"), job
        return job

    async def run(self, **body: Any) -> dict[str, Any]:
        return await self.ended(await self.submit(**body))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    sites: list[Site] = []

    async def handle(exchange: Exchange) -> None:
        await sites[0].handle(exchange)

    async with serving(handle) as server, live_stack(tmp_path, MemoryStore()) as stack:
        sites.append(Site(stack, server))
        shout = "import sys; print(sys.stdin.read().upper(), end='')"
        agent = Command("agent", (sys.executable, "-S", "-c", shout))
        await stack.add_worker(AnyLlm("box", url=server.url, key=KEY, slots=2), agent)
        yield sites[0]


async def test_one_worker_serves_the_models_of_all_its_providers(site: Site) -> None:
    (worker,) = (await site.stack.http.get("/v1/workers")).json()["workers"]
    assert worker["models"] == ["agent", "big", "small"]


async def test_the_model_picks_the_provider_and_the_first_is_the_default(site: Site) -> None:
    job = await site.run()
    assert (job["output"], job["served_model"]) == ("hello", "big")
    assert job["usage"] == {"input_tokens": 7, "output_tokens": 2}
    assert site.server.requests[-1].json["model"] == "big"
    assert (await site.run(model="small"))["served_model"] == "small"
    job = await site.run(model="agent")
    assert (job["output"], job["served_model"]) == ("CANARY-PROMPT", "agent")
    assert site.server.posts == 2


async def test_p10_cancelling_a_job_hangs_up_on_its_provider_at_once(site: Site) -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await BOX.wire.begin(exchange)
        await BOX.wire.say(exchange, "a")
        begun.set()
        await exchange.hung_up()
        gone.set()

    site.answer = answer
    job_id = await site.submit()
    async with asyncio.timeout(60):
        await begun.wait()
        await site.stack.http.post(f"/v1/jobs/{job_id}/cancel", json={"reason": "enough"})
        await gone.wait()
    job = await site.ended(job_id)
    assert job["failure"]["code"] == "aborted"
    assert site.server.posts == 1


async def test_a_provider_that_fails_was_asked_once_an_attempt_and_its_words_stay_with_it(site: Site) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(500, {"error": {"message": f"{exchange.request.body!r} {KEY}"}}, Retry_After="0")

    site.answer = answer
    job = await site.run(max_attempts=2)
    assert job["failure"]["code"] == "worker_error"
    assert job["failure"]["message"].endswith("failed (500)")
    assert site.server.posts == len(job["attempts"]) == 2
    assert KEY not in str(job)
