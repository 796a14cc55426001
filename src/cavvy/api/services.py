"""What handlers need, put on the application once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from litestar import Request

from cavvy import defaults
from cavvy.api.auth import Caller, KeyRing, Role
from cavvy.api.commit_times import CommitTimes
from cavvy.api.feed import Feed
from cavvy.api.listening import Reach
from cavvy.api.waits import Waits
from cavvy.coordinator.engine import Engine
from cavvy.coordinator.hub import Hub
from cavvy.coordinator.maintenance import Maintenance
from cavvy.coordinator.meter import Meter
from cavvy.coordinator.sessions import Sessions
from cavvy.core.job import DEFAULT_TERMS, Now, Terms
from cavvy.store.base import Store

__all__ = ["Services", "services"]


@dataclass(kw_only=True)
class Services:
    """The coordinator's parts. `terms` are those of a job that does not say. `dispatch`: Dispatch's clients and workers
    are served.
    """

    engine: Engine
    hub: Hub
    feed: Feed
    sessions: Sessions
    store: Store
    ring: KeyRing
    clock: Callable[[], Now]
    maintenance: Maintenance
    reach: Reach
    meter: Meter
    connections: Callable[[], int]
    terms: Terms = DEFAULT_TERMS
    max_unproven: int = defaults.MAX_UNPROVEN_SOCKETS
    dispatch: bool = False
    commit_times: CommitTimes = field(default_factory=CommitTimes)

    def waits(self) -> Waits:
        """Says why jobs wait, for one answer."""
        return Waits(self.engine, self.clock().wall_ms)

    def caller(self, request: Request[Any, Any, Any], *roles: Role) -> Caller:
        """Who asks; see KeyRing.authenticate."""
        return self.ring.authenticate(request, *roles)

    def caller_or_anonymous(self, request: Request[Any, Any, Any], *roles: Role) -> Caller:
        """Who asks on one of the routes of Dispatch's clients; see KeyRing.authenticate_or_anonymous."""
        return self.ring.authenticate_or_anonymous(request, *roles)

    def left_s(self, caller: Caller) -> Callable[[], float]:
        """How long the caller's key is good, to be asked again and again; see KeyRing.left_s."""
        return partial(self.ring.left_s, caller)


def services(request: Request[Any, Any, Any]) -> Services:
    found = request.app.state["services"]
    assert isinstance(found, Services)
    return found
