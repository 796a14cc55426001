"""What a job is to the scheduler: names, statuses and the header. Prompts and answers are never here."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec

from cavvy import defaults

__all__ = [
    "DEFAULT_TERMS",
    "ERASED",
    "TERMINAL",
    "AttemptEnd",
    "AttemptRef",
    "CancelRequest",
    "Effort",
    "Failure",
    "FailureCode",
    "JobHeader",
    "JobStatus",
    "JobType",
    "Needs",
    "Now",
    "PrivacyClass",
    "RejectReason",
    "TaskType",
    "Terms",
    "WorkerStatus",
    "shared_needs",
    "shared_terms",
]


class JobStatus(StrEnum):
    """Where a job is. `completed` and `failed` are terminal."""

    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED})


class FailureCode(StrEnum):
    """Why a job failed."""

    ABORTED = "aborted"
    NO_ELIGIBLE_WORKER = "no_eligible_worker"
    NO_TRUSTED_WORKER = "no_trusted_worker"
    WORKER_ERROR = "worker_error"
    WORKER_LOST = "worker_lost"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    STALLED = "stalled"
    REJECTED_RECEIPT = "rejected_receipt"
    BUDGET_EXCEEDED = "budget_exceeded"
    INVALID_OUTPUT = "invalid_output"
    INPUT_TOO_LARGE = "input_too_large"
    OUTPUT_TOO_LARGE = "output_too_large"
    CONTEXT_TRUNCATED = "context_truncated"


class AttemptEnd(StrEnum):
    """How one attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    LOST = "lost"
    UNDELIVERED = "undelivered"
    REVOKED = "revoked"  # its worker was; it never comes back
    REJECTED = "rejected"  # its worker did not take it
    DRAINED = "drained"  # its worker was leaving
    TIMEOUT = "timeout"
    STALLED = "stalled"
    DEADLINE = "deadline"


class JobType(StrEnum):
    LLM_INFER = "LLM_INFER"
    TASK = "TASK"


class TaskType(StrEnum):
    """What a TASK job can be."""

    SUMMARIZE = "summarize"
    CLASSIFY = "classify"
    EXTRACT_JSON = "extract_json"


class PrivacyClass(StrEnum):
    PUBLIC = "PUBLIC"
    PRIVATE = "PRIVATE"


class RejectReason(StrEnum):
    """Why a worker does not take a job it was granted."""

    DRAINING = "draining"  # it is leaving, and takes nothing new
    BUSY = "busy"  # its provider is
    UNSUPPORTED = "unsupported"  # it cannot run this one, whatever it said when it registered


class Policy(StrEnum):
    """How a job came over Dispatch's commit routes; AUTO is resolved before."""

    FAST = "FAST"
    CHEAP = "CHEAP"


class Effort(StrEnum):
    """How much a job is worth, from least to most: in what order jobs are granted."""

    TRIVIAL = "trivial"
    QUICK = "quick"
    STANDARD = "standard"
    DEEP = "deep"
    CRITICAL = "critical"


class WorkerStatus(StrEnum):
    """What a worker may do. Only APPROVED gets new jobs; only a command changes a status."""

    WAITING_APPROVAL = "waiting_approval"
    APPROVED = "approved"
    PAUSED = "paused"  # goes on with what it has
    DRAINING = "draining"  # … and leaves when that has ended, now and whenever it comes
    REVOKED = "revoked"  # for good


class Now(NamedTuple):
    """The time of one step: `mono_s` for leases (never jumps), `wall_ms` (Unix) for stamps."""

    mono_s: float
    wall_ms: int


class AttemptRef(NamedTuple):
    """One attempt's name: the job and the epoch of the grant."""

    job_id: str
    epoch: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class CancelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A durable wish that a running job stops: by whom, why, when."""

    by: str
    reason: str | None
    at_ms: int


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why and when a job failed; `by`, `reason` and `stop_ms` (until its model was idle) belong to an abort."""

    code: FailureCode
    message: str
    at_ms: int
    by: str | None = None
    reason: str | None = None
    attempt: int | None = None
    stop_ms: int | None = None


#: Stands in a failure for the words that were erased.
ERASED = "The texts of this job were erased."


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a job asks of a worker. Jobs with equal needs wait in one class. `needs_of` makes it.

    `owner` is the user whose PRIVATE job it is; PUBLIC jobs have none. `policy` marks those that came over Dispatch's
    commit routes, which alone can be told in its workers' dialect.
    """

    tenant: str = defaults.TENANT
    job_type: JobType = JobType.LLM_INFER
    privacy_class: PrivacyClass = PrivacyClass.PUBLIC
    model: str | None = None
    owner: str | None = None
    policy: Policy | None = None


class Terms(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """How long a job and its attempts may take, in seconds, and how often it is tried; `_ms` are wall-clock times.

    `timeout_s` is for one attempt, `first_token_timeout_s` before its first sign of life, `stall_timeout_s` between two
    of them. `match_window_s` is how long there may be no worker online that could run it; None: for ever.
    """

    timeout_s: float = defaults.TIMEOUT_S
    first_token_timeout_s: float = defaults.FIRST_TOKEN_TIMEOUT_S
    stall_timeout_s: float = defaults.STALL_TIMEOUT_S
    match_window_s: float | None = None
    max_attempts: int = defaults.MAX_ATTEMPTS
    deadline_at_ms: int | None = None
    not_before_ms: int | None = None


DEFAULT_TERMS = Terms()


@lru_cache(maxsize=4096)
def shared_needs(needs: Needs) -> Needs:
    """One value for all that are equal to it: a million waiting jobs have few different ones."""
    return needs


def needs_of(
    *,
    tenant: str,
    user_id: str,
    job_type: JobType,
    privacy_class: PrivacyClass,
    model: str | None,
    policy: Policy | None = None,
) -> Needs:
    """What a job of this user asks of a worker."""
    owner = None if privacy_class is PrivacyClass.PUBLIC else user_id
    return Needs(tenant=tenant, job_type=job_type, privacy_class=privacy_class, model=model, owner=owner, policy=policy)


@lru_cache(maxsize=4096)
def shared_terms(terms: Terms) -> Terms:
    """As `shared_needs`."""
    return DEFAULT_TERMS if terms == DEFAULT_TERMS else terms


class JobHeader(msgspec.Struct, kw_only=True, gc=False):
    """The scheduler's view of one job that is not terminal. `seq` is the order of submission and never changes.

    `worker` is the key (hex) that was granted `epoch`, the job's highest. `lost` says that this attempt's lease ended
    while nobody else was granted the job: its worker may still go on or deliver. `lost_counted` says that the loss was
    counted as a try, which a revival undoes. `excluded` are the workers (keys) that shall not get it for now, each
    until then (monotonic seconds), `rejected` is how often each worker did not take it. `estimated_tokens` is what it
    will take, prompt and answer. `place` is where it stands in its user's line (core/fairness.py). `seen` is the status
    under which the census counts it. `payment_ref` goes into its receipt.
    """

    id: str
    seq: int
    number: int
    user_id: str
    needs: Needs
    status: JobStatus
    created_at_ms: int
    epoch: int = 0
    tries: int = 0
    worker: str | None = None
    lost: bool = False
    lost_counted: bool = False
    cancel: CancelRequest | None = None
    seen: JobStatus | None = None
    effort: Effort = Effort.STANDARD
    thread_id: str | None = None
    terms: Terms = DEFAULT_TERMS
    estimated_tokens: int = 0
    excluded: dict[str, float] | None = None
    rejected: dict[str, int] | None = None
    place: int = 0
    payment_ref: str | None = None

    @property
    def active(self) -> bool:
        """Granted to a worker: assigned or running."""
        return self.status is JobStatus.ASSIGNED or self.status is JobStatus.RUNNING

    @property
    def rejections(self) -> int:
        """How often workers did not take it."""
        return sum(self.rejected.values()) if self.rejected else 0

    def exclude(self, worker: str, until_s: float) -> None:
        """This worker shall not get it before `until_s` (monotonic)."""
        self.excluded = {**(self.excluded or {}), worker: until_s}

    def note_rejection(self, worker: str) -> int:
        """How often this worker has not taken it, with this time."""
        times = (self.rejected or {}).get(worker, 0) + 1
        self.rejected = {**(self.rejected or {}), worker: times}
        return times
