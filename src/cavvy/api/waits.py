"""Why a job waits, as JSON shows it."""

from __future__ import annotations

from functools import cached_property

from cavvy.coordinator.engine import Engine
from cavvy.core.matching import Offer, waiting_reason
from cavvy.core.queued import Queued
from cavvy.core.times import reason_with_times
from cavvy.protocol.rest_job import QueueView
from cavvy.store.base import JobRecord, header_of

__all__ = ["Waits"]


class Waits:
    """Looks at the workers online once, and at the queue for each job."""

    def __init__(self, engine: Engine, now_ms: int) -> None:
        self._now_ms = now_ms
        self._engine = engine

    def look(self, record: JobRecord) -> QueueView:
        """Of a job that was pending when `record` was read."""
        found = self._engine.queued(record.id, self._offers) or Queued(
            waiting_reason(header_of(record).needs, self._offers)
        )
        estimate_s = None if found.estimate_s is None else round(found.estimate_s, 1)
        reason = reason_with_times(found.reason, record.terms, self._now_ms)
        return QueueView(reason=reason, position=found.position, estimate_s=estimate_s)

    @cached_property
    def _offers(self) -> list[Offer]:
        return self._engine.offers()
