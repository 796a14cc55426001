"""Commands as providers: what they are told, what comes of what they say, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from cavvy import defaults
from cavvy.core.worker_messages import AttemptFailed
from cavvy.errors import InputTooLarge, ProviderError, StartError
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, Message, TextChunk, hear_life
from cavvy.providers.command import Command, transcript
from cavvy.worker.identity import Identity
from cavvy.worker.runner import Runner
from tests.processes import until
from tests.unit.worker.test_runner import assignment

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
HEAR = "import signal, sys, time, os; "
FOREVER = "signal.pause()"


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def request(*contents: str) -> InferenceRequest:
    return InferenceRequest(messages=tuple(Message("user", one) for one in contents), model="agent")


@asynccontextmanager
async def opened(command: Sequence[str], **options: Any) -> AsyncIterator[Command]:
    provider = Command("agent", tuple(command), **options)
    await provider.open()
    try:
        yield provider
    finally:
        await provider.close()


async def run(command: Sequence[str], prompt: str = "hi", **options: Any) -> list[Chunk]:
    async with opened(command, **options) as provider, asyncio.timeout(60):
        return [chunk async for chunk in provider.stream(request(prompt))]


async def test_what_it_says_on_stderr_is_a_sign_of_life() -> None:
    heard: list[None] = []
    hear_life(lambda: heard.append(None))
    await run(python("import sys; print('working', file=sys.stderr)"))
    assert heard


async def failure(command: Sequence[str], prompt: str = "hi", **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await run(command, prompt, **options)
    return caught.value


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextChunk))


async def first_text(stream: AsyncIterator[Chunk]) -> str:
    async with asyncio.timeout(60):
        async for chunk in stream:
            if isinstance(chunk, TextChunk):
                return chunk.text
    raise AssertionError("it said nothing")


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


class TestWhatItIsTold:
    async def test_the_prompt_comes_on_stdin_and_what_it_prints_is_the_answer(self) -> None:
        prompt = "Grüße aus 東京\n" * 20_000
        chunks = await run(python("import sys; sys.stdout.write(sys.stdin.read().upper())"), prompt)
        assert text(chunks) == prompt.upper()
        final = chunks[-1]
        assert isinstance(final, FinalChunk)
        assert (final.model, final.finish_reason, final.usage.input_tokens) == ("agent", "stop", 0)

    async def test_in_place_of_the_placeholder_it_is_one_word_that_is_no_option(self) -> None:
        shown = python("import sys; print(sys.argv[1:], repr(sys.stdin.read()))")
        prompt = "--version; $(id) {prompt}"
        assert text(await run((*shown, "{prompt}"), prompt)) == f"['--', {prompt!r}] ''\n"
        assert text(await run((*shown, "--", "{prompt}"), prompt)) == f"['--', {prompt!r}] ''\n"

    @pytest.mark.parametrize("command", [("a", "{prompt}", "b"), ("a", "--say={prompt}"), ("{prompt}",)])
    def test_a_placeholder_elsewhere_is_refused(self, command: tuple[str, ...]) -> None:
        with pytest.raises(StartError, match=r"\{prompt\}"):
            Command("agent", command)

    async def test_a_prompt_that_no_argument_can_hold_is_refused(self) -> None:
        command = (*python("pass"), "{prompt}")
        assert isinstance(await failure(command, "x" * 300_000), InputTooLarge)
        error = await failure(command, "a\0b")
        assert not error.retryable

    async def test_of_the_environment_it_gets_only_what_is_let_through(self) -> None:
        environ = {"PATH": os.environ["PATH"], "SECRET": "s", "WANTED": "w", "HOME": "/nowhere"}
        shown = python("import os; print(sorted(set(os.environ) - {'LC_CTYPE'}))")
        found = await run(shown, env=("WANTED", "MISSING"), environ=environ)
        assert text(found) == "['HOME', 'PATH', 'TMPDIR', 'WANTED']\n"

    async def test_a_conversation_is_told_as_who_said_what(self) -> None:
        said = (Message("system", "Be short."), Message("user", "Hi"), Message("assistant", "Hello"))
        assert transcript(said) == "System:\nBe short.\n\nUser:\nHi\n\nAssistant:\nHello"
        assert transcript((Message("user", "Hi"),)) == "Hi"

    async def test_a_program_that_is_missing_is_told_before_anything_is_run(self) -> None:
        with pytest.raises(StartError, match="there is no program 'no-such-agent'; install it, or give its path"):
            await Command("agent", ("no-such-agent",)).open()


class TestWhatItSays:
    async def test_text_streams_as_it_is_printed_also_when_a_letter_comes_in_halves(self) -> None:
        code = (
            "import sys, os; whole = '東'.encode(); os.write(1, b'a' + whole[:1]); sys.stdin.readline();"
            "os.write(1, whole[1:]); os.write(1, b'\\xff\\xe6')"
        )
        chunks = await run(python(code), "\n")
        assert text(chunks) == "a東\ufffd\ufffd"

    async def test_what_is_printed_is_there_before_the_command_ends(self) -> None:
        async with (
            opened(python(HEAR + "print('first', flush=True);" + FOREVER)) as provider,
            aclosing(provider.stream(request("x"))) as stream,
        ):
            assert await first_text(stream) == "first\n"

    async def test_another_exit_code_than_0_fails_with_the_end_of_what_it_complained(self) -> None:
        code = "import sys; sys.stderr.write('x' * 5000 + '\\x1b[31mno key\\x07\\n'); sys.exit(3)"
        error = await failure(python(code))
        assert str(error).startswith("agent ended with exit code 3: xxx")
        assert str(error).endswith("xxx[31mno key")
        assert len(str(error)) < defaults.COMMAND_STDERR_BYTES + 50
        assert (error.code, error.retryable) == ("worker_error", True)

    async def test_all_that_it_complained_reaches_the_owner_of_the_job(self) -> None:
        code = "import sys; sys.stderr.write('x' * 5000 + 'the last word'); sys.exit(3)"
        async with opened(python(code)) as provider:
            runner = Runner([provider], Identity.from_seed(bytes(32)), "ab" * 32, lambda: 0.0)
            ended = await runner.run(assignment({"prompt": "hi"}), lambda _: None, 1000)
        assert isinstance(ended, AttemptFailed)
        assert ended.message.endswith("the last word")

    async def test_a_signal_that_ended_it_is_named(self) -> None:
        error = await failure(python(HEAR + "os.kill(os.getpid(), signal.SIGSEGV)"))
        assert "ended with signal SIGSEGV" in str(error)

    async def test_one_that_runs_too_long_is_ended(self) -> None:
        error = await failure(python(HEAR + FOREVER), timeout_s=0.3)
        assert (str(error), error.retryable) == ("agent ran longer than 0.3 s", False)


class TestNothingIsLeft:
    async def test_each_run_has_an_empty_private_folder_that_is_gone_afterwards(self) -> None:
        code = """
import os
print(os.getcwd(), os.environ["TMPDIR"], os.listdir(), oct(os.stat(".").st_mode))
open("left", "w")
"""
        async with opened(python(code)) as provider:
            folders = []
            for _ in range(2):
                shown = text([chunk async for chunk in provider.stream(request("x"))]).split()
                assert shown[0] == shown[1]
                assert shown[2:] == ["[]", oct(stat.S_IFDIR | 0o700)]
                folders.append(Path(shown[0]))
            assert folders[0] != folders[1]
            assert not any(folder.exists() for folder in folders)
        assert not folders[0].parent.exists()

    async def test_leaving_it_ends_a_command_that_ends_on_term(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(defaults, "COMMAND_KILL_AFTER_S", 3600.0)
        monkeypatch.setattr("cavvy.providers.command.END_S", 3600.0)
        async with opened(python(HEAR + "print(os.getpid(), flush=True);" + FOREVER)) as provider:
            stream = provider.stream(request("x"))
            pid = int(await first_text(stream))
            async with asyncio.timeout(60):
                await stream.aclose()
            assert not lives(pid)

    async def test_leaving_it_ends_a_command_that_ignores_term_and_its_children(self) -> None:
        code = (
            HEAR + "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN);"
            "child = os.fork(); child and print(os.getpid(), flush=True);" + FOREVER
        )
        async with opened(python(code)) as provider:
            stream = provider.stream(request("x"))
            pid = int(await first_text(stream))
            assert len(psutil.Process(pid).children()) == 1
            (child,) = psutil.Process(pid).children()
            async with asyncio.timeout(60):
                await stream.aclose()
            assert not lives(pid)
            assert not lives(child.pid)

    async def test_cancelling_the_reader_ends_it(self) -> None:
        async with opened(python(HEAR + "print(os.getpid(), flush=True);" + FOREVER)) as provider:
            stream = provider.stream(request("x"))
            pid = int(await first_text(stream))

            async def rest() -> None:
                async with aclosing(stream):
                    async for _ in stream:
                        pass

            reader = asyncio.create_task(rest())
            await asyncio.sleep(0)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            assert not lives(pid)

    async def test_closing_the_provider_ends_it(self) -> None:
        async with opened(python(HEAR + "print(os.getpid(), flush=True);" + FOREVER)) as provider:
            stream = provider.stream(request("x"))
            pid = int(await first_text(stream))
            await provider.close()
            assert not lives(pid)
            with pytest.raises(ProviderError, match="the worker stops"):
                await anext(stream)

    @linux_only
    async def test_a_child_that_leaves_the_group_and_outlives_its_parent_is_ended_too(self) -> None:
        code = """
import os, signal
told, tell = os.pipe()
if os.fork():
    os.read(told, 1)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.write(1, str(os.getpid()).encode())
os.write(tell, b".")
signal.pause()
"""
        assert not lives(int(text(await run(python(code)))))

    async def test_a_flood_is_cut_off_at_the_limit_of_an_answer(self) -> None:
        code = HEAR + "print(os.getpid(), flush=True)\nwhile True: sys.stdout.write('x' * 65536)"
        async with opened(python(code)) as provider:
            runner = Runner([provider], Identity.from_seed(bytes(32)), "ab" * 32, lambda: 0.0)
            said: list[str] = []
            async with asyncio.timeout(60):
                ended = await runner.run(assignment({"prompt": "hi"}), said.append, 1_000_000)
            assert isinstance(ended, AttemptFailed)
            assert ended.code == "output_too_large"
            assert sum(map(len, said)) <= 1_000_000
            assert not lives(int("".join(said).split("\n")[0]))

    @linux_only
    async def test_it_ends_with_its_worker_even_if_that_is_killed(self, tmp_path: Path) -> None:
        code = """
import asyncio, sys
from cavvy.providers.base import InferenceRequest, Message
from cavvy.providers.command import Command

async def main():
    provider = Command("agent", tuple(sys.argv[1:]))
    await provider.open()
    async for chunk in provider.stream(InferenceRequest(messages=(Message("user", "x"),), model="agent")):
        print(getattr(chunk, "text", ""), end="", flush=True)

asyncio.run(main())
"""
        agent = python(HEAR + "print(os.getpid(), os.getcwd(), flush=True);" + FOREVER)
        worker = subprocess.Popen([sys.executable, "-c", code, *agent], stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        with worker.stdout:
            pid, folder = (await asyncio.to_thread(worker.stdout.readline)).split()
            worker.kill()
            worker.wait()
        await asyncio.to_thread(until, "the command is gone", lambda: not lives(int(pid)))
        await asyncio.to_thread(until, "its folder is gone", lambda: not Path(folder).exists())
        Path(folder).parent.rmdir()


class TestOthersAreOutOfReach:
    @linux_only
    async def test_another_jobs_folder_can_be_neither_read_nor_written_nor_seen(self) -> None:
        hold = HEAR + "open('secret', 'w').write('theirs'); print(os.getcwd(), os.getpid(), flush=True);" + FOREVER
        spy = """
import os, signal, sys
folder, pid = sys.stdin.read().split()
def tries(what, *arguments):
    try:
        return repr(what(*arguments))
    except OSError as error:
        return type(error).__name__
def read(path):
    return open(path).read()
print(
    tries(read, folder + "/secret"), tries(os.listdir, folder), tries(read, f"/proc/{pid}/cwd/secret"),
    tries(os.listdir, ".."), tries(open, folder + "/mine", "w"), tries(os.unlink, folder + "/secret"),
    tries(os.kill, int(pid), 0), tries(os.kill, os.getppid(), signal.SIGKILL),
)
open("own", "w").write("x"); os.rename("own", "moved"); assert read("moved") == "x"
assert os.listdir("/etc") and read("/etc/passwd") and os.path.exists("/usr")
open("/dev/null", "w").write("x")
"""
        async with (
            opened(python(hold)) as one,
            opened(python(spy)) as same,
            aclosing(one.stream(request("x"))) as held,
        ):
            secret = await first_text(held)
            told = text([chunk async for chunk in same.stream(request(secret))])
            assert told.split() == ["PermissionError"] * 8

    @linux_only
    async def test_nor_can_that_of_a_job_of_the_same_provider(self) -> None:
        code = """
import os, signal, sys
other = sys.stdin.read()
if other != "hold":
    try:
        print(open(other + "/secret").read())
    except OSError as error:
        print(type(error).__name__)
else:
    open("secret", "w").write("theirs"); print(os.getcwd(), flush=True); signal.pause()
"""
        async with opened(python(code), slots=2) as provider, aclosing(provider.stream(request("hold"))) as held:
            folder = (await first_text(held)).strip()
            told = text([chunk async for chunk in provider.stream(request(folder))])
            assert told == "PermissionError\n"
