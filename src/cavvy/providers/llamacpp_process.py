"""One life of the model's process, seen from the worker."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from cavvy.errors import ModelMissing, ProviderError
from cavvy.providers.llamacpp_child import (
    Ended,
    Event,
    Failed,
    Ready,
    Settings,
    Start,
    Stop,
    decode_event,
    encode_line,
)

__all__ = ["ModelProcess"]

CHILD = "cavvy.providers.llamacpp_child"
MAX_LINE_BYTES = 1 << 20
STDERR_LINES = 50
EXIT_TIMEOUT_S = 2.0
STOP_SOON_S = 0.3  # between two batches of a prompt, or two tokens, a run stops by itself
STOP_DEAR_S = 2.5  # … and is waited for when loading the model anew is what takes long
STOP_LOOK_S = 0.1
STOP_PATIENCE_S = 30.0  # a process that does not stop a run for this long hangs: it is killed
DEAR_LOAD_S = 10.0  # of a model that is far from fitting the page cache, or of a machine that is very busy
LOG_ERROR = " E "  # marks an error in llama.cpp's log; the first one is the cause of the others


class _Run:
    __slots__ = ("events", "over", "stopping")

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event | ProviderError] = asyncio.Queue()
        self.over = False
        self.stopping = False


class ModelProcess:
    """A child process with a loaded model. When it dies, every run on it raises ProviderError that says how.

    While llama.cpp reads a batch of a prompt it notices nothing. A run that is left and does not stop soon is ended
    with the whole process, unless others are served by it: then the process is `killed`, and another one is needed.
    """

    def __init__(self, process: asyncio.subprocess.Process, *, debug: bool) -> None:
        self._process = process
        self._debug = debug
        self._runs: dict[int, _Run] = {}
        self._next_run = 0
        self._said: deque[str] = deque(maxlen=STDERR_LINES)
        self._closing = False
        self._load_s = 0.0
        self.killed = False
        self._stderr_task = asyncio.create_task(self._read_stderr())
        self._reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, settings: Settings, *, debug: bool = False) -> ModelProcess:
        """Returns when the model is loaded. Raises ModelMissing, with llama.cpp's reason, when it cannot be."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", CHILD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
        )
        self = cls(process, debug=debug)
        began_s = time.monotonic()
        try:
            await self._load(settings)
            self._load_s = time.monotonic() - began_s
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._reader is not None and not self._reader.done() and not self.killed

    async def run(self, body: dict[str, Any]) -> AsyncGenerator[Event, None]:
        """The events of one generation, Ended or Failed last. Leaving early stops it and waits until it has stopped."""
        self._next_run += 1
        number = self._next_run
        run = self._runs[number] = _Run()
        try:
            self._write(Start(number, body))
            while not run.over:
                yield await self._next_event(run)
        finally:
            if not run.over:
                run.stopping = True
                self._write(Stop(number))
                await self._wait_until_over(run)
            del self._runs[number]

    async def close(self) -> None:
        """Ends the process. It goes by itself when its stdin closes; if not, it is killed."""
        self._closing = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(EXIT_TIMEOUT_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._stderr_task
        if self._reader is not None:
            await self._reader

    async def _load(self, settings: Settings) -> None:
        self._write(settings)
        line = await self._read_line()
        if line and isinstance(decode_event(line), Ready):
            self._reader = asyncio.create_task(self._read_events())
            return
        await self._process.wait()
        await self._stderr_task
        raise ModelMissing(
            f"The model file {settings.path} cannot be loaded: {self._reason()}. Get the file again, or name another"
            " GGUF file."
        )

    def _write(self, message: Settings | Start | Stop) -> None:
        """A line to the child; if it is dead the reader tells its runs."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(encode_line(message))

    async def _next_event(self, run: _Run) -> Event:
        event = await run.events.get()
        if isinstance(event, ProviderError):
            run.over = True
            raise event
        run.over = isinstance(event, Ended | Failed)
        return event

    async def _wait_until_over(self, run: _Run) -> None:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + STOP_PATIENCE_S
        wait_s = STOP_SOON_S if self._load_s < DEAR_LOAD_S else STOP_DEAR_S
        while not await self._is_over(run, min(wait_s, STOP_PATIENCE_S)):
            if loop.time() >= ends_s or all(one.stopping for one in self._runs.values()):
                self._kill()
            wait_s = STOP_LOOK_S

    async def _is_over(self, run: _Run, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._discard(run)
        except TimeoutError:
            return False
        return True

    def _kill(self) -> None:
        if not self.killed and self._process.returncode is None:
            self.killed = True
            self._process.kill()

    async def _discard(self, run: _Run) -> None:
        while not run.over:
            event = await run.events.get()
            run.over = isinstance(event, Ended | Failed | ProviderError)

    async def _read_line(self) -> bytes:
        if self._process.stdout is None:
            return b""
        return await self._process.stdout.readline()

    async def _read_events(self) -> None:
        while line := await self._read_line():
            event = decode_event(line)
            if isinstance(event, Ready):
                continue
            run = self._runs.get(event.run)
            if run is not None:
                run.events.put_nowait(event)
        await self._process.wait()
        for run in self._runs.values():
            run.events.put_nowait(ProviderError(self._obituary()))

    async def _read_stderr(self) -> None:
        if self._process.stderr is None:
            return
        while line := await self._process.stderr.readline():
            text = line.decode(errors="replace").rstrip()
            self._said.append(text)
            if self._debug:
                sys.stderr.write(text + "\n")

    def _reason(self) -> str:
        """Why it would not load: llama.cpp's own reason if it gave one, else the last thing said."""
        reasons = [line.split(LOG_ERROR, 1)[1] for line in self._said if LOG_ERROR in line]
        if reasons:
            return reasons[0]
        return self._said[-1] if self._said else self._ended_how()

    def _obituary(self) -> str:
        if self._closing:
            return "the worker stops and has ended the model process"
        return f"the model process {self._ended_how()}; it is being restarted"

    def _ended_how(self) -> str:
        code = self._process.returncode or 0
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"ended with signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"ended with signal {-code}"
