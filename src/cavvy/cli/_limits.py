"""What ends a command whatever it is doing: a limit on time, a signal."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

__all__ = ["Hangup", "hangups", "time_limit"]


class Hangup(BaseException):
    """The terminal is gone, or somebody ended the command (HUP, TERM)."""


@contextlib.contextmanager
def hangups() -> Iterator[None]:
    """Raises Hangup on HUP and TERM in the middle of whatever the main thread does, unless they are ignored (nohup)."""

    def hung_up(signum: int, frame: FrameType | None) -> None:
        raise Hangup

    before = {each: signal.getsignal(each) for each in (signal.SIGHUP, signal.SIGTERM)}
    taken = {each: handler for each, handler in before.items() if handler is not signal.SIG_IGN}
    for each in taken:
        signal.signal(each, hung_up)
    try:
        yield
    finally:
        for each, handler in taken.items():
            signal.signal(each, handler)


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
