"""The backlog: every pending job, whether it waits for a worker, rests until a time or is about to be stopped."""

from __future__ import annotations

from cavvy.core.job import JobHeader, Now
from cavvy.core.matching import Profile
from cavvy.core.resting import RestingJobs
from cavvy.core.settings import Settings
from cavvy.core.waiting import WaitingJobs
from cavvy.core.windows import MatchWindows

__all__ = ["Backlog"]


class Backlog:
    """A pending job is in exactly one of `waiting`, `resting` and `withheld`; `windows` has those that wait and have
    one.
    """

    def __init__(self, settings: Settings) -> None:
        self.waiting = WaitingJobs()
        self.resting = RestingJobs()
        self.windows = MatchWindows()
        self.withheld: set[str] = set()
        self._settings = settings

    @property
    def total(self) -> int:
        """How many jobs are pending, those that rest among them."""
        return self.waiting.total + self.resting.total

    def of_tenant(self, tenant: str) -> int:
        return self.waiting.of_tenant(tenant) + self.resting.of_tenant(tenant)

    def full(self, tenant: str) -> bool:
        """Whether as many jobs wait as may, of this tenant or of all."""
        of_tenant, of_all = self._settings.max_pending_per_tenant, self._settings.max_pending
        return self.of_tenant(tenant) >= of_tenant or self.total >= of_all

    def add(self, job: JobHeader, now: Now, grace_until_s: float) -> None:
        """A job that is pending from now on waits for a worker, or rests until its time comes."""
        terms = job.terms
        if terms.not_before_ms is not None and terms.not_before_ms > now.wall_ms:
            self.resting.add(job, until_ms=terms.not_before_ms)
        elif terms.deadline_at_ms is not None and terms.deadline_at_ms <= now.wall_ms:
            self.resting.add(job, until_s=grace_until_s)
        else:
            if terms.match_window_s is not None:
                self.windows.enter(job, now.mono_s)
            self.waiting.add(job, now.mono_s)

    def rest(self, job: JobHeader, until_s: float) -> None:
        """A pending job is not granted before `until_s` (monotonic); it counts as pending all the same."""
        self.remove(job)
        self.resting.add(job, until_s=until_s)

    def withhold(self, job: JobHeader) -> bool:
        """Takes a job that waits off the queue: it is about to end, and no free slot and no lost attempt that returns
        gets it. False if there was nothing to take.
        """
        if job.active or job.id in self.withheld:
            return False
        self.remove(job)
        self.withheld.add(job.id)
        job.lost = False
        return True

    def remove(self, job: JobHeader) -> None:
        if job.terms.match_window_s is not None:
            self.windows.leave(job)
        if job.id in self.withheld:
            self.withheld.discard(job.id)
        elif not self.resting.discard(job):
            self.waiting.discard(job)

    def grant(self, job: JobHeader, profile: Profile, now: Now) -> None:
        """The job whose turn it was goes to a worker of this profile."""
        if job.terms.match_window_s is not None:
            self.windows.leave(job)
        self.waiting.grant(job, profile, now.mono_s)
