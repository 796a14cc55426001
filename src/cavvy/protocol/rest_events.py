"""What event streams carry: a job's text, and a tenant's changes."""

from __future__ import annotations

import msgspec

from cavvy.core.job import FailureCode, JobStatus
from cavvy.protocol.rest_job import UsageView

__all__ = ["AttemptStarted", "Bye", "Delta", "End", "EventsCursor", "JobChange"]


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """SSE `delta`: `text` begins at `offset` (Unicode code points) of `attempt`."""

    attempt: int
    offset: int
    kind: str
    text: str


class AttemptStarted(msgspec.Struct, frozen=True, kw_only=True):
    """SSE `attempt`: a new one begins; the text so far is void."""

    attempt: int


class End(msgspec.Struct, frozen=True, kw_only=True):
    """SSE `end`: the stream is whole. `length` counts code points; `output_hash` is null unless
    completed, and when the text was erased."""

    attempt: int
    length: int
    output_hash: str | None


class Bye(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """SSE `bye`: this stream ends and is not whole; come back after `retry_ms` with the last id.

    `reason` is none when the coordinator stops or the key has ended, else `too_slow`: you read slower than it went on.
    """

    retry_ms: int
    reason: str | None = None


class EventsCursor(msgspec.Struct, frozen=True, kw_only=True):
    """SSE `cursor` of a tenant's events: from here on nothing is left out. What was before, list.

    Jobs there were: `GET /v1/jobs?cursor=…`; null when there were none.
    """

    cursor: str | None


class JobChange(msgspec.Struct, frozen=True, kw_only=True):
    """SSE `job` of a tenant's events: where a job is now, without what anybody wrote. Fields are called as the job's.

    `stopping`: it was asked to stop and has not ended. `worker_id` has the attempt, or had it last. `at` is when the
    coordinator told it.
    """

    id: str
    number: int
    status: JobStatus
    at: str
    attempt: int
    worker_id: str | None
    stopping: bool
    failure_code: FailureCode | None
    stopped_by: str | None
    usage: UsageView | None
    job_type: str
    privacy_class: str
    model: str | None
    effort: str
    thread_id: str | None
    user_id: str
    created_at: str
