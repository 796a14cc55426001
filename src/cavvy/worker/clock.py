"""The clock by which a worker knows how long it has heard nothing: it goes on while the machine sleeps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["Clock", "boot_clock_s"]

Clock = Callable[[], float]


def _choose() -> Clock:
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux, whose monotonic clock stands still during a suspend
        return lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":  # Python's monotonic clock is the one that stands still there, this one is not
        return lambda: time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic


#: Seconds since some moment, of the time that the machine slept too.
boot_clock_s: Clock = _choose()
