"""Which worker is paired with which users: who may be sent what is PRIVATE."""

from __future__ import annotations

__all__ = ["Pairings", "User"]

#: A user of a tenant.
User = tuple[str, str]


class Pairings:
    """Confirmed ones only."""

    def __init__(self) -> None:
        self._of: dict[str, set[User]] = {}

    def of(self, worker: str) -> frozenset[User]:
        """The users (tenant, user) that trust this worker (key)."""
        return frozenset(self._of.get(worker, ()))

    def add(self, worker: str, user: User) -> None:
        self._of.setdefault(worker, set()).add(user)

    def discard(self, worker: str, user: User) -> None:
        users = self._of.get(worker, set())
        users.discard(user)
        if not users:
            self._of.pop(worker, None)
