"""Which worker is paired with which users: who may be sent what is PRIVATE."""

from __future__ import annotations

__all__ = ["Pairings", "User"]

#: A user of a tenant.
User = tuple[str, str]


class Pairings:
    """Confirmed ones only."""

    def __init__(self) -> None:
        self._of: dict[str, frozenset[User]] = {}

    def of(self, worker: str) -> frozenset[User]:
        """The users (tenant, user) that trust this worker (key)."""
        return self._of.get(worker, frozenset())

    def add(self, worker: str, user: User) -> None:
        self._of[worker] = self.of(worker) | {user}

    def discard(self, worker: str, user: User) -> None:
        left = self.of(worker) - {user}
        if left:
            self._of[worker] = left
        else:
            self._of.pop(worker, None)
