"""Limits on time that hold whatever the program is doing."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

__all__ = ["time_limit"]


@contextlib.contextmanager
def time_limit(seconds: float | None, error: Exception) -> Iterator[None]:
    """Raises `error` in the middle of whatever the main thread does, after `seconds` (None: never)."""
    if seconds is None:
        yield
        return

    def expired(signum: int, frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
