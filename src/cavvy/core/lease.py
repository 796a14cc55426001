"""A lease: the right of one attempt to speak for its job, while renewed."""

from __future__ import annotations

from enum import Enum, auto

import msgspec

from cavvy.core.job import JobHeader
from cavvy.core.matching import Profile
from cavvy.core.times import AttemptClock

__all__ = ["Lapse", "Lease", "Resumption", "lapse", "resumption"]


class Lease(msgspec.Struct, kw_only=True):
    """The live side of one attempt; never stored. `taken`: its worker has shown that it has it. `profile` is what the
    grant was charged for; None when another process made it.
    """

    worker: str
    epoch: int
    until_s: float
    granted_s: float
    clock: AttemptClock
    session: int | None = None
    instance: str | None = None
    taken: bool = False
    stop_by_s: float | None = None
    profile: Profile | None = None


class Lapse(Enum):
    """What time did to a lease."""

    STOP_UNANSWERED = auto()
    LEASE_END = auto()
    NOT_TAKEN = auto()


def lapse(lease: Lease, now_s: float, accept_timeout_s: float) -> Lapse | None:
    """Which of its clocks, if any, has run out for this lease."""
    if lease.stop_by_s is not None and now_s >= lease.stop_by_s:
        return Lapse.STOP_UNANSWERED
    if now_s >= lease.until_s:
        return Lapse.LEASE_END
    if not lease.taken and now_s >= lease.granted_s + accept_timeout_s:
        return Lapse.NOT_TAKEN
    return None


class Resumption(Enum):
    """What to do about an attempt that a worker says it has (lifecycle.md, the resume table)."""

    GO_ON = auto()
    REVIVE = auto()
    STOP = auto()
    STALE = auto()
    UNKNOWN = auto()


def resumption(job: JobHeader | None, worker: str, epoch: int) -> Resumption:
    """The resume table's answer. UNKNOWN: the job is terminal or never was; the store tells which."""
    if job is None:
        return Resumption.UNKNOWN
    if job.epoch != epoch or job.worker != worker:
        return Resumption.STALE
    if job.active:
        return Resumption.GO_ON if job.cancel is None else Resumption.STOP
    return Resumption.REVIVE if job.lost else Resumption.STALE
