"""Providers over HTTP, against servers that do on the wire what a test says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from cavvy.errors import (
    ContextTruncated,
    InputTooLarge,
    ModelMissing,
    ProviderError,
    StartError,
)
from cavvy.providers.anyllm import AnyLlm
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, Message, ReasoningChunk, TextChunk, hear_life
from tests.unit.providers.dialects import DIALECTS, Dialect, by_name
from tests.unit.providers.http_server import Exchange, Handler, HttpServer, serving

KEY = "sk-canary-0123456789"
PROMPT = "canary-prompt"
MODEL = "m"

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.provider)


@pytest.fixture(autouse=True)
def no_keys_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.endswith(("_API_KEY", "_BASE_URL", "_API_BASE")) or name == "OLLAMA_HOST":
            monkeypatch.delenv(name)


def request(prompt: str = PROMPT, **settings: Any) -> InferenceRequest:
    return InferenceRequest(messages=(Message("user", prompt),), model=MODEL, **settings)


def answering(dialect: Dialect, answer: Handler, models: tuple[str, ...] = (MODEL,)) -> Handler:
    """Lists `models` and answers each call with `answer`."""

    async def handler(exchange: Exchange) -> None:
        if exchange.request.path == "/api/show":
            await exchange.answer(200, {"model_info": {"llama.context_length": 8192}, "details": {}})
        elif exchange.request.method == "GET":
            await dialect.wire.models(exchange, models)
        else:
            await answer(exchange)

    return handler


def saying(dialect: Dialect, *pieces: str, read: int = 3) -> Handler:
    async def answer(exchange: Exchange) -> None:
        await dialect.wire.begin(exchange)
        for piece in pieces:
            await dialect.wire.say(exchange, piece)
        await dialect.wire.finish(exchange, read=read, written=len(pieces))

    return answering(dialect, answer)


@asynccontextmanager
async def opened(dialect: Dialect, url: str, **options: Any) -> AsyncIterator[AnyLlm]:
    options.setdefault("models", (MODEL,))
    options.setdefault("key", KEY)
    provider = AnyLlm("here", provider=dialect.provider, url=url, key_env="HERE_KEY", **options)
    try:
        await provider.open()
        yield provider
    finally:
        await provider.close()


async def chunks(provider: AnyLlm, one: InferenceRequest | None = None) -> list[Chunk]:
    async with asyncio.timeout(60), aclosing(provider.stream(one or request())) as stream:
        return [chunk async for chunk in stream]


async def failure(provider: AnyLlm, one: InferenceRequest | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await chunks(provider, one)
    return caught.value


def text(found: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in found if isinstance(chunk, TextChunk))


def reasoning(found: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in found if isinstance(chunk, ReasoningChunk))


def told(error: BaseException) -> str:
    """Everything that a log of it could show."""
    seen = []
    one: BaseException | None = error
    while one is not None:
        seen.append(repr(one) + str(one))
        one = one.__cause__ or one.__context__
    return " ".join(seen)


@each_dialect
async def test_an_answer_streams_and_ends_with_what_it_used(dialect: Dialect) -> None:
    async with serving(saying(dialect, "Grüße", " aus", " 東京")) as server, opened(dialect, server.url) as provider:
        found = await chunks(provider, request(max_tokens=5, temperature=0.5, stop=("x",)))
        assert text(found) == "Grüße aus 東京"
        final = found[-1]
        assert isinstance(final, FinalChunk)
        assert (final.finish_reason, final.model, final.usage.input_tokens) == ("stop", MODEL, 3)
        assert server.posts == 1
        sent = server.requests[-1]
        assert PROMPT in sent.body.decode()
        assert KEY in str(sent.headers)


async def test_what_keeps_the_connection_alive_is_a_sign_of_life() -> None:
    """A gateway says `: ping` while its model thinks; no SDK hands that on."""
    dialect = by_name("openai")

    async def answer(exchange: Exchange) -> None:
        await exchange.begin(200, "text/event-stream")
        for _ in range(3):
            await exchange.chunk(b": ping\n\n")
            heard.clear()
            await asyncio.wait_for(heard.wait(), 60)
        await exchange.end()

    heard = asyncio.Event()
    hear_life(heard.set)
    async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
        with pytest.raises(ProviderError, match="ended its answer in the middle"):
            async for _ in provider.stream(request()):
                pass


@each_dialect
async def test_thinking_is_told_apart_and_is_no_part_of_the_answer(dialect: Dialect) -> None:
    async def answer(exchange: Exchange) -> None:
        await dialect.wire.begin(exchange)
        await dialect.wire.think(exchange, "let me see")
        await dialect.wire.say(exchange, "42")
        await dialect.wire.finish(exchange, read=3, written=2)

    async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
        found = await chunks(provider)
        assert (reasoning(found), text(found)) == ("let me see", "42")


async def test_thinking_that_the_server_leaves_in_the_text_is_told_apart_too() -> None:
    dialect = by_name("ollama")
    async with (
        serving(saying(dialect, "<th", "ink>let me", " see</thi", "nk>\n\n4", "2 <think>")) as server,
        opened(dialect, server.url) as provider,
    ):
        found = await chunks(provider)
        assert (reasoning(found), text(found)) == ("let me see", "42 <think>")


class TestExactlyOneCallAnAttempt:
    """Whatever goes wrong, nothing below asks again: trying again is the coordinator's to decide."""

    @each_dialect
    @pytest.mark.parametrize(
        ("status", "sentence", "retryable"),
        [
            (401, "refused the key (401); check the key in HERE_KEY", False),
            (404, "has no model 'm'", False),
            (307, "answers from another address (307)", False),
            (400, "refused the request (400)", False),
            (429, "is busy or limits its callers (429)", True),
            (500, "failed (500)", True),
            (503, "is busy or limits its callers (503)", True),
        ],
    )
    async def test_on_a_refusal(self, dialect: Dialect, status: int, sentence: str, retryable: bool) -> None:
        async def answer(exchange: Exchange) -> None:
            words = f"you sent {PROMPT} with {KEY}"
            body = {"error": words if dialect.provider == "ollama" else {"message": words, "type": "t", "code": KEY}}
            await exchange.answer(status, body, Retry_After="0", Location=server.url + "/elsewhere")

        async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
            error = await failure(provider)
            assert sentence in str(error)
            assert error.retryable is retryable
            assert server.posts == 1
            assert KEY not in told(error)
            assert PROMPT not in told(error)

    @each_dialect
    async def test_on_a_connection_that_is_dropped_before_an_answer(self, dialect: Dialect) -> None:
        async def answer(exchange: Exchange) -> None:
            return

        async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
            error = await failure(provider)
            assert "broke the connection off" in str(error)
            assert error.retryable
            assert server.posts == 1

    @each_dialect
    async def test_on_a_connection_that_is_dropped_in_the_middle(self, dialect: Dialect) -> None:
        async def answer(exchange: Exchange) -> None:
            await dialect.wire.begin(exchange)
            await dialect.wire.say(exchange, "half")

        async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
            error = await failure(provider)
            assert error.retryable
            assert server.posts == 1
            assert PROMPT not in told(error)

    @each_dialect
    async def test_on_an_answer_that_ends_without_an_end(self, dialect: Dialect) -> None:
        async def answer(exchange: Exchange) -> None:
            await dialect.wire.begin(exchange)
            await dialect.wire.say(exchange, "half")
            await exchange.end()

        async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
            error = await failure(provider)
            assert "in the middle" in str(error)
            assert server.posts == 1

    @each_dialect
    @pytest.mark.parametrize("begun", [False, True], ids=["before the answer", "in the middle"])
    async def test_on_a_stall_which_the_read_timeout_ends(self, dialect: Dialect, begun: bool) -> None:
        async def answer(exchange: Exchange) -> None:
            if begun:
                await dialect.wire.begin(exchange)
                await dialect.wire.say(exchange, "half")
            await exchange.hung_up()

        async with (
            serving(answering(dialect, answer)) as server,
            opened(dialect, server.url, timeout_s=0.3) as provider,
        ):
            error = await failure(provider)
            assert "for 0.3 s" in str(error)
            assert error.retryable
            assert server.posts == 1

    @each_dialect
    async def test_a_second_answer_is_a_second_connection(self, dialect: Dialect) -> None:
        """A server without TLS may close a connection that is kept, and the next call would break."""
        async with serving(saying(dialect, "hi")) as server, opened(dialect, server.url) as provider:
            for _ in range(3):
                assert text(await chunks(provider)) == "hi"
            assert server.posts == 3


class TestLeaving:
    @each_dialect
    async def test_leaving_a_stream_closes_its_connection_at_once(self, dialect: Dialect) -> None:
        gone = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await dialect.wire.begin(exchange)
            await dialect.wire.say(exchange, "a")
            await exchange.hung_up()
            gone.set()

        async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
            stream = provider.stream(request())
            async for chunk in stream:
                if isinstance(chunk, TextChunk):
                    break
            await stream.aclose()
            async with asyncio.timeout(60):
                await gone.wait()

    @each_dialect
    @pytest.mark.parametrize("begun", [False, True], ids=["before the answer", "in the middle"])
    async def test_cancelling_the_reader_closes_its_connection(self, dialect: Dialect, begun: bool) -> None:
        came, gone = asyncio.Event(), asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            if begun:
                await dialect.wire.begin(exchange)
                await dialect.wire.say(exchange, "a")
            came.set()
            await exchange.hung_up()
            gone.set()

        async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
            reader = asyncio.create_task(chunks(provider))
            await came.wait()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            async with asyncio.timeout(60):
                await gone.wait()

    @each_dialect
    async def test_closing_the_provider_ends_its_streams(self, dialect: Dialect) -> None:
        came = asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            await dialect.wire.begin(exchange)
            await dialect.wire.say(exchange, "a")
            came.set()
            await exchange.hung_up()

        async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
            reader = asyncio.create_task(failure(provider))
            await came.wait()
            await provider.close()
            assert "the worker stops" in str(await reader)
            assert "the worker stops" in str(await failure(provider))

    async def test_no_more_streams_than_slots_are_open_at_once(self) -> None:
        dialect = by_name("box")
        open_now, most, both = 0, 0, asyncio.Event()

        async def answer(exchange: Exchange) -> None:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            if open_now == 2:
                both.set()
            await both.wait()
            open_now -= 1
            await dialect.wire.begin(exchange)
            await dialect.wire.finish(exchange, read=1, written=0)

        async with serving(answering(dialect, answer)) as server, opened(dialect, server.url, slots=2) as provider:
            await asyncio.gather(*(chunks(provider) for _ in range(4)))
            assert (most, server.posts) == (2, 4)


class TestOpening:
    @each_dialect
    async def test_the_models_are_those_that_the_server_names(self, dialect: Dialect) -> None:
        handler = answering(dialect, saying(dialect, "hi"), models=("first", "second"))
        async with serving(handler) as server, opened(dialect, server.url, models=()) as provider:
            assert provider.models == ("first", "second")
            assert server.posts == 0

    async def test_a_latest_model_has_its_short_name_too_and_a_file_the_name_of_its_model(self) -> None:
        dialect = by_name("ollama")
        handler = answering(dialect, saying(dialect, "hi"), models=("llama3.2:latest", "qwen3:8b"))
        async with serving(handler) as server, opened(dialect, server.url, models=()) as provider:
            assert provider.models == ("llama3.2", "llama3.2:latest", "qwen3:8b")
        dialect = by_name("box")
        handler = answering(dialect, saying(dialect, "hi"), models=("/home/ann/Qwen3-4B-Q4_K_M.gguf",))
        async with serving(handler) as server, opened(dialect, server.url, models=()) as provider:
            assert provider.models == ("qwen3-4b",)
            final = (await chunks(provider, InferenceRequest(messages=(Message("user", "hi"),), model="qwen3-4b")))[-1]
            assert isinstance(final, FinalChunk)
            assert final.model == "qwen3-4b"
            assert server.requests[-1].json["model"] == "/home/ann/Qwen3-4B-Q4_K_M.gguf"

    async def test_an_ollama_without_models_says_how_to_get_one(self) -> None:
        dialect = by_name("ollama")
        async with serving(answering(dialect, saying(dialect), models=())) as server:
            with pytest.raises(ModelMissing, match=r"has no model: `ollama pull llama3\.2`"):
                async with opened(dialect, server.url, models=()):
                    pass
            with pytest.raises(ModelMissing, match=r"has no model 'qwen3:8b': `ollama pull qwen3:8b`"):
                async with opened(dialect, server.url, models=("qwen3:8b",)):
                    pass

    @each_dialect
    async def test_a_refused_key_is_told_at_once_and_never_shown(self, dialect: Dialect) -> None:
        async def handler(exchange: Exchange) -> None:
            await exchange.answer(401, {"error": {"message": f"bad key {KEY}"}})

        async with serving(handler) as server:
            with pytest.raises(StartError, match=r"here \(127\.0\.0\.1:\d+\) refused the key") as caught:
                async with opened(dialect, server.url, models=()):
                    pass
            assert KEY not in told(caught.value)

    @each_dialect
    async def test_a_server_that_is_not_there_is_told_at_once(self, dialect: Dialect) -> None:
        async with serving(saying(dialect)) as server:
            url = server.url
        with pytest.raises(StartError, match="cannot be reached; is it running"):
            async with opened(dialect, url, models=()):
                pass

    async def test_a_provider_that_any_llm_does_not_know_needs_a_url(self) -> None:
        with pytest.raises(StartError, match="there is no provider 'nonsense'; for an OpenAI-compatible server"):
            await AnyLlm("nonsense").open()

    async def test_a_cloud_without_a_key_says_which_variable_holds_it(self) -> None:
        with pytest.raises(StartError, match="set OPENAI_API_KEY"):
            await AnyLlm("openai").open()

    async def test_a_key_from_the_environment_goes_to_no_other_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OLLAMA_API_KEY"):
            monkeypatch.setenv(name, KEY)
        for dialect in DIALECTS:
            async with serving(saying(dialect, "hi")) as server, opened(dialect, server.url, key=None) as provider:
                await chunks(provider)
                assert KEY not in str(server.requests)


class TestOllamasContext:
    async def asked(self, provider: AnyLlm, server: HttpServer, one: InferenceRequest) -> int:
        await chunks(provider, one)
        return int(server.requests[-1].json["options"]["num_ctx"])

    async def test_it_is_what_the_prompt_and_the_answer_need_and_never_shrinks(self) -> None:
        dialect = by_name("ollama")

        async def answer(exchange: Exchange) -> None:
            await dialect.wire.begin(exchange)
            words = 2 * len(exchange.request.json["messages"][0]["content"].split())
            await dialect.wire.finish(exchange, read=words, written=0)

        async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
            long = " ".join(f"word{number}" for number in range(1800))
            assert await self.asked(provider, server, request("hi", max_tokens=100)) == 4096
            assert await self.asked(provider, server, request(long, max_tokens=100)) == 8192
            assert await self.asked(provider, server, request("hi", max_tokens=100)) == 8192
            assert await self.asked(provider, server, request("hi", max_tokens=100_000)) == 8192  # the model's own

    async def test_a_prompt_that_cannot_fit_is_not_sent(self) -> None:
        dialect = by_name("ollama")
        async with serving(saying(dialect)) as server, opened(dialect, server.url) as provider:
            error = await failure(provider, request(" ".join(f"word{number}" for number in range(9000))))
            assert isinstance(error, InputTooLarge)
            assert server.posts == 0

    @pytest.mark.parametrize("counted", [2048, 2050, 4096], ids=["half", "half and two", "all of the window"])
    async def test_a_prompt_that_was_cut_to_the_window_fails_the_attempt(self, counted: int) -> None:
        dialect = by_name("ollama")
        long = " ".join(f"word{number}" for number in range(2500))
        async with (
            serving(saying(dialect, "sure", read=counted)) as server,
            opened(dialect, server.url, context_tokens=4096) as provider,
        ):
            error = await failure(provider, request(long))
            assert isinstance(error, ContextTruncated)
            assert (error.code, error.retryable) == ("context_truncated", False)
            assert f"read only {counted} tokens" in str(error)

    async def test_a_conversation_whose_beginning_was_dropped_fails_the_attempt(self) -> None:
        dialect = by_name("ollama")
        story = " ".join(f"word{number}" for number in range(2000))
        both = InferenceRequest(messages=(Message("user", story), Message("user", "and then?")), model=MODEL)
        async with serving(saying(dialect, "well", read=20)) as server, opened(dialect, server.url) as provider:
            assert isinstance(await failure(provider, both), ContextTruncated)

    async def test_a_count_that_is_missing_proves_nothing(self) -> None:
        dialect = by_name("ollama")
        long = " ".join(f"word{number}" for number in range(2000))
        async with serving(saying(dialect, "well", read=0)) as server, opened(dialect, server.url) as provider:
            assert text(await chunks(provider, request(long))) == "well"


@pytest.mark.parametrize(
    ("provider", "status", "body"),
    [
        ("box", 400, {"error": {"message": "x", "type": "exceed_context_size_error", "code": 400}}),
        ("openai", 400, {"error": {"message": "x", "code": "context_length_exceeded"}}),
        ("anthropic", 400, {"type": "error", "error": {"message": "prompt is too long: 2 tokens > 1 maximum"}}),
        ("ollama", 400, {"error": "the input exceeds the available context size (4096 tokens)"}),
        ("box", 413, {"error": "no"}),
    ],
)
async def test_a_prompt_that_the_server_finds_too_long_is_input_too_large(
    provider: str, status: int, body: Any
) -> None:
    dialect = by_name(provider)

    async def answer(exchange: Exchange) -> None:
        await exchange.answer(status, body)

    async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as one:
        error = await failure(one)
        assert isinstance(error, InputTooLarge)
        assert not error.retryable


async def test_an_account_without_credit_is_not_asked_again() -> None:
    dialect = by_name("openai")

    async def answer(exchange: Exchange) -> None:
        await exchange.answer(429, {"error": {"message": "x", "code": "insufficient_quota"}})

    async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
        error = await failure(provider)
        assert "no credit left" in str(error)
        assert not error.retryable


async def test_an_error_inside_a_stream_fails_the_attempt_in_our_words() -> None:
    for dialect in DIALECTS:

        async def answer(exchange: Exchange, dialect: Dialect = dialect) -> None:
            await dialect.wire.begin(exchange)
            if dialect.provider == "ollama":
                await exchange.line({"error": f"broken at {PROMPT}"})
            else:
                body = {"type": "error", "error": {"type": "overloaded_error", "message": f"broken at {PROMPT}"}}
                await exchange.event(body, "error")
            await exchange.end()

        async with serving(answering(dialect, answer)) as server, opened(dialect, server.url) as provider:
            error = await failure(provider)
            assert PROMPT not in told(error), dialect.name
            assert server.posts == 1


def test_making_a_provider_imports_no_any_llm() -> None:
    code = """
import sys
from cavvy.providers.build import build_provider
from cavvy.providers.settings import ProviderTable
build_provider("ollama", ProviderTable())
assert not {"any_llm", "openai", "ollama", "anthropic"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
