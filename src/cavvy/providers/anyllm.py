"""Any provider that any-llm speaks to: Ollama, OpenAI-compatible servers, OpenAI, Anthropic and more.

One instance is kept as long as the provider is open: a fresh one costs 30 ms a call. An attempt is exactly one call for
an answer, and leaving its stream closes its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cavvy import defaults
from cavvy.core.writes import Usage
from cavvy.errors import ModelMissing, ProviderError, StartError
from cavvy.providers.anyllm_client import OLLAMA, Call, Instance, Target, make
from cavvy.providers.anyllm_errors import Place, explain
from cavvy.providers.base import (
    Chunk,
    FinalChunk,
    InferenceRequest,
    ProgressChunk,
    ReasoningChunk,
    StartChunk,
    TextChunk,
    life_heard,
)
from cavvy.providers.llamacpp import model_name
from cavvy.providers.ollama_context import OllamaContext
from cavvy.providers.thinking import Piece, ThinkingSplitter

__all__ = ["AnyLlm"]


class _Step(NamedTuple):
    """What one chunk of any-llm's says."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None


class AnyLlm:
    """Serves the models of one (provider, URL, key)."""

    job_types: tuple[str, ...] = ("LLM_INFER",)

    def __init__(
        self,
        name: str,
        *,
        provider: str | None = None,
        url: str | None = None,
        key: str | None = None,
        key_env: str | None = None,
        models: tuple[str, ...] = (),
        slots: int | None = None,
        timeout_s: float = defaults.PROVIDER_READ_S,
        context_tokens: int | None = None,
        rank: Callable[[tuple[str, ...]], tuple[str, ...]] | None = None,
    ) -> None:
        """`provider` is any-llm's name for it; one that any-llm does not know is OpenAI-compatible and has a `url`.

        Without `models` the server is asked, and `rank(models)` puts what it names in order. `key_env` is
        only told to people. `context_tokens` bounds what Ollama is asked for.
        """
        self._name = name
        self._target = Target(provider or name, url, key, timeout_s)
        self._configured = models
        self._context_tokens = context_tokens
        self._rank = rank
        self._ids = {model: model for model in models}
        self._instance: Instance | None = None
        self._context: OllamaContext | None = None
        self._closed = False
        self._place = Place(_label(name, url), key_env, timeout_s, self._target.provider == OLLAMA)
        near = defaults.PROVIDER_CLOUD_SLOTS if self._target.encrypted else defaults.PROVIDER_LOCAL_SLOTS
        self.slots = slots or near
        self._turns = asyncio.Semaphore(self.slots)

    @property
    def name(self) -> str:
        return self._name

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self._ids)

    async def open(self) -> None:
        """Learns which models there are. Raises StartError when the server is not there or refuses the key."""
        self._instance = await self._make()
        if self._place.ollama:
            self._context = OllamaContext(self._instance.llm.client, self._context_tokens)
        if not self._configured or self._place.ollama:
            self._choose(self._offered(await self._listed(self._instance)))
        if self._context is not None:
            await self._context.learn(tuple(self._ids.values()))

    async def close(self) -> None:
        self._closed = True
        if self._instance is not None and self._instance.http is not None:
            await self._instance.http.aclose()

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        async with self._turns:
            if self._closed or self._instance is None:
                raise _stopped()
            yield StartChunk()
            async with contextlib.aclosing(self._answer(self._instance, request)) as chunks:
                async for chunk in chunks:
                    yield chunk

    # -- one call

    async def _answer(self, instance: Instance, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        options = self._options(instance, request)
        splitter = ThinkingSplitter()
        usage = Usage(input_tokens=0, output_tokens=0)
        reason: str | None = None
        served = request.model
        async with contextlib.aclosing(self._steps(instance, request, options)) as steps:
            async for step in steps:
                usage, reason = step.usage or usage, step.finish_reason or reason
                served = _shown(step.model) or served
                for chunk in _chunks(step, splitter) or (ProgressChunk(usage.input_tokens),):
                    yield chunk
        for piece in splitter.rest():
            yield _chunk(piece)
        if reason is None:
            raise ProviderError(f"{self._place.label} ended its answer in the middle")
        if self._context is not None:
            self._context.check(request, usage.input_tokens, options["num_ctx"])
        yield FinalChunk(finish_reason=reason, usage=usage, model=served)

    async def _steps(
        self, instance: Instance, request: InferenceRequest, options: Mapping[str, Any]
    ) -> AsyncGenerator[_Step, None]:
        """What the provider says, step by step. However it ends, the connection is closed then."""
        model = self._ids.get(request.model, request.model)
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        call = Call(life_heard())
        stream: AsyncIterator[Any] | None = None
        failure: ProviderError | None = None
        try:
            with call.opening():
                stream = aiter(await instance.llm.acompletion(model, messages, stream=True, **options))
            while True:
                with call.opening():
                    chunk = await anext(stream, None)
                if chunk is None:
                    break
                yield _step(chunk)
        except Exception as error:  # noqa: BLE001 - any-llm and the SDKs below it raise what they like
            failure = self._explain(error, request.model, answered=call.answered)
        finally:
            await call.close()
            await _close(stream)
        if failure is not None:  # not inside the handler, which would chain what the provider said
            raise failure

    def _options(self, instance: Instance, request: InferenceRequest) -> dict[str, Any]:
        options: dict[str, Any] = {"max_tokens": request.max_tokens, "temperature": request.temperature}
        if request.stop:
            options["stop"] = list(request.stop)
        if instance.speaks_openai:
            options["stream_options"] = {"include_usage": True}
        if self._context is not None:
            options["num_ctx"] = self._context.window(request, self._ids.get(request.model, request.model))
        return {name: value for name, value in options.items() if value is not None}

    def _explain(self, error: Exception, model: str, *, answered: bool) -> ProviderError:
        return _stopped() if self._closed else explain(error, self._place, model, answered=answered)

    # -- opening

    async def _make(self) -> Instance:
        try:
            return await asyncio.to_thread(make, self._target)
        except Exception as error:  # noqa: BLE001 - as above
            why = _why_not(error, self._target.provider)
        raise StartError(f"[providers.{self._name}] cannot be used: {why}.")

    async def _listed(self, instance: Instance) -> list[str]:
        try:
            return [str(model.id) for model in await instance.llm.alist_models()]
        except NotImplementedError:
            failure = ProviderError(f"{self._place.label} cannot list its models; name them with `models`")
        except Exception as error:  # noqa: BLE001 - as above
            failure = self._explain(error, "", answered=False)
        raise StartError(f"{failure}.")

    def _choose(self, offered: dict[str, str]) -> None:
        """Serves what is configured, all of it if nothing is. Raises ModelMissing."""
        for model in self._configured:
            if model not in offered:
                raise ModelMissing(f"{self._place.label} has no model {model!r}{self._place.pull(model)}.")
        if not offered:
            hint = self._place.pull("llama3.2") or "; name them with `models`"
            raise ModelMissing(f"{self._place.label} has no model{hint}.")
        self._ids = {model: offered[model] for model in self._configured or offered}

    def _offered(self, listed: list[str]) -> dict[str, str]:
        """By the name under which a job may ask for it, the name by which the server knows it."""
        ids: dict[str, str] = {}
        for model in listed:
            for name in _names(model):
                if 0 < len(name) <= defaults.MAX_NAME_CHARS:
                    ids.setdefault(name, model)
        ranked = self._rank(tuple(ids)) if self._rank is not None else tuple(ids)
        return {name: ids[name] for name in ranked[: defaults.MAX_MODELS]}


def _chunks(step: _Step, splitter: ThinkingSplitter) -> list[Chunk]:
    chunks: list[Chunk] = [ReasoningChunk(step.reasoning, 1)] if step.reasoning else []
    return [*chunks, *map(_chunk, splitter.feed(step.text) if step.text else ())]


def _chunk(piece: Piece) -> Chunk:
    """Servers send a token a piece, or a few: counted as one, it is the least that an attempt cut short has used."""
    return ReasoningChunk(piece.text, 1) if piece.reasoning else TextChunk(piece.text, 1)


def _step(chunk: Any) -> _Step:
    usage = chunk.usage and Usage(
        input_tokens=chunk.usage.prompt_tokens or 0, output_tokens=chunk.usage.completion_tokens or 0
    )
    if not chunk.choices:
        return _Step(usage=usage, model=chunk.model)
    choice = chunk.choices[0]
    reasoning = choice.delta.reasoning
    return _Step(
        text=choice.delta.content or "",
        reasoning=(reasoning.content or "") if reasoning is not None else "",
        finish_reason=choice.finish_reason,
        usage=usage,
        model=chunk.model,
    )


async def _close(stream: Any) -> None:
    if stream is not None:
        with contextlib.suppress(Exception):
            await stream.aclose()


def _stopped() -> ProviderError:
    return ProviderError("the worker stops and has closed its provider")


def _shown(served: str | None) -> str | None:
    """The name to show for what the server says it served."""
    return _names(served)[0] if served and len(served) <= defaults.MAX_NAME_CHARS else None


def _names(model: str) -> tuple[str, ...]:
    """`llama3.2:latest` is also called `llama3.2`, as Ollama has it; a GGUF file's path is called like the file."""
    if model.lower().endswith(".gguf"):
        return (model_name(Path(model.replace("\\", "/"))),)
    return (model.removesuffix(":latest"), model) if model.endswith(":latest") else (model,)


def _label(name: str, url: str | None) -> str:
    """How messages call it. Of the URL only host and port: a user name or a query could be a secret."""
    if url is None:
        return name
    parts = urlsplit(url)
    host = parts.hostname or "?"
    return f"{name} ({host}:{parts.port})" if parts.port else f"{name} ({host})"


def _why_not(error: Exception, provider: str) -> str:
    match type(error).__name__:
        case "UnsupportedProviderError":
            return f"there is no provider {provider!r}; for an OpenAI-compatible server give its url"
        case "MissingApiKeyError":
            return f"its key is missing; set {getattr(error, 'env_var_name', 'its variable')} or api_key_env"
        case "ImportError" | "ModuleNotFoundError":
            return f"install what it needs: `pip install 'any-llm-sdk[{provider}]'`"
        case other:
            return other
