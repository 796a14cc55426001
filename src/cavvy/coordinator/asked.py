"""Who waits for the answer to a command, by the command's `ref`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from cavvy.core.commands import Command
from cavvy.core.effects import Registered, Reply

__all__ = ["Answer", "Asked"]

Answer = Reply | Registered


class Asked:
    """Each gets one answer or one error; whoever does not wait any more gets none."""

    def __init__(self) -> None:
        self._futures: dict[int, asyncio.Future[Answer]] = {}

    def expect(self, ref: int) -> asyncio.Future[Answer]:
        future = self._futures[ref] = asyncio.get_running_loop().create_future()
        return future

    def forget(self, ref: int) -> None:
        self._futures.pop(ref, None)

    def answer(self, answer: Answer) -> None:
        future = self._futures.pop(answer.ref, None)
        if future is not None and not future.done():
            future.set_result(answer)

    def fail(self, commands: Iterable[Command], error: Exception) -> None:
        """Those that asked with one of these commands."""
        for command in commands:
            self._fail(getattr(command, "ref", None), error)

    def fail_all(self, error: Exception) -> None:
        for ref in list(self._futures):
            self._fail(ref, error)

    def _fail(self, ref: int | None, error: Exception) -> None:
        future = None if ref is None else self._futures.pop(ref, None)
        if future is not None and not future.done():
            future.set_exception(error)
