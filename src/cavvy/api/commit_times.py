"""The times of jobs that came over Dispatch's commit routes."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.job import JobType, Terms

__all__ = ["CommitTimes"]


class CommitTimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long Dispatch's clients look, in seconds: for a worker, and from the commit to the answer."""

    commit_llm_timeout_s: float = defaults.COMMIT_LLM_TIMEOUT_S
    commit_task_timeout_s: float = defaults.COMMIT_TASK_TIMEOUT_S
    commit_match_window_s: float = defaults.COMMIT_MATCH_WINDOW_S

    def terms(self, default: Terms, job_type: JobType, now_ms: int) -> Terms:
        """Those of a job that is committed now."""
        is_task = job_type is JobType.TASK
        timeout_s = self.commit_task_timeout_s if is_task else self.commit_llm_timeout_s
        return replace(
            default,
            timeout_s=timeout_s,
            match_window_s=self.commit_match_window_s,
            deadline_at_ms=now_ms + round(timeout_s * 1000),
        )
