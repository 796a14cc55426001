"""A tenant's events as objects, over any number of connections."""

from __future__ import annotations

from typing import Any

from cavvy.client import _protocol as protocol
from cavvy.client._sse import Event
from cavvy.protocol.rest_events import Bye, EventsCursor, JobChange
from cavvy.protocol.rest_stop import StopView
from cavvy.protocol.rest_workers import WorkerView

__all__ = ["EventReader", "TenantEvent"]

#: What `Cavvy.events` gives.
TenantEvent = EventsCursor | JobChange | WorkerView | StopView

_KINDS: dict[str, Any] = {"cursor": EventsCursor, "job": JobChange, "worker": WorkerView, "stop": StopView}


class EventReader:
    """`over`: nothing more is to be read from this connection. `retry_s`: the pause the coordinator asked for."""

    def __init__(self) -> None:
        self.seen = False
        self.reconnected()

    def reconnected(self) -> None:
        """A new connection begins."""
        self.over = False
        self.retry_s: float | None = None

    def take(self, event: Event) -> TenantEvent | None:
        """What to give for `event`; None for what says nothing, or nothing that this version knows."""
        if event.name == "bye":
            self.over = True
            self.retry_s = protocol.decode(event.data, Bye).retry_ms / 1000
        kind = _KINDS.get(event.name)
        if kind is None:
            return None
        self.seen = True
        found: TenantEvent = protocol.decode(event.data, kind)
        return found
