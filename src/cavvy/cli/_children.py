"""Child processes that are all gone at the end, however that comes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from cavvy.errors import StartError

__all__ = ["Child", "Children"]

STOP_S = 8.0  # TERM → KILL: longer than a coordinator's own shutdown
LOG_LINES = 15


class Child:
    """One `cavvy …` process. Its stdout is read here, its stderr goes to a log file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self._log = log

    def first_line(self) -> bytes:
        """The first line on stdout; waits for it. Raises StartError if the process ends without."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.check()
        return line

    def check(self) -> None:
        """Raises StartError if the process has ended; its log says why."""
        code = self.process.poll()
        if code is not None:
            raise StartError(f"the {self.name} ended with exit code {code}")

    def log_tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {self.name}: {line}" for line in lines[-LOG_LINES:])


class Children:
    """Starts `python -m cavvy …` processes; leaving the block stops them, the last started first."""

    def __init__(self, log_dir: Path, environment: Mapping[str, str]) -> None:
        self._log_dir = log_dir
        self._environment = {**os.environ, **environment}
        self._children: list[Child] = []

    def start(self, name: str, arguments: Sequence[str]) -> Child:
        log = self._log_dir / f"{name}.log"
        with log.open("wb") as errors:
            process = _spawn(arguments, errors, self._environment)
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def log_tails(self) -> str:
        """The last lines of every log, for when something went wrong."""
        return "\n".join(tail for child in self._children if (tail := child.log_tail()))

    def stop(self) -> None:
        """TERM, and KILL for whoever has not ended a few seconds later. None is left afterwards."""
        while self._children:
            _end(self._children[-1].process)
            self._children.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _spawn(arguments: Sequence[str], errors: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C reaches only this process, which then stops its children in order."""
    return subprocess.Popen(  # noqa: S603 (our own program, no shell)
        [sys.executable, "-m", "cavvy", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment, start_new_session=True,
    )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
