from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from cavvy.core.canonical import canonical, sha256_hex
from cavvy.core.job import JobType
from cavvy.core.reading import ResultForm, read
from cavvy.core.receipt import Expected, check, check_signature, input_hash, open_envelope
from cavvy.core.results import Result
from cavvy.core.worker_messages import Assignment, AttemptFailed, AttemptFinished, AttemptRefused, AttemptStopped
from cavvy.core.writes import Usage
from cavvy.errors import ProviderError
from cavvy.providers.base import (
    Chunk,
    FinalChunk,
    InferenceRequest,
    Message,
    ProgressChunk,
    ReasoningChunk,
    StartChunk,
    TextChunk,
    life_heard,
)
from cavvy.worker.identity import Identity
from cavvy.worker.runner import Ended, Runner
from tests.unit.worker.support import MODEL, FakeProvider

IDENTITY = Identity.from_seed(bytes([7] * 32))
COORDINATOR = "ab" * 32
STARTED_S = 1_770_000_000.25
SALT = "5a" * 32


def assignment(given: Any, *, job_type: str = "LLM_INFER", **params: Any) -> Assignment:
    return Assignment(
        job_id="job-1",
        epoch=4,
        job_type=job_type,
        privacy_class="PUBLIC",
        salt=SALT,
        input=given if isinstance(given, bytes) else msgspec.json.encode(given),
        params=msgspec.json.encode(params),
    )


class Bench:
    def __init__(self, *providers: FakeProvider) -> None:
        self.provider = providers[0] if providers else FakeProvider()
        self.chunks: list[str] = []
        self.runner = Runner(providers or (self.provider,), IDENTITY, COORDINATOR, lambda: STARTED_S)

    async def run(
        self, given: Any, *, max_output_bytes: int = 1000, job_type: str = "LLM_INFER", **params: Any
    ) -> Ended:
        one = assignment(given, job_type=job_type, **params)
        return await self.runner.run(one, self.chunks.append, max_output_bytes)

    async def finish(self, given: Any, **params: Any) -> AttemptFinished:
        ended = await self.run(given, **params)
        assert isinstance(ended, AttemptFinished), ended
        return ended

    async def fail(self, given: Any, **options: Any) -> AttemptFailed:
        ended = await self.run(given, **options)
        assert isinstance(ended, AttemptFailed), ended
        return ended


async def test_the_result_is_exactly_what_was_streamed() -> None:
    bench = Bench()
    finished = await bench.finish({"prompt": "Grüße aus 東京"})
    assert msgspec.json.decode(finished.result, type=Result) == Result(
        text="".join(bench.chunks), model=MODEL, finish_reason="stop"
    )
    assert finished.result == canonical(msgspec.json.decode(finished.result))


async def test_the_receipt_passes_the_coordinators_check() -> None:
    one = assignment({"prompt": "a b"}, max_tokens=5)
    bench = Bench()
    finished = await bench.runner.run(one, bench.chunks.append, 1000)
    assert isinstance(finished, AttemptFinished)
    opened = open_envelope(finished.receipt)
    check_signature(opened)
    expected = Expected(
        coordinator=COORDINATOR,
        job_id="job-1",
        attempt=4,
        worker=IDENTITY.key,
        input_hash=input_hash(bytes.fromhex(SALT), one.input),
        params_hash=sha256_hex(one.params),
        privacy_class="PUBLIC",
    )
    check(opened, read(finished.result, ResultForm(JobType.LLM_INFER)), expected)
    assert opened.payload.usage == Usage(input_tokens=3, output_tokens=2)
    assert opened.payload.started_at == opened.payload.completed_at == "2026-02-02T02:40:00.250Z"


async def test_a_prompt_is_one_message_of_the_user() -> None:
    bench = Bench()
    await bench.finish({"prompt": "hi"}, max_tokens=3, temperature=0.5, stop=["x"])
    (request,) = bench.provider.requests
    assert request.messages == (Message("user", "hi"),)
    assert (request.model, request.max_tokens, request.temperature, request.stop) == (MODEL, 3, 0.5, ("x",))


async def test_messages_keep_their_roles_and_text_parts_are_joined() -> None:
    bench = Bench()
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = [
        {"role": "developer", "content": "be short"},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": parts, "name": "ann"},
    ]
    await bench.finish({"messages": messages})
    assert bench.provider.requests[0].messages == (
        Message("system", "be short"),
        Message("assistant", "ok"),
        Message("user", "one\ntwo"),
    )


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"{",
        b'{"prompt": "\xff"}',
        {},
        {"prompt": "a", "messages": [{"role": "user", "content": "b"}]},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "b"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"prompt": "a", "context": "something this worker would ignore"},
        {"prompt": 7},
    ],
)
async def test_an_input_that_cannot_be_run_faithfully_is_refused_for_good(given: Any) -> None:
    bench = Bench()
    failed = await bench.fail(given)
    assert (failed.code, failed.retryable) == ("worker_error", False)
    assert bench.provider.requests == []


async def test_a_job_with_unknown_settings_is_refused_for_good() -> None:
    assert not (await Bench().fail({"prompt": "a"}, reasoning="high")).retryable


async def test_the_model_asked_for_picks_the_provider() -> None:
    first, second = FakeProvider(model="m1"), FakeProvider(model="m2")
    bench = Bench(first, second)
    await bench.finish({"prompt": "a"}, model="m2")
    await bench.finish({"prompt": "b"})
    assert [len(provider.requests) for provider in (first, second)] == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"job_type": "TASK"}, "this worker does not run TASK jobs"),
        ({"model": "m3"}, "this worker does not serve model 'm3'"),
    ],
)
async def test_what_another_worker_may_be_able_to_run_is_given_back(options: dict[str, Any], message: str) -> None:
    refused = await Bench().run({"prompt": "a"}, **options)
    assert isinstance(refused, AttemptRefused)
    assert refused.message == message


async def test_an_answer_beyond_the_limit_fails_and_stops_the_provider() -> None:
    bench = Bench()
    failed = await bench.fail({"prompt": "éé éé éé"}, max_output_bytes=11)
    assert (failed.code, failed.retryable) == ("output_too_large", False)
    assert bench.chunks == ["éé", "éé"]
    assert bench.provider.idle == 1
    assert (await bench.run({"prompt": "éé éé éé"}, max_output_bytes=12)).ref == failed.ref


async def test_what_a_provider_reports_fails_the_attempt_with_the_usage_so_far() -> None:
    failed = await Bench().fail({"prompt": "fail now"})
    assert (failed.code, failed.message, failed.retryable) == ("worker_error", "out of memory", True)
    assert failed.usage == Usage(input_tokens=0, output_tokens=2)


async def test_a_bug_in_a_provider_fails_the_attempt_and_names_the_exception() -> None:
    assert (await Bench().fail({"prompt": "explode"})).message == "the provider failed with ZeroDivisionError"


async def test_a_stream_that_breaks_off_is_never_a_result() -> None:
    assert (await Bench().fail({"prompt": "break here"})).message == "fake ended its stream in the middle of the answer"


async def test_text_that_is_no_unicode_is_repaired_the_same_way_everywhere() -> None:
    class Broken(FakeProvider):
        async def stream(self, request: Any) -> Any:
            async for chunk in super().stream(request):
                yield TextChunk("a\ud800b") if isinstance(chunk, TextChunk) else chunk

    bench = Bench(Broken())
    finished = await bench.finish({"prompt": "x"})
    assert bench.chunks == ["a?b"]
    assert msgspec.json.decode(finished.result, type=Result).text == "a?b"


async def test_a_cancelled_attempt_ends_stopped_once_its_provider_is_idle() -> None:
    bench = Bench()
    task = asyncio.create_task(bench.run({"prompt": "hold on"}))
    await bench.provider.holding.wait()
    task.cancel()
    ended = await task
    assert isinstance(ended, AttemptStopped)
    assert ended.usage == Usage(input_tokens=0, output_tokens=1)
    assert bench.provider.idle == 1


class Thinker(FakeProvider):
    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        yield ReasoningChunk("hm", 2)
        yield TextChunk("42", 1)
        raise ProviderError("broke", retryable=False)


async def test_what_a_model_thinks_is_told_apart_and_counted() -> None:
    thoughts: list[str] = []
    bench = Bench(Thinker())
    ended = await bench.runner.run(assignment({"prompt": "a"}), bench.chunks.append, 1000, thoughts.append)
    assert isinstance(ended, AttemptFailed)
    assert (bench.chunks, thoughts) == (["42"], ["hm"])
    assert ended.usage == Usage(input_tokens=0, output_tokens=3)
    assert (ended.message, ended.retryable) == ("broke", False)


class Reading(FakeProvider):
    """Waits for its turn, reads the prompt for a while, hears something on the wire, then answers."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        self._said.append("waits")
        yield StartChunk()
        self._said.append("reads")
        yield ProgressChunk(7)
        life_heard()()
        yield TextChunk("ok", 1)
        yield FinalChunk(finish_reason="stop", usage=Usage(input_tokens=7, output_tokens=1), model=MODEL)


async def test_the_start_is_told_when_the_provider_begins_and_life_when_there_is_no_text() -> None:
    said: list[str] = []
    bench = Bench(Reading(said))
    await bench.runner.run(
        assignment({"prompt": "a"}),
        said.append,
        1000,
        started=lambda: said.append("started"),
        alive=lambda: said.append("alive"),
    )
    assert said == ["waits", "started", "reads", "alive", "alive", "ok"]
