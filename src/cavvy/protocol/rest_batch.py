"""A batch of jobs, and what became of each."""

from __future__ import annotations

import msgspec

from cavvy.protocol.rest_job import Job
from cavvy.protocol.rest_problem import Problem
from cavvy.protocol.rest_submit import SubmitBody

__all__ = ["BatchBody", "BatchResult", "BatchResults"]


class BatchBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/jobs/batch`: 1 to 1,000 jobs."""

    jobs: list[SubmitBody]


class BatchResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one job of a batch: `job` (without texts) with 201 or, made before, 200; else `problem`."""

    status: int
    job: Job | None = None
    problem: Problem | None = None


class BatchResults(msgspec.Struct, frozen=True, kw_only=True):
    """In the order of the batch."""

    results: list[BatchResult]
