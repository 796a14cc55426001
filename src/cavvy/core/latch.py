"""The stop of a whole tenant, as data."""

from __future__ import annotations

import msgspec

from cavvy.core.job import CancelRequest

__all__ = ["StopLatch", "Stopped"]


class StopLatch(msgspec.Struct, frozen=True, kw_only=True):
    """Whatever `tenant` submitted up to `stop_seq` ends; while `latched`, it may submit nothing."""

    tenant: str
    stop_seq: int
    by: str
    reason: str | None
    at_ms: int
    latched: bool

    @property
    def request(self) -> CancelRequest:
        """What each job it ends says of it."""
        return CancelRequest(by=self.by, reason=self.reason, at_ms=self.at_ms)


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs a stop found: with a worker, and waiting."""

    running: int
    pending: int
