"""Runs one attempt on a provider: from the assignment's bytes to a signed result, or to the reason for none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Literal, get_args

import msgspec

from cavvy import defaults
from cavvy.core.canonical import canonical_flat, sha256_hex
from cavvy.core.job import AttemptRef, JobType
from cavvy.core.receipt import Params, ReceiptPayload, input_hash, seal
from cavvy.core.results import Result
from cavvy.core.worker_messages import (
    Assignment,
    AttemptFailed,
    AttemptFinished,
    AttemptRefused,
    AttemptStopped,
    FailedCode,
)
from cavvy.core.writes import Usage
from cavvy.errors import OutputTooLarge, ProviderError
from cavvy.logs import without_keys
from cavvy.providers.base import (
    FinalChunk,
    InferenceRequest,
    Message,
    ProgressChunk,
    Provider,
    ReasoningChunk,
    TaskProvider,
    TaskRequest,
    TextChunk,
    hear_life,
)
from cavvy.worker.identity import Identity

__all__ = ["Ended", "Runner"]

Ended = AttemptFinished | AttemptFailed | AttemptRefused | AttemptStopped

_CODES: dict[str, FailedCode] = {code: code for code in get_args(FailedCode)}


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class _ChatMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]
    name: str | None = None


class _Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    prompt: str | None = None
    messages: list[_ChatMessage] | None = None


class _TaskInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    task_type: str
    input: str


_decode_task = msgspec.json.Decoder(_TaskInput).decode
_decode_input = msgspec.json.Decoder(_Input).decode
_decode_params = msgspec.json.Decoder(Params).decode


class _Unusable(Exception):
    """The assignment cannot be run, however often it is tried."""


class _Unsupported(Exception):
    """This worker cannot run it, another one may."""


class _Answer:
    """What has come of the answer so far. Its text is handed on chunk by chunk and kept whole."""

    __slots__ = (
        *("_bytes", "_emit", "_max_bytes", "_parts", "_think"),
        *("alive", "final", "input_tokens", "output_tokens", "started"),
    )

    def __init__(self, emit: Callable[[str], None], think: Callable[[str], None] | None, max_bytes: int) -> None:
        self._emit = emit
        self._think = think
        self._parts: list[str] = []
        self._bytes = 0
        self._max_bytes = max_bytes
        self.started = self.alive = _nothing
        self.final: FinalChunk | None = None
        self.input_tokens = 0
        self.output_tokens = 0

    def add(self, chunk: TextChunk) -> None:
        text = chunk.text
        if text.isascii():
            self._bytes += len(text)
        else:
            encoded = text.encode("utf-8", "replace")
            text = encoded.decode()
            self._bytes += len(encoded)
        if self._bytes > self._max_bytes:
            raise OutputTooLarge(f"the answer is longer than {self._max_bytes} bytes; ask for less with max_tokens")
        self.output_tokens += chunk.tokens
        self._parts.append(text)
        self._emit(text)

    def check_size(self, whole: int) -> None:
        """Raises OutputTooLarge for a result that comes whole and has too many bytes."""
        if whole > self._max_bytes:
            raise OutputTooLarge(f"the result has {whole} bytes, and may have {self._max_bytes}; give a shorter input")

    def think(self, chunk: ReasoningChunk) -> None:
        self.output_tokens += chunk.tokens
        if self._think is not None:
            self._think(chunk.text.encode("utf-8", "replace").decode())

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def usage(self) -> Usage | None:
        """What was used so far; None if the provider has not said anything."""
        if self.final is not None:
            return self.final.usage
        if not self.input_tokens and not self.output_tokens:
            return None
        return Usage(input_tokens=self.input_tokens, output_tokens=self.output_tokens)


def _nothing() -> None:
    pass


class Runner:
    """Runs attempts. `wall_s` is the Unix time, for the receipts' claims. Without `tasks` it runs no TASK jobs."""

    def __init__(
        self,
        providers: Sequence[Provider],
        identity: Identity,
        coordinator_key: str,
        wall_s: Callable[[], float],
        tasks: TaskProvider | None = None,
    ) -> None:
        self._identity = identity
        self._coordinator_key = coordinator_key
        self._wall_s = wall_s
        self._tasks = tasks
        self._default = providers[0] if providers else None
        self._by_model = {model: provider for provider in reversed(providers) for model in provider.models}

    async def run(
        self,
        assignment: Assignment,
        emit: Callable[[str], None],
        max_output_bytes: int,
        think: Callable[[str], None] | None = None,
        *,
        started: Callable[[], None] | None = None,
        alive: Callable[[], None] | None = None,
    ) -> Ended:
        """Never raises: whatever happens is the attempt's end. Cancelling the task that runs this aborts the attempt.

        `emit` is called with each piece of text, whose concatenation is exactly the result's text, and `think` with
        each piece of what the model thinks, which is no part of it. `started` is called when the provider begins with
        it, and `alive` for each sign of life without text.
        """
        answer = _Answer(emit, think, max_output_bytes)
        answer.started, answer.alive = started or _nothing, alive or _nothing
        try:
            hear_life(answer.alive)
            if assignment.job_type == JobType.TASK and self._tasks is not None:
                return await self._run_task(self._tasks, assignment, answer)
            return await self._run(assignment, answer)
        except asyncio.CancelledError:
            return AttemptStopped(ref=assignment.ref, usage=answer.usage)
        except _Unsupported as error:
            return AttemptRefused(ref=assignment.ref, message=str(error))
        except _Unusable as error:
            return _failed(assignment.ref, "worker_error", str(error), answer, retryable=False)
        except ProviderError as error:
            code = _CODES.get(error.code, "worker_error")
            return _failed(assignment.ref, code, str(error), answer, retryable=error.retryable)
        except Exception as error:  # noqa: BLE001 - a provider's bug must not end the worker
            message = f"the provider failed with {type(error).__name__}"  # its text could hold the prompt or a key
            return _failed(assignment.ref, "worker_error", message, answer, retryable=True)

    async def _run(self, assignment: Assignment, answer: _Answer) -> AttemptFinished:
        request, provider = self._request(assignment)
        started_at: str | None = None
        async with aclosing(provider.stream(request)) as chunks:
            async for chunk in chunks:
                if started_at is None:
                    started_at = self._now()
                    answer.started()
                if isinstance(chunk, TextChunk):
                    answer.add(chunk)
                elif isinstance(chunk, FinalChunk):
                    answer.final = chunk
                    break
                elif isinstance(chunk, ReasoningChunk):
                    answer.think(chunk)
                elif isinstance(chunk, ProgressChunk):
                    answer.input_tokens = chunk.input_tokens or answer.input_tokens
                    answer.alive()
        if answer.final is None or started_at is None:
            raise ProviderError(f"{provider.name} ended its stream in the middle of the answer")
        result = Result(text=answer.text, model=answer.final.model, finish_reason=answer.final.finish_reason)
        usage = answer.final.usage
        return self._finished(assignment, canonical_flat(result), answer.final.model, usage, started_at)

    async def _run_task(self, tasks: TaskProvider, assignment: Assignment, answer: _Answer) -> AttemptFinished:
        """Its result is sent whole: there is no text of it before."""
        try:
            given = _decode_task(assignment.input)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Unusable(f"this worker cannot read the task: {error}") from error
        started_at = self._now()
        answer.started()
        done = await tasks.run_task(TaskRequest(task_type=given.task_type, input=given.input))
        answer.check_size(len(done.result))
        return self._finished(assignment, done.result, done.model, done.usage, started_at)

    def _request(self, assignment: Assignment) -> tuple[InferenceRequest, Provider]:
        if assignment.job_type != JobType.LLM_INFER or self._default is None:
            raise _Unsupported(f"this worker does not run {assignment.job_type} jobs")
        try:
            params = _decode_params(assignment.params)
            given = _decode_input(assignment.input)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Unusable(f"this worker cannot read the job: {error}") from error
        provider = self._default if params.model is None else self._by_model.get(params.model)
        if provider is None:
            raise _Unsupported(f"this worker does not serve model {params.model!r}")
        request = InferenceRequest(
            messages=_messages(given),
            model=params.model or provider.models[0],
            max_tokens=params.max_tokens,
            temperature=params.temperature,
            stop=tuple(params.stop or ()),
        )
        return request, provider

    def _finished(
        self, assignment: Assignment, result: bytes, model: str, usage: Usage, started_at: str
    ) -> AttemptFinished:
        payload = ReceiptPayload(
            v=2,
            coordinator=self._coordinator_key,
            job_id=assignment.job_id,
            provider_pubkey=self._identity.key,
            attempt=assignment.epoch,
            status="completed",
            input_hash=input_hash(bytes.fromhex(assignment.salt), assignment.input),
            output_hash=sha256_hex(result),
            params_hash=sha256_hex(assignment.params),
            model=model,
            privacy_class=assignment.privacy_class,
            started_at=started_at,
            completed_at=self._now(),
            usage=usage,
            payment_ref=assignment.payment_ref,
        )
        return AttemptFinished(ref=assignment.ref, result=result, receipt=seal(payload, self._identity.seed))

    def _now(self) -> str:
        stamp = datetime.fromtimestamp(self._wall_s(), UTC)
        return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _messages(given: _Input) -> tuple[Message, ...]:
    if (given.prompt is None) == (given.messages is None):
        raise _Unusable("the job has neither a prompt nor messages, or both")
    if given.messages is None:
        return (Message("user", given.prompt or ""),)
    if not given.messages:
        raise _Unusable("the job's messages are empty")
    return tuple(_message(one) for one in given.messages)


def _message(given: _ChatMessage) -> Message:
    content = given.content
    text = content if isinstance(content, str) else "\n".join(part.text for part in content)
    return Message("system" if given.role == "developer" else given.role, text)


def _failed(ref: AttemptRef, code: FailedCode, message: str, answer: _Answer, *, retryable: bool) -> AttemptFailed:
    text = without_keys(message)[: defaults.MAX_FAILURE_CHARS].encode("utf-8", "replace").decode()
    return AttemptFailed(ref=ref, code=code, message=text, retryable=retryable, usage=answer.usage)
