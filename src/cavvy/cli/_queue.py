"""Where a job stands that waits, in words."""

from __future__ import annotations

from cavvy.protocol.rest_job import QueueView

__all__ = ["place", "why"]


def why(queue: QueueView) -> str:
    """The reason, and the place after it."""
    where = place(queue)
    return f"{queue.reason} {where[0].upper()}{where[1:]}." if where else queue.reason


def place(queue: QueueView) -> str | None:
    """Its place, and when it starts; None if neither is known."""
    where = None if queue.position is None else f"number {queue.position} in line"
    when = None if queue.estimate_s is None else f"starts in about {_duration(queue.estimate_s)}"
    return ", ".join(word for word in (where, when) if word) or None


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    if seconds < 2 * 3600:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h"
