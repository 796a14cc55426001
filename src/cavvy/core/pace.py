"""How fast jobs that wait are granted, measured while they wait."""

from __future__ import annotations

__all__ = ["Pace"]

#: What is left of a measurement when the next one comes: the last twenty count, about.
_KEPT = 0.95


class Pace:
    """Grants of one tenant's jobs to one kind of worker. The times when nothing waited don't count."""

    __slots__ = ("_counts", "_grants", "_seconds", "_since_s")

    def __init__(self, now_s: float) -> None:
        self._grants = 0.0
        self._seconds = 0.0
        self._since_s = now_s
        self._counts = False

    def began(self, now_s: float) -> None:
        """Something waits again."""
        self._since_s = now_s
        self._counts = False

    def granted(self, now_s: float) -> None:
        """What was granted at once when it came is not counted."""
        waited_s = now_s - self._since_s
        self._counts = self._counts or waited_s > 0
        if self._counts:
            self._grants = self._grants * _KEPT + 1
            self._seconds = self._seconds * _KEPT + waited_s
        self._since_s = now_s

    def per_s(self, now_s: float) -> float | None:
        """Grants a second; None when none was measured. It falls while the next one is longer in coming than usual."""
        if not self._seconds:
            return None
        mean_s = self._seconds / self._grants
        late_s = max(0.0, now_s - self._since_s - mean_s)
        return self._grants / (self._seconds + late_s)
