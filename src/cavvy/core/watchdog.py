"""How long a worker may go on by itself (promise P5).

Who has heard nothing for a lease cannot know whether its attempts have been given to somebody else, and stops them. A
refused connection is the one sign that nobody can do that: no coordinator runs, or it can write nothing down. Then it
may go on for longer.
"""

from __future__ import annotations

from math import inf

from cavvy import defaults

__all__ = ["Watchdog"]


class Watchdog:
    """Times are in seconds of a clock that goes on while the machine sleeps."""

    __slots__ = ("_alone_s", "_lease_ttl_s", "_refused", "deadline_s", "heard_s")

    def __init__(self) -> None:
        self._lease_ttl_s = defaults.LEASE_TTL_S
        self._alone_s = defaults.LEASE_TTL_S
        self._refused = False
        self.heard_s = -inf
        self.deadline_s = inf  # when what runs is to be stopped

    def connected(self, lease_ttl_s: float, now_s: float) -> None:
        """A login: from now on the lease is what the coordinator says it is."""
        self._refused = False
        self._lease_ttl_s = self._alone_s = lease_ttl_s
        self.heard(now_s)

    def heard(self, now_s: float) -> None:
        """The coordinator has said something, whatever it was."""
        self.heard_s = now_s
        self.deadline_s = now_s + self._alone_s

    def connect_failed(self, *, refused: bool) -> None:
        """The last try says how long the worker may go on; only a refusal is a reason to go on beyond the lease."""
        if refused is self._refused:
            return
        self._refused = refused
        self._alone_s = max(self._lease_ttl_s, defaults.ORPHAN_AFTER_S) if refused else self._lease_ttl_s
        self.deadline_s = self.heard_s + self._alone_s
