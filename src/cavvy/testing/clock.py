"""Time that moves when told."""

from __future__ import annotations

from cavvy.core.job import Now

__all__ = ["VirtualClock"]


class VirtualClock:
    """A clock for the core: `clock()` is the time, `advance` moves it. The wall can be stepped on its own."""

    def __init__(self, mono_s: float = 1_000.0, wall_ms: int = 1_700_000_000_000) -> None:
        self.mono_s = mono_s
        self.wall_ms = wall_ms

    def __call__(self) -> Now:
        return Now(self.mono_s, self.wall_ms)

    def advance(self, seconds: float) -> None:
        """Both clocks go on by `seconds`."""
        self.mono_s += seconds
        self.wall_ms += round(seconds * 1000)

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock; the monotonic one does not notice."""
        self.wall_ms += round(seconds * 1000)
