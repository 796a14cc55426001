"""A job and its parts, as the native API shows them.

Times are ISO 8601 with milliseconds and `Z`. Readers ignore fields they do not know.
"""

from __future__ import annotations

import msgspec

from cavvy import defaults
from cavvy.core.job import FailureCode, JobStatus
from cavvy.protocol.rest_receipt import ReceiptView

__all__ = ["AttemptView", "CancelView", "FailureView", "Job", "JobList", "QueueView", "TimelineEntry", "UsageView"]


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    input_tokens: int
    output_tokens: int


class FailureView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a job failed. `by`, `reason` and `stop_ms` (until its model was idle) belong to an abort."""

    code: FailureCode
    message: str
    at: str
    by: str | None = None
    reason: str | None = None
    attempt: int | None = None
    stop_ms: int | None = None


class CancelView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A running job was asked to stop and has not ended yet, or ended before it heard of it.

    `durable` is false while the store takes no writes: the worker was told, but if the coordinator's process ends
    before the store takes it, the job goes on.
    """

    by: str
    reason: str | None
    at: str
    durable: bool = True


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """Why a pending job waits, and where it stands: 1 is the next, null while it does not stand in line. `estimate_s`
    is in about how many seconds it starts; null when that is not known.
    """

    reason: str
    position: int | None = None
    estimate_s: float | None = None


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One grant: to whom, when, how it ended, and, unless it completed, why. `input_salt` (hex) opens the receipt's
    `input_hash`. `counted`: it was one of the job's `tries`.
    """

    attempt: int
    worker: str
    worker_id: str | None
    granted_at: str
    started_at: str | None
    ended_at: str | None
    end: str | None
    code: FailureCode | None = None
    message: str | None = None
    counted: bool
    input_salt: str
    usage: UsageView | None


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened: `event` is submitted, assigned, started, attempt_failed, lost, undelivered, rejected,
    drained, revoked, retried, cancel_requested, completed, failed.
    """

    at: str
    event: str
    attempt: int | None = None
    worker_id: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the API shows it.

    In lists and events the texts (`prompt`, `messages`, `task_type`, `input`, `result`, `output`, `receipt`) are null.
    Since `erased_at` they are gone, with `metadata`, `stop` and the words of a failure; the hashes and the receipt
    stay. Jobs that came over the commit routes have a `policy` and a `price`.
    """

    id: str
    number: int
    status: JobStatus
    job_type: str
    privacy_class: str
    user_id: str
    created_at: str
    completed_at: str | None = None
    erased_at: str | None = None
    model: str | None = None
    served_model: str | None = None
    prompt: str | None = None
    messages: msgspec.Raw | None = None
    task_type: str | None = None
    input: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stop: list[str] | None = None
    metadata: msgspec.Raw | None = None
    result: msgspec.Raw | None = None
    output: str | None = None
    output_hash: str | None = None
    input_salt: str | None = None
    usage: UsageView | None = None
    failure: FailureView | None = None
    cancel_requested: CancelView | None = None
    queue: QueueView | None = None
    attempt: int = 0
    tries: int = 0
    effort: str = "standard"
    thread_id: str | None = None
    timeout_s: float = defaults.TIMEOUT_S
    first_token_timeout_s: float = defaults.FIRST_TOKEN_TIMEOUT_S
    stall_timeout_s: float = defaults.STALL_TIMEOUT_S
    match_window_s: float | None = None
    max_attempts: int = defaults.MAX_ATTEMPTS
    deadline: str | None = None
    not_before: str | None = None
    payment_ref: str | None = None
    attempts: list[AttemptView] = []
    timeline: list[TimelineEntry] = []
    policy: str | None = None
    price: str | None = None
    receipt: ReceiptView | None = None


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `cursor` gets the next page; null on the last."""

    jobs: list[Job]
    cursor: str | None
