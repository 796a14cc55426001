"""One thread that answers calls in order, and the way back to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

__all__ = ["SerialThread"]

P = ParamSpec("P")
T = TypeVar("T")


class _Call(NamedTuple):
    future: asyncio.Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class _Answer(NamedTuple):
    future: asyncio.Future[Any]
    result: Any
    error: BaseException | None


class SerialThread:
    """Runs what it is given, one call after the other. Belongs to the event loop that created it.

    Up to `gather` calls that wait together are answered together: waking the event loop costs more than a short call.
    """

    def __init__(self, name: str, *, gather: int = 1) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._gather = gather
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Cancelling the future does not stop the call, it only goes unheard."""
        future = self._loop.create_future()
        self._queue.put(_Call(future, function, arguments))
        return cast("asyncio.Future[T]", future)

    def stop(self) -> None:
        """After the calls already given the thread ends; waits for that."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopped = False
        while not stopped:
            waiting = self._waiting()
            answers = [_answer(call) for call in waiting if call is not None]
            stopped = waiting[-1] is None
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(_deliver, answers)

    def _waiting(self) -> list[_Call | None]:
        """At least one call; None when the thread shall end."""
        waiting = [self._queue.get()]
        while len(waiting) < self._gather and waiting[-1] is not None and not self._queue.empty():
            waiting.append(self._queue.get())
        return waiting


def _answer(call: _Call) -> _Answer:
    try:
        return _Answer(call.future, call.function(*call.arguments), None)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
        return _Answer(call.future, None, error)


def _deliver(answers: list[_Answer]) -> None:
    for future, result, error in answers:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
