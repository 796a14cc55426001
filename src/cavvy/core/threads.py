"""Which live jobs belong to which thread."""

from __future__ import annotations

from cavvy.core.job import JobHeader

__all__ = ["Threads"]


class Threads:
    """The live jobs of every thread of every tenant; a job without a thread costs nothing here."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], dict[str, JobHeader]] = {}

    def add(self, job: JobHeader) -> None:
        if job.thread_id is not None:
            self._jobs.setdefault((job.needs.tenant, job.thread_id), {})[job.id] = job

    def discard(self, job: JobHeader) -> None:
        if job.thread_id is None:
            return
        name = (job.needs.tenant, job.thread_id)
        jobs = self._jobs.get(name, {})
        jobs.pop(job.id, None)
        if not jobs:
            self._jobs.pop(name, None)

    def of(self, tenant: str, thread_id: str) -> list[JobHeader]:
        """Its live jobs, in the order in which they came."""
        return list(self._jobs.get((tenant, thread_id), {}).values())
