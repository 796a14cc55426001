"""Pure work on what is large, done beside the event loop, so that everybody else goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Aside"]

T = TypeVar("T")


class Aside:
    """One thread for all, in the order they came: more would only take turns with each other and the event loop."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="aside")

    def begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """What `work` will give. Cancelled before its turn it is not done at all."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """What has not begun is not done any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
