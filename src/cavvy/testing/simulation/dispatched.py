"""Which workers a simulation has and what each may be given; what Dispatch's were given, and over which socket.

Such a worker is its socket: only what it was given over this one may be taken from it, and what it has goes elsewhere
as soon as the socket is gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from cavvy import defaults
from cavvy.core.job import AttemptRef, JobType
from cavvy.core.legacy_receipt import is_legacy
from cavvy.core.writes import CompleteJob, InsertJob
from cavvy.testing.simulation.network import LegacyLink

__all__ = ["Dispatched", "Hand"]


class Hand(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is."""

    job_types: frozenset[JobType]
    legacy: bool = False


class Dispatched:
    """`open` are the attempts that Dispatch's workers have been sent and that have not ended."""

    def __init__(self) -> None:
        self.hands: dict[str, Hand] = {}
        self.private = False
        self.open: dict[AttemptRef, LegacyLink] = {}
        self._given: dict[AttemptRef, set[LegacyLink]] = defaultdict(set)
        self._said: dict[bytes, set[LegacyLink]] = defaultdict(set)

    def legacy(self, worker: str) -> bool:
        return worker in self.hands and self.hands[worker].legacy

    def refusal(self, job: InsertJob, worker: str) -> str | None:
        """Why this worker must not be given such a job, if it must not; whom its user trusts is not asked here."""
        hand, needs = self.hands[worker], job.needs
        if needs.job_type not in hand.job_types:
            return f"does not run {needs.job_type}"
        if not hand.legacy:
            return None
        if needs.tenant != defaults.DISPATCH_TENANT or needs.policy is None:
            return "speaks Dispatch's dialect only"
        return "may see nothing PRIVATE" if needs.owner is not None and not self.private else None

    def given(self, ref: AttemptRef, link: LegacyLink) -> None:
        """A socket was sent this attempt."""
        self.open[ref] = link
        self._given[ref].add(link)

    def ended(self, ref: AttemptRef) -> None:
        self.open.pop(ref, None)

    def said(self, receipt: bytes, link: LegacyLink) -> None:
        """A worker is about to send this receipt."""
        self._said[receipt].add(link)

    def is_its_own(self, write: CompleteJob) -> bool:
        """Whether what was taken came over a socket that had been given this attempt."""
        if not is_legacy(write.receipt):
            return True
        ref = AttemptRef(write.job_id, write.epoch)
        return not self._given[ref].isdisjoint(self._said[write.receipt])

    def stranded(self, before_s: float) -> Iterator[tuple[AttemptRef, LegacyLink]]:
        """What is open though its socket was gone before then."""
        for ref, link in self.open.items():
            if link.over_s is not None and link.over_s < before_s:
                yield ref, link
