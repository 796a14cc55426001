"""A command that answers: a coding agent, say. Each attempt is one run of it, in an empty folder of its own."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

from cavvy import defaults
from cavvy.core.writes import Usage
from cavvy.errors import InputTooLarge, ProviderError, StartError
from cavvy.providers import command_child
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, Message, StartChunk, TextChunk, life_heard

__all__ = ["PLACEHOLDER", "Command", "transcript"]

PLACEHOLDER = "{prompt}"
READ_BYTES = 65536
END_S = defaults.COMMAND_KILL_AFTER_S + 3.0  # the child that cleans up takes no longer, unless it was killed itself
FOLDERS_IN = Path("/var/tmp")  # noqa: S108 - nothing else is ever made beside the private directory in there
ALWAYS_IN_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TZ", "USER")

_HEADINGS = {"system": "System", "user": "User", "assistant": "Assistant"}
_DROPPED = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}


class Command:
    """Runs `command` for each job, the prompt on its stdin or in place of `{prompt}`; what it prints is the answer.

    Its one model is called `name`. It gets the environment variables in ALWAYS_IN_ENVIRONMENT and `env`, no others.
    A command that ends with another exit code than 0 has failed; the end of its stderr says why.
    """

    job_types: tuple[str, ...] = ("LLM_INFER",)
    runs_commands = True

    def __init__(
        self,
        name: str,
        command: tuple[str, ...],
        *,
        env: tuple[str, ...] = (),
        slots: int = defaults.COMMAND_SLOTS,
        timeout_s: float = defaults.COMMAND_TIMEOUT_S,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Raises StartError for a template with `{prompt}` elsewhere than as its last element."""
        if any(PLACEHOLDER in word for word in command[:-1]) or (PLACEHOLDER in command[-1] and len(command) == 1):
            raise StartError(f"[providers.{name}]: {PLACEHOLDER} may only be the last element of `command`")
        if PLACEHOLDER in command[-1] and command[-1] != PLACEHOLDER:
            raise StartError(f"[providers.{name}]: {PLACEHOLDER} must be an element of `command` of its own")
        self._name = name
        self._command = command
        self._timeout_s = timeout_s
        given = os.environ if environ is None else environ
        self._environment = {key: given[key] for key in (*ALWAYS_IN_ENVIRONMENT, *env) if key in given}
        self._folders: Path | None = None
        self._processes: set[asyncio.subprocess.Process] = set()
        self._closed = False
        self.slots = slots
        self._turns = asyncio.Semaphore(slots)

    @property
    def name(self) -> str:
        return self._name

    @property
    def models(self) -> tuple[str, ...]:
        return (self._name,)

    async def open(self) -> None:
        program = self._command[0]
        if sys.platform == "win32":
            raise StartError(f"[providers.{self._name}]: commands need Linux or macOS")
        if shutil.which(program, path=self._environment.get("PATH", os.defpath)) is None:
            raise StartError(f"[providers.{self._name}]: there is no program {program!r}; install it, or give its path")
        parent = FOLDERS_IN if os.access(FOLDERS_IN, os.W_OK) else None
        self._folders = Path(tempfile.mkdtemp(prefix=command_child.FOLDERS, dir=parent))

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(_end(process) for process in tuple(self._processes)))
        if self._folders is not None:
            await asyncio.to_thread(shutil.rmtree, self._folders, ignore_errors=True)

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        async with self._turns:
            if self._closed or self._folders is None:
                raise _stopped()
            folder = Path(tempfile.mkdtemp(dir=self._folders))
            try:
                async with contextlib.aclosing(self._run(transcript(request.messages), folder)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _run(self, prompt: str, folder: Path) -> AsyncGenerator[Chunk, None]:
        process = await self._start(prompt, folder)
        said = asyncio.create_task(_last(process.stderr, life_heard()))
        told = asyncio.create_task(_tell(process.stdin, "" if self._in_arguments else prompt))
        self._processes.add(process)
        ends_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            yield StartChunk()
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            while read := await self._read(process, ends_s):
                if text := decoder.decode(read):
                    yield TextChunk(text)
            if text := decoder.decode(b"", final=True):
                yield TextChunk(text)
            await self._judge(process, said)
        finally:
            told.cancel()
            await _end(process)
            await asyncio.gather(said, told, return_exceptions=True)
            self._processes.discard(process)
        yield FinalChunk(finish_reason="stop", usage=Usage(input_tokens=0, output_tokens=0), model=self._name)

    @property
    def _in_arguments(self) -> bool:
        return self._command[-1] == PLACEHOLDER

    def _arguments(self, prompt: str) -> list[str]:
        """The command; with the prompt, if it takes it there, as one word behind a `--`, so that it is no option."""
        if not self._in_arguments:
            return list(self._command)
        fixed = self._command[:-1]
        return [*fixed, prompt] if fixed[-1] == "--" else [*fixed, "--", prompt]

    async def _start(self, prompt: str, folder: Path) -> asyncio.subprocess.Process:
        arguments = self._arguments(prompt)
        if self._in_arguments and "\0" in prompt:
            raise ProviderError("a prompt with a NUL cannot be given to a command as an argument", retryable=False)
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", command_child.__file__),
                *(str(os.getpid()), str(defaults.COMMAND_KILL_AFTER_S), str(folder), *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd="/",
                env=self._environment | {"TMPDIR": str(folder)},
                start_new_session=True,
                limit=READ_BYTES,
            )
        except OSError as error:
            if self._in_arguments and len(prompt) > READ_BYTES:
                too_long = InputTooLarge(f"the prompt is too long for an argument of a command; drop {PLACEHOLDER}")
            else:
                too_long = None
            reason = error.strerror
        raise too_long or ProviderError(f"{self._name} cannot be started: {reason}")

    async def _read(self, process: asyncio.subprocess.Process, ends_s: float) -> bytes:
        assert process.stdout is not None
        try:
            async with asyncio.timeout_at(ends_s):
                return await process.stdout.read(READ_BYTES)
        except TimeoutError:
            raise ProviderError(f"{self._name} ran longer than {self._timeout_s:g} s", retryable=False) from None

    async def _judge(self, process: asyncio.subprocess.Process, said: asyncio.Task[bytes]) -> None:
        """Raises ProviderError unless the command ended well."""
        code = await process.wait()
        if self._closed:
            raise _stopped()
        if code == 0:
            return
        how = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
        words = printable(await said)
        raise ProviderError(f"{self._name} ended with {how}{': ' if words else ''}{words}")


def transcript(messages: tuple[Message, ...]) -> str:
    """What a command is told: the prompt as it is if there is no more, else who said what."""
    if len(messages) == 1 and messages[0].role == "user":
        return messages[0].content
    return "\n\n".join(f"{_HEADINGS.get(one.role, one.role)}:\n{one.content}" for one in messages)


def printable(said: bytes) -> str:
    """Text without terminal sequences and other control characters."""
    return said.decode("utf-8", "replace").translate(_DROPPED).strip()


async def _tell(stdin: asyncio.StreamWriter | None, prompt: str) -> None:
    assert stdin is not None
    with contextlib.suppress(OSError):  # it may not want to hear
        stdin.write(prompt.encode("utf-8", "replace"))
        await stdin.drain()
    stdin.close()
    with contextlib.suppress(OSError):
        await stdin.wait_closed()


async def _last(stream: asyncio.StreamReader | None, heard: Callable[[], None]) -> bytes:
    """Reads to the end and keeps the last COMMAND_STDERR_BYTES; whoever writes, lives."""
    assert stream is not None
    kept = b""
    while read := await stream.read(READ_BYTES):
        heard()
        kept = (kept + read)[-defaults.COMMAND_STDERR_BYTES :]
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends the command and all it started; returns when nothing of it is left."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(END_S):
            await _gone(process)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await _gone(process)


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Reads what is still written, so that the pipes close."""
    assert process.stdout is not None
    with contextlib.suppress(RuntimeError):  # somebody else reads it
        while await process.stdout.read(READ_BYTES):
            pass
    await process.wait()


def _stopped() -> ProviderError:
    return ProviderError("the worker stops and has ended the command")
