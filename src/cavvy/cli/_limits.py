"""What ends a command whatever it is doing: a limit on time, a signal; and how many files a process may open."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from cavvy import defaults

__all__ = ["Hangup", "hangups", "raise_file_limit", "time_limit"]


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


def raise_file_limit() -> None:
    """Lets this process open as many files as a coordinator with all its connections needs, if the system allows it."""
    import resource  # not on Windows

    wanted = defaults.MAX_CONNECTIONS + defaults.FILES_RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
