"""Why a job waits, as JSON shows it."""

from __future__ import annotations

from functools import cached_property

from cavvy.coordinator.engine import Engine
from cavvy.coordinator.sessions import Sessions
from cavvy.core.job import Needs
from cavvy.core.matching import Offer, waiting_reason
from cavvy.core.queued import Queued
from cavvy.core.times import reason_with_times
from cavvy.protocol.rest import QueueView
from cavvy.store.base import JobRecord

__all__ = ["Waits"]


class Waits:
    """Looks at the workers online once, and at the queue for each job."""

    def __init__(self, engine: Engine, sessions: Sessions, now_ms: int) -> None:
        self._now_ms = now_ms
        self._engine = engine
        self._sessions = sessions

    def look(self, record: JobRecord) -> QueueView:
        """Of a job that was pending when `record` was read."""
        found = self._engine.queued(record.id, self._offers) or Queued(waiting_reason(_needs(record), self._offers))
        estimate_s = None if found.estimate_s is None else round(found.estimate_s, 1)
        reason = reason_with_times(found.reason, record.terms, self._now_ms)
        return QueueView(reason=reason, position=found.position, estimate_s=estimate_s)

    @cached_property
    def _offers(self) -> list[Offer]:
        return self._sessions.offers()


def _needs(record: JobRecord) -> Needs:
    return Needs(tenant=record.tenant, job_type=record.job_type, privacy_class=record.privacy_class, model=record.model)
