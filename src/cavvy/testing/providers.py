"""Providers that do as told, for tests and benchmarks: no model, real everything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from cavvy.core.writes import Usage
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, TextChunk

__all__ = ["ScriptedProvider"]


class ScriptedProvider:
    """Answers with `chunks`, or with what `answer(request)` returns; `gate`, while given and unset, holds it back.

    `calls` counts the streams begun, `stopped` those left early; `begun` is set at each start.
    """

    name = "scripted"
    job_types = ("LLM_INFER",)
    slots = 1024

    def __init__(
        self,
        chunks: Sequence[str] = ("hello",),
        *,
        models: tuple[str, ...] = ("m",),
        answer: Callable[[InferenceRequest], Sequence[str]] | None = None,
        gate: asyncio.Event | None = None,
        error: Exception | None = None,
    ) -> None:
        self.models = models
        self.calls = 0
        self.stopped = 0
        self.begun = asyncio.Event()
        self.gate = gate
        self.error = error
        self._answer = answer or (lambda _: chunks)

    async def open(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to end."""

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        self.calls += 1
        self.begun.set()
        whole = False
        try:
            pieces = self._answer(request)
            for piece in pieces:
                yield TextChunk(piece, 1)
            if self.gate is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error
            whole = True
            yield FinalChunk(
                finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=len(pieces)), model=self.models[0]
            )
        finally:
            self.stopped += not whole
