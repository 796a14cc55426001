"""How long after a cancel the model is idle: each row is another thing that a provider may be doing just then.

The clock runs from the POST of the cancel until the job has ended, which the worker reports when its provider is idle.
Where the provider can be watched from outside, that it is idle by then is looked at, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, percentile
from benchmarks.http import Connection
from benchmarks.stack import BenchStack, running_stack

__all__ = [
    "cancel_idle_command_ms",
    "cancel_idle_nonstreaming_ms",
    "cancel_idle_prompt_ms",
    "cancel_idle_silent_ms",
    "cancel_idle_streaming_ms",
]

AT_ONCE, ENDED = "≤ 500 (p95)", "≤ 3000 (p95)"
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "lazy", "dogs", "near", "rivers"]
PROMPT_WORDS = 2_500

Ready = Callable[[Connection, str], Awaitable[None]]


def cancel_idle_streaming_ms() -> Figure:
    """The embedded model writes."""
    with running_stack("cancel_streaming") as stack:
        stack.add_workers(1, provider="llamacpp", slots=1)
        return _figure(stack, 40, AT_ONCE, _text_came, {"prompt": "Write a very long story.", "max_tokens": 1500})


def cancel_idle_prompt_ms() -> Figure:
    """The embedded model reads a prompt of 2,500 words, each time another one, and has written nothing yet."""
    with running_stack("cancel_prompt") as stack:
        stack.add_workers(1, provider="llamacpp-long", slots=1)

        async def reading(connection: Connection, job_id: str) -> None:
            await _runs(connection, job_id)
            await asyncio.sleep(1.0 + _turn() / 10)  # at other points of a batch

        return _figure(stack, 20, AT_ONCE, reading, _long_prompt)


def cancel_idle_silent_ms() -> Figure:
    """A server has begun its answer over HTTP and sends nothing more."""
    return _over_http("cancel_silent", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")


def cancel_idle_nonstreaming_ms() -> Figure:
    """A server that does not stream works on its whole answer."""
    return _over_http("cancel_nonstreaming", b"")


def cancel_idle_command_ms() -> Figure:
    """A command that ignores TERM, so that it and what it started have to be killed."""
    with tempfile.TemporaryDirectory() as directory, running_stack("cancel_command") as stack:
        note = Path(directory) / "pid"
        stack.add_workers(1, provider="stubborn", slots=1, url=str(note))

        async def alive(_: Connection, __: str) -> None:
            while not note.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.01)

        def is_idle() -> bool:
            pid = int(note.read_text())
            note.unlink()
            return not _lives(pid)

        return _figure(stack, 20, ENDED, alive, {"prompt": "never ends"}, is_idle)


def _over_http(name: str, head: bytes) -> Figure:
    with running_stack(name) as stack:
        return asyncio.run(_cancels_over_http(stack, head))


async def _cancels_over_http(stack: BenchStack, head: bytes) -> Figure:
    server = _Server(head)
    async with server.listening() as url:
        await asyncio.to_thread(stack.add_workers, 1, provider="anyllm", slots=1, url=url)

        async def called(_: Connection, __: str) -> None:
            await server.called.wait()

        taken = await _cancels(stack, 40, called, {"prompt": "hello"}, lambda: not server.open)
    return _summed_up(taken, AT_ONCE)


class _Server:
    """Knows one model, and does not answer for it."""

    def __init__(self, head: bytes) -> None:
        self.open = 0
        self.called = asyncio.Event()
        self._head = head

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
        finally:
            listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            if request.startswith(b"GET"):
                models = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n" % len(models) + models)
                await writer.drain()
            else:
                await self._keep_waiting(reader, writer)
        writer.close()

    async def _keep_waiting(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.called.set()
        try:
            writer.write(self._head)
            while await reader.read(65536):
                pass
        finally:
            self.open -= 1
            self.called.clear()


def _figure(
    stack: BenchStack,
    count: int,
    target: str,
    ready: Ready,
    body: dict[str, Any] | Callable[[], dict[str, Any]],
    is_idle: Callable[[], bool] = lambda: True,
) -> Figure:
    return _summed_up(asyncio.run(_cancels(stack, count, ready, body, is_idle)), target)


async def _cancels(
    stack: BenchStack,
    count: int,
    ready: Ready,
    body: dict[str, Any] | Callable[[], dict[str, Any]],
    is_idle: Callable[[], bool],
) -> list[float]:
    """One job after the other: waits until it is `ready` to be cancelled, cancels it; how long that took (ms)."""
    connection = await Connection(stack.url, stack.key).open()
    taken = []
    for _ in range(count):
        job = await connection.request("POST", "/v1/jobs", body() if callable(body) else body)
        await ready(connection, job["id"])
        began = time.perf_counter()
        answer = await connection.request("POST", f"/v1/jobs/{job['id']}/cancel")
        while answer["status"] != "failed":
            answer = await connection.request("GET", f"/v1/jobs/{job['id']}?wait=30")
        taken.append((time.perf_counter() - began) * 1000)
        assert answer["failure"]["code"] == "aborted", answer
        assert is_idle(), "the job has ended, and its provider works on"
    connection.close()
    return taken


def _summed_up(taken: list[float], target: str) -> Figure:
    note = f"{len(taken)} cancels, p50 {statistics.median(taken):.0f} ms, longest {max(taken):.0f} ms"
    return Figure(percentile(taken, 0.95), "ms", target, note)


async def _runs(connection: Connection, job_id: str) -> None:
    while (await connection.request("GET", f"/v1/jobs/{job_id}"))["status"] != "running":  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def _text_came(connection: Connection, job_id: str) -> None:
    stream = await Connection(connection.url, connection.key).open()
    await stream.begin("GET", f"/v1/jobs/{job_id}/events")
    async for event in stream.events():
        if event.name == "delta":
            break
    stream.close()


_counter = itertools.count()


def _turn() -> int:
    return next(_counter) % 10


def _long_prompt() -> dict[str, Any]:
    first = f"Story number {next(_counter)}."
    return {"prompt": " ".join([first, *(WORDS[index % len(WORDS)] for index in range(PROMPT_WORDS))])}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
