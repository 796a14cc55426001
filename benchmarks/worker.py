"""One worker process for the benchmarks: the real agent with a provider that costs nothing, or with the real model."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import structlog
import uvloop

from cavvy import defaults
from cavvy.core.writes import Usage
from cavvy.providers.anyllm import AnyLlm
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, Provider, TextChunk
from cavvy.providers.command import Command
from cavvy.providers.llamacpp import LlamaCpp, find_weights
from cavvy.worker.agent import Worker
from cavvy.worker.identity import WorkerHome, parse_join

KINDS = ["instant", "second", "endless", "numbered", "llamacpp", "llamacpp-long", "anyllm", "stubborn"]

#: Notes its process id in a file, and cannot be told to end.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1] + ".new", "w") as note:
    note.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
while True:
    time.sleep(60)
"""


class InstantProvider:
    """Answers at once."""

    name, models, job_types, slots = "instant", ("instant",), ("LLM_INFER",), 1024

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        yield TextChunk("ok", 1)
        yield FinalChunk(finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=1), model="instant")


class NumberedProvider(InstantProvider):
    """Streams chunks that carry their number: `<n>;`. The prompt says how many, and how many a second: `COUNT RATE`."""

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        count, rate = (int(word) for word in request.messages[-1].content.split())
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while sent < count:
            due = min(count, int((loop.time() - began) * rate) + 1)
            for number in range(sent, due):
                yield TextChunk(f"{number};", 1)
            sent = due
            await asyncio.sleep(0.002)
        yield FinalChunk(finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=count), model="instant")


class SecondProvider(InstantProvider):
    """Takes a second."""

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        await asyncio.sleep(1.0)
        async for chunk in super().stream(request):
            yield chunk


class EndlessProvider(InstantProvider):
    """Never gets to an end: for workers that are killed."""

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        yield TextChunk("o", 1)
        await asyncio.Event().wait()


def _provider(kind: str, url: str | None) -> Provider:
    if kind == "instant":
        return InstantProvider()
    if kind == "second":
        return SecondProvider()
    if kind == "endless":
        return EndlessProvider()
    if kind == "numbered":
        return NumberedProvider()
    if kind == "anyllm":
        return AnyLlm("direct", url=url, key="bench")
    if kind == "stubborn":
        return Command("stubborn", (sys.executable, "-S", "-c", STUBBORN, str(url)))
    weights = find_weights()
    assert weights is not None, "no weights: `make bench` installs them"
    if kind == "llamacpp-long":
        return LlamaCpp(weights, slots=1, threads=1, context_tokens=8192)
    return LlamaCpp(weights, slots=1, threads=1)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--join", required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--provider", choices=KINDS, default="instant")
    parser.add_argument("--url", help="the model's server, for anyllm; where to note its process id, for stubborn")
    parser.add_argument("--slots", type=int, default=8)
    options = parser.parse_args()
    await serve(options.join, options.home, _provider(options.provider, options.url), options.slots)


async def serve(join: str, home: Path, provider: Provider, slots: int) -> None:
    """Joins and works until TERM."""
    gc.set_threshold(*defaults.GC_THRESHOLDS)  # as `cavvy worker` does
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    worker = Worker(
        home=WorkerHome(home),
        providers=[provider],
        slots=slots,
        name=home.name,
        join=parse_join(join),
    )
    running = asyncio.create_task(worker.run())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    await worker.stop()
    await running


if __name__ == "__main__":
    uvloop.run(main())
