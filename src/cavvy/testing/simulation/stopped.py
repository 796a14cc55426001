"""What was stopped in a simulation, told from what users were told: P10."""

from __future__ import annotations

from cavvy.core.writes import InsertJob

__all__ = ["Stopped"]


class Stopped:
    """By tenant: up to which `seq` everything is, and whether anything new is kept out."""

    def __init__(self) -> None:
        self._up_to: dict[str, int] = {}
        self._latched: set[str] = set()
        self._retried_since: dict[str, str] = {}

    def answered(self, tenant: str, stop_seq: int) -> None:
        self._up_to[tenant] = max(self._up_to.get(tenant, 0), stop_seq)
        self._latched.add(tenant)
        self._retried_since = {job_id: whose for job_id, whose in self._retried_since.items() if whose != tenant}

    def released(self, tenant: str) -> None:
        self._latched.discard(tenant)

    def retried(self, job: InsertJob) -> None:
        self._retried_since[job.id] = job.needs.tenant

    def covers(self, job: InsertJob) -> bool:
        return job.seq <= self._up_to.get(job.needs.tenant, 0) and job.id not in self._retried_since

    def keeps_out(self, job: InsertJob) -> bool:
        return job.needs.tenant in self._latched
