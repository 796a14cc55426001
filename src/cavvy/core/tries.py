"""How often a job is tried, and how long it waits in between."""

from __future__ import annotations

from cavvy import defaults
from cavvy.core.job import AttemptEnd, JobHeader, JobStatus
from cavvy.core.lifecycle import Step

__all__ = ["backoff_s", "last_chance", "pause_s"]


def backoff_s(times: int) -> float:
    """The pause after the first time, the second …: doubling up to a cap."""
    return min(defaults.RETRY_CAP_S, defaults.RETRY_BASE_S * 2.0 ** min(times - 1, 32))


def last_chance(change: Step, job: JobHeader) -> Step:
    """The step as it is for a job that may have no try left: then it fails instead of waiting again."""
    if change.status is not JobStatus.PENDING:
        return change
    tried_out = change.counted and job.tries + 1 >= job.terms.max_attempts
    unwanted = change.end is AttemptEnd.REJECTED and job.rejections >= defaults.MAX_REJECTS
    return change._replace(status=JobStatus.FAILED) if tried_out or unwanted else change


def pause_s(change: Step, job: JobHeader) -> float:
    """How long a job waits before it is granted again; `job.tries` counts the attempt that has just ended."""
    return backoff_s(job.tries) if change.end is AttemptEnd.FAILED else 0.0
