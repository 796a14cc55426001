"""How many live jobs are in which status, of which effort: kept with each change, so that nobody has to count them."""

from __future__ import annotations

from cavvy.core.job import Effort, JobHeader, JobStatus

__all__ = ["Census"]


class Census:
    """Jobs by effort and status; of those that have ended, how many did."""

    def __init__(self) -> None:
        self._jobs = {effort: dict.fromkeys(JobStatus, 0) for effort in Effort}

    def see(self, job: JobHeader) -> None:
        """Counts a job where it is now, and no longer where it was seen last."""
        before, now = job.seen, job.status
        if before is now:
            return
        of_effort = self._jobs[job.effort]
        if before is not None:
            of_effort[before] -= 1
        of_effort[now] += 1
        job.seen = now

    def count(self, status: JobStatus, effort: Effort) -> int:
        """How many there are."""
        return self._jobs[effort][status]
