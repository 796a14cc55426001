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
    """Runs what it is given, one call after the other. Belongs to the event loop that created it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._stopped = False
        self._thread.start()

    def call(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Cancelling the future does not stop the call, it only goes unheard."""
        if self._stopped:
            raise RuntimeError("the store is not open")
        future = self._loop.create_future()
        self._queue.put(_Call(future, function, arguments))
        return cast("asyncio.Future[T]", future)

    def stop(self) -> None:
        """After the calls already given the thread ends; waits for that."""
        self._stopped = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (call := self._queue.get()) is not None:
            answer = _answer(call)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(_deliver, answer)


def _answer(call: _Call) -> _Answer:
    try:
        return _Answer(call.future, call.function(*call.arguments), None)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
        return _Answer(call.future, None, error)


def _deliver(answer: _Answer) -> None:
    if answer.future.done():
        return
    if answer.error is None:
        answer.future.set_result(answer.result)
    else:
        answer.future.set_exception(answer.error)
