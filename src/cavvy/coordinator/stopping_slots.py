"""How many slots of a worker still end what was stopped."""

from __future__ import annotations

from collections.abc import Collection

from cavvy.core.job import AttemptRef

__all__ = ["StoppingSlots"]


class StoppingSlots:
    """The attempts one worker was told to stop and has not ended, and those it goes on with though nobody has them."""

    def __init__(self) -> None:
        self._told: set[AttemptRef] = set()
        self._nobodys = 0

    @property
    def count(self) -> int:
        return len(self._told) + self._nobodys

    def told(self, ref: AttemptRef) -> None:
        self._told.add(ref)

    def ended(self, ref: AttemptRef) -> None:
        self._told.discard(ref)

    def beat(self, held: Collection[AttemptRef], busy: int) -> None:
        """What its heartbeat names, of how many `busy` slots. What it does not name is not its any more."""
        self._told.intersection_update(held)
        self._nobodys = max(0, busy - len(held))
