"""The leases of all live attempts, by job, and when the next of them ends."""

from __future__ import annotations

import math

from cavvy.core.fleet import Session
from cavvy.core.job import JobHeader, JobStatus, Now
from cavvy.core.lease import Lapse, Lease, lapse
from cavvy.core.settings import Settings
from cavvy.core.times import AttemptClock

__all__ = ["Leases"]


class Leases(dict[str, Lease]):
    """`first_s`: when the first lease without a socket ends; infinity for never. The others end with a sweep."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.first_s = math.inf
        self._settings = settings

    def grant(self, job: JobHeader, session: Session, now: Now, *, taken: bool) -> Lease:
        """This worker speaks for the job from now on."""
        lease = self[job.id] = Lease(
            worker=session.worker,
            epoch=job.epoch,
            until_s=now.mono_s + self._settings.lease_ttl_s,
            granted_s=now.mono_s,
            clock=AttemptClock(heard_s=now.mono_s),
            session=session.id,
            instance=session.instance,
            taken=taken,
        )
        return lease

    def restore(self, job: JobHeader, now: Now, grace_until_s: float) -> None:
        """Of an attempt that another process granted: its worker is expected back."""
        self[job.id] = Lease(
            worker=job.worker or "",
            epoch=job.epoch,
            until_s=max(grace_until_s, now.mono_s + self._settings.requeue_after_s),
            granted_s=now.mono_s,
            clock=AttemptClock(heard_s=now.mono_s, started_s=now.mono_s if job.status is JobStatus.RUNNING else None),
            taken=True,
            stop_by_s=now.mono_s + self._settings.stop_ack_timeout_s if job.cancel is not None else None,
        )

    def orphan(self, lease: Lease, now: Now) -> None:
        """Its socket is lost: the same worker has `requeue_after_s` to come back with it."""
        lease.session = None
        lease.until_s = min(lease.until_s, now.mono_s + self._settings.requeue_after_s)
        self.first_s = min(self.first_s, lease.until_s)

    def forgive(self, gap_s: float) -> None:
        """Nobody could be heard for so long. The sweep that follows looks which is the next to end."""
        for lease in self.values():
            lease.clock.forgive(gap_s)
            lease.until_s += gap_s
            lease.granted_s += gap_s
            lease.stop_by_s = lease.stop_by_s and lease.stop_by_s + gap_s

    def lapsed(self, now: Now) -> list[tuple[str, Lapse]]:
        """The jobs whose lease time has ended, and how."""
        accept_s = self._settings.accept_timeout_s
        return [(job_id, what) for job_id, one in self.items() if (what := lapse(one, now.mono_s, accept_s))]

    def look_ahead(self) -> None:
        """After a sweep: which is the next."""
        self.first_s = min((one.until_s for one in self.values() if one.session is None), default=math.inf)
