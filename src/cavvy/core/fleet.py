"""The workers online, as the scheduler sees them: sessions, their slots, and which one is next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from cavvy.core.job import AttemptRef, WorkerStatus
from cavvy.core.matching import Held, Offer, Profile

__all__ = ["Fleet", "Session"]


class Session(msgspec.Struct, kw_only=True):
    """One live worker connection. A slot is free when the worker says so, so `occupied` outlives a lost lease.

    `unavailable` are slots the worker reports busy beyond the attempts it names (a provider still stopping, say).
    `rejections`: so many jobs in a row it has not taken; after too many it cools down and is given nothing.
    `draining`: its worker said that it leaves, which ends with the session and is no status of the worker.
    """

    id: int
    worker: str
    instance: str
    status: WorkerStatus
    profile: Profile
    slots: int
    last_heard_s: float
    idle_since_s: float
    occupied: set[AttemptRef] = msgspec.field(default_factory=set)
    unavailable: int = 0
    draining: bool = False
    rejections: int = 0
    cooling_until_s: float | None = None

    @property
    def serving(self) -> bool:
        """Whether it may be given new jobs."""
        return self.status is WorkerStatus.APPROVED and not self.draining and self.cooling_until_s is None

    @property
    def offer(self) -> Offer:
        """What it offers, and whether it may be given anything."""
        cooling = Held.COOLING if self.cooling_until_s is not None else None
        return Offer(self.profile, self.status, Held.LEAVING if self.draining else cooling)

    @property
    def room(self) -> int:
        if not self.serving:
            return 0
        return self.slots - len(self.occupied) - self.unavailable

    def rank(self) -> tuple[float, float, str]:
        """Less is better: the share of slots that is busy, then the longest idle, then the key."""
        return (len(self.occupied) / self.slots, self.idle_since_s, self.worker)


class Fleet:
    """Every session, by id, by worker and by profile; a worker has at most one."""

    def __init__(self) -> None:
        self._sessions: dict[int, Session] = {}
        self._by_worker: dict[str, Session] = {}
        self._by_profile: dict[Profile, dict[int, Session]] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def get(self, session_id: int) -> Session | None:
        return self._sessions.get(session_id)

    def of_worker(self, worker: str) -> Session | None:
        return self._by_worker.get(worker)

    def of_profile(self, profile: Profile) -> Iterable[Session]:
        return self._by_profile.get(profile, {}).values()

    def add(self, session: Session) -> None:
        """From now on its profile is the very one of those that are alike, so that looking it up compares nothing."""
        self._sessions[session.id] = session
        self._by_worker[session.worker] = session
        alike = self._by_profile.setdefault(session.profile, {})
        session.profile = next((one.profile for one in alike.values()), session.profile)
        alike[session.id] = session

    def remove(self, session: Session) -> None:
        del self._sessions[session.id]
        if self._by_worker.get(session.worker) is session:
            del self._by_worker[session.worker]
        alike = self._by_profile[session.profile]
        del alike[session.id]
        if not alike:
            del self._by_profile[session.profile]

    def has_profile(self, profile: Profile) -> bool:
        return profile in self._by_profile

    def with_room(self, wants: Callable[[Profile], bool]) -> list[Session]:
        """The sessions that could take a job now, of the profiles that want one."""
        found = []
        for profile, alike in self._by_profile.items():
            free = [one for one in alike.values() if one.room > 0]
            if free and wants(profile):
                found += free
        return found
