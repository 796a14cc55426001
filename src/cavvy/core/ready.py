"""The workers with room for a job, the best first, and which of them Dispatch's policies would rather have."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from cavvy.core.fleet import Session
from cavvy.core.job import JobType, Needs, Policy

__all__ = ["Ready", "favourite"]

_Entry = tuple[tuple[float, float, str], int, Session]
_NOBODY = (None,)


def favourite(needs: Needs) -> str | None:
    """The kind of worker that gets such a job where others are as good: FAST is for computers, small things that may
    be CHEAP for phones.
    """
    if needs.policy is Policy.FAST:
        return "DESKTOP"
    if needs.policy is Policy.CHEAP and needs.job_type is JobType.TASK:
        return "SEEKER"
    return None


class Ready:
    """Each kind in a heap of its own, by rank. Only the first of a kind is ever given something."""

    def __init__(self, sessions: Iterable[Session]) -> None:
        self._heaps: dict[str | None, list[_Entry]] = {}
        for one in sessions:
            self._heaps.setdefault(one.profile.kind, []).append((one.rank(), one.id, one))
        for heap in self._heaps.values():
            heapq.heapify(heap)

    def best(self) -> Session | None:
        """The best of all."""
        heaps = self._heaps
        if len(heaps) != 1:
            return min((heap[0] for heap in heaps.values()), default=_NOBODY)[-1]
        (heap,) = heaps.values()
        return heap[0][-1]

    def as_good(self, session: Session, kind: str | None) -> Session | None:
        """The first of this kind, if it is no busier than the best of all."""
        heap = self._heaps.get(kind)
        if kind is None or kind == session.profile.kind or heap is None:
            return None
        other = heap[0][-1]
        return other if other.rank()[0] <= session.rank()[0] else None

    def given(self, session: Session) -> None:
        """The first of its kind was given a job."""
        heap = self._heaps[session.profile.kind]
        if session.room > 0:
            heapq.heapreplace(heap, (session.rank(), session.id, session))
        else:
            self.drop(session)

    def drop(self, session: Session) -> None:
        """There is nothing more for the first of its kind."""
        heap = self._heaps[session.profile.kind]
        heapq.heappop(heap)
        if not heap:
            del self._heaps[session.profile.kind]
