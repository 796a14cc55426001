"""How many live jobs are in which status, of which effort: kept with each change, so that nobody has to count them."""

from __future__ import annotations

from collections import Counter

from cavvy.core.job import TERMINAL, Effort, JobHeader, JobStatus

__all__ = ["Census"]


class Census:
    """Jobs that are not terminal, by status and effort."""

    def __init__(self) -> None:
        self.jobs: Counter[tuple[JobStatus, Effort]] = Counter()

    def see(self, job: JobHeader) -> None:
        """Counts a job where it is now, and no longer where it was seen last."""
        if job.seen is job.status:
            return
        if job.seen is not None:
            self.jobs[job.seen, job.effort] -= 1
        if job.status not in TERMINAL:
            self.jobs[job.status, job.effort] += 1
        job.seen = job.status
