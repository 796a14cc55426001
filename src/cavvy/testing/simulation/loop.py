"""An event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors

__all__ = ["VirtualLoop"]

START_S = 1_000.0


class _Jump(selectors.SelectSelector):
    """Waits for nothing: a wait becomes a step of the loop's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = START_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is under way and no timer is set: the simulation would wait for ever")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """No sockets, no threads: everything that happens in it is decided by what runs in it."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self._clock_resolution = 1e-6  # a rounding error of a timer must not cost another turn

    def time(self) -> float:
        return self._jump.now_s
