"""The real command line with one part exchanged: in place of a model there is an answer that is known.

`doctor` finds a disk that is quick: how busy this machine's is says nothing of the program.

CAVVY_TEST_DIAL is a port to connect to, whatever the coordinator's address says. CAVVY_TEST_GATED makes each answer
wait in its middle until the file `gate` is in CAVVY_TEST_HOME. CAVVY_TEST_CLOCK_S is by how much its wall clock is
wrong. The prompt `repeat N TEXT` is answered with TEXT, N times. What happened is left there: `calls` has a line for
each call of the provider, `heard` one for each frame that came, and what a login said of each attempt.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from cavvy.cli import main
from cavvy.cli._doctor import disk
from cavvy.core.writes import Usage
from cavvy.protocol.messages import Hello, RegisterAck
from cavvy.providers import build
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, StartChunk, TextChunk
from cavvy.providers.build import Discovered
from cavvy.worker import agent, session
from cavvy.worker.attempts import Attempts

__all__ = ["ANSWER", "FIRST"]

FIRST = "Horses 🐎 are picked "
ANSWER = FIRST + "in the morning ✓."
FINAL = FinalChunk(finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=9), model="scripted")
LOOK_EVERY_S = 0.01

_HOME = Path(os.environ.get("CAVVY_TEST_HOME", "/nonexistent"))
_DIAL = os.environ.get("CAVVY_TEST_DIAL")
_CLOCK_S = float(os.environ.get("CAVVY_TEST_CLOCK_S", "0"))
_GATED = bool(os.environ.get("CAVVY_TEST_GATED"))


def _note(name: str, line: str) -> None:
    with (_HOME / name).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


class KnownAnswer:
    """Answers ANSWER, a character at a time, whatever is asked; to `repeat` something, as it is asked."""

    name, models, job_types, slots = "scripted", ("scripted",), ("LLM_INFER",), 1024

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        prompt = request.messages[-1].content
        _note("calls", prompt)
        yield StartChunk()
        if prompt.startswith("repeat "):
            _, times, text = prompt.split()
            yield TextChunk(text * int(times), 1)
            yield FINAL
            return
        for character in FIRST:
            yield TextChunk(character, 1)
        while _GATED and not (_HOME / "gate").exists():
            await asyncio.sleep(LOOK_EVERY_S)
        for character in ANSWER[len(FIRST) :]:
            yield TextChunk(character, 1)
        yield FINAL


async def found(*_: Any, **__: Any) -> Discovered:
    return Discovered([KnownAnswer()], [], [])


class Noted(Attempts):
    """Notes what it is told."""

    def receive(self, frame: Any) -> None:
        _note("heard", json.loads(frame)["type"])
        super().receive(frame)


async def noted_login(*arguments: Any) -> tuple[Hello, RegisterAck]:
    hello, ack = await session.login(*arguments)
    _note("heard", "register_ack")
    for entry in ack.resume:
        _note("heard", entry.verdict)
    return hello, ack


def dialling(*arguments: Any, **options: Any) -> Any:
    elsewhere = {"host": "127.0.0.1", "port": int(_DIAL)} if _DIAL else {}
    return connect(*arguments, **options, **elsewhere)


if __name__ == "__main__":
    connect = agent.connect
    clock = SimpleNamespace(time=lambda: time.time() + _CLOCK_S)
    with (
        patch.object(build, "discover", found),
        patch.object(disk, "measure_fsync_ms", lambda _: 1.0),
        patch.multiple(agent, Attempts=Noted, login=noted_login, connect=dialling, time=clock),
    ):
        main()
