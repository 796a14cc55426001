"""Stopping: one job, a thread, everything."""

from __future__ import annotations

import msgspec

__all__ = ["CancelBody", "StopAnswer", "StopBody", "StopView", "ThreadStopped"]


class CancelBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/jobs/{id}/cancel`; the body may be missing."""

    reason: str | None = None


class StopBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/stop`; the body may be missing. Without `latch` new work goes on being accepted."""

    reason: str | None = None
    latch: bool = True


class ThreadStopped(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/threads/{id}/cancel`: what it found; see StopAnswer."""

    running: int
    pending: int
    durable: bool


class StopView(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/stop`: whether new work is refused, and who stopped it, why and when (null when it is not)."""

    stopped: bool
    by: str | None = None
    reason: str | None = None
    at: str | None = None


class StopAnswer(StopView, frozen=True, kw_only=True):
    """`POST /v1/stop`: what it found. `running` attempts were told, `pending` jobs never start.

    `durable` is false while the store takes no writes: all this holds, but not beyond the end of the coordinator's
    process; it is written as soon as the store takes it.
    """

    running: int
    pending: int
    durable: bool
