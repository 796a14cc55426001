"""The store seam: what every backend promises. Held by one conformance suite over all backends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

import msgspec

from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.job import (
    AttemptEnd,
    CancelRequest,
    Effort,
    Failure,
    FailureCode,
    JobHeader,
    JobStatus,
    JobType,
    Policy,
    PrivacyClass,
    Terms,
    WorkerStatus,
    needs_of,
    shared_needs,
    shared_terms,
)
from cavvy.core.latch import StopLatch
from cavvy.core.retention import Due, Horizons
from cavvy.core.trust import Trust
from cavvy.core.writes import Usage, Write

__all__ = [
    "AssignInput",
    "AttemptRecord",
    "FoundJobs",
    "IdempotencyRecord",
    "JobFilter",
    "JobRecord",
    "LoadRow",
    "Opened",
    "Store",
    "TokenRecord",
    "WorkerRecord",
    "header_of",
    "waits_after_loss",
]


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What opening yields. `term` was raised by this open; commits with an older one are Fenced from now on."""

    store_id: str
    term: int
    last_seq: int
    last_number: Mapping[str, int]


class WorkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    id: str
    name: str
    tenant: str
    status: WorkerStatus
    enrolled_at_ms: int


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An enrolment token that is not used up (it may have expired)."""

    token_hash: bytes
    tenant: str
    expires_at_ms: int
    needs_approval: bool
    pairs_with: str | None = None


LoadRow = JobHeader | WorkerRecord | TokenRecord | ApiKey | Tenant | StopLatch | Trust


class AssignInput(msgspec.Struct, frozen=True, kw_only=True):
    """What an assignment needs beside the header; `salt` is that of the job's highest attempt (empty if none)."""

    input: bytes
    params: bytes
    salt: bytes


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    epoch: int
    worker: str
    worker_id: str | None
    salt: bytes
    granted_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int | None
    end: AttemptEnd | None
    counted: bool
    usage: Usage | None
    code: FailureCode | None = None
    message: str | None = None


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that is stored of a job. In lists `input`, `result` and `receipt` are None and `attempts` is empty.

    Attempts up to `retried_epoch` belong to runs before it was retried. Of a job whose texts were erased `input` is
    empty, `params` are `{}`, `metadata` and `result` are None.
    """

    id: str
    seq: int
    number: int
    tenant: str
    user_id: str
    job_type: JobType
    privacy_class: PrivacyClass
    model: str | None
    effort: Effort
    thread_id: str | None
    terms: Terms
    estimated_tokens: int
    status: JobStatus
    epoch: int
    tries: int
    created_at_ms: int
    completed_at_ms: int | None
    cancel: CancelRequest | None
    failure: Failure | None
    accepted_epoch: int | None
    params: bytes
    metadata: bytes | None
    input: bytes | None
    result: bytes | None
    receipt: bytes | None
    output_hash: str | None
    served_model: str | None
    attempts: tuple[AttemptRecord, ...]
    erased_at_ms: int | None = None
    retried_epoch: int | None = None
    retried_at_ms: int | None = None
    policy: Policy | None = None
    payment_ref: str | None = None


def waits_after_loss(job: JobRecord) -> bool:
    """Whether its last attempt is lost and may still come back: nobody else was granted it, and it was not retried."""
    lost = bool(job.attempts) and job.attempts[-1].end is AttemptEnd.LOST
    return lost and job.status is JobStatus.PENDING and job.retried_epoch != job.epoch


def header_of(job: JobRecord) -> JobHeader:
    """What the core knows of a job, from all that is stored of it."""
    needs = needs_of(
        tenant=job.tenant,
        user_id=job.user_id,
        job_type=job.job_type,
        privacy_class=job.privacy_class,
        model=job.model,
        policy=job.policy,
    )
    return JobHeader(
        id=job.id,
        seq=job.seq,
        number=job.number,
        user_id=job.user_id,
        needs=shared_needs(needs),
        status=job.status,
        created_at_ms=job.created_at_ms,
        epoch=job.epoch,
        tries=job.tries,
        worker=job.attempts[-1].worker if job.attempts else None,
        lost=waits_after_loss(job),
        lost_counted=waits_after_loss(job) and job.attempts[-1].counted,
        cancel=job.cancel,
        effort=job.effort,
        thread_id=job.thread_id,
        terms=shared_terms(job.terms),
        estimated_tokens=job.estimated_tokens,
        payment_ref=job.payment_ref,
    )


class IdempotencyRecord(msgspec.Struct, frozen=True, kw_only=True):
    job_id: str
    fingerprint: bytes


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs are wanted; None is any. `worker` (key) has been granted it; `text`: see core/search.py."""

    statuses: frozenset[JobStatus] | None = None
    worker: str | None = None
    text: str | None = None
    thread_id: str | None = None
    effort: Effort | None = None


class FoundJobs(msgspec.Struct, frozen=True, kw_only=True):
    """`before` is the number from below which to go on; None when nothing older is left to look at."""

    jobs: Sequence[JobRecord]
    before: int | None


class Store(Protocol):
    """The durable truth. All methods may be called concurrently; commits are serialised.

    Whatever reads raises StoreDamaged when what is stored is not what was written; then nothing is committed any more.
    """

    async def open(self) -> Opened:
        """Opens, migrates and raises the term. Raises SchemaTooNew or DataHeld; then nothing was changed."""

    async def close(self) -> None:
        """Lets go of everything; idempotent."""

    def load(self) -> AsyncIterator[Sequence[LoadRow]]:
        """In pages: every job that is not terminal, in order of `seq`; every worker; every token not used up; every
        tenant; every key that is not revoked; every stop; all trust. No bodies.

        One state of the data only while nothing is committed.
        """

    async def commit(self, writes: Sequence[Write], *, term: int) -> None:
        """All or nothing, in order, durable on return (fsync included).

        Raises RolledBack (retry the same writes), Refused (replay singly), CommitUnknown (exit), Fenced (stop deciding)
        or StoreDamaged (exit). Cancelling the call does not stop the commit.
        """

    async def inputs(self, job_ids: Sequence[str]) -> Mapping[str, AssignInput]:
        """What to send for these jobs; an unknown id is left out."""

    async def job(self, tenant: str, job_id: str) -> JobRecord | None:
        """One job, whole; None when the tenant has no such job."""

    async def jobs(self, tenant: str, *, before: int | None, limit: int) -> Sequence[JobRecord]:
        """The newest first, from below the tenant's number `before`, without texts."""

    async def find_jobs(self, tenant: str, wanted: JobFilter, *, before: int | None, limit: int) -> FoundJobs:
        """As `jobs`, of those that are `wanted`; `text` is looked for in id, model, metadata and input.

        It may have looked at a part only and found fewer than there are: who wants more goes on, until `before` is
        None.
        """

    async def idempotent(
        self, tenant: str, keys: Sequence[str], *, not_before_ms: int
    ) -> Mapping[str, IdempotencyRecord]:
        """The jobs these keys made at or after `not_before_ms`; a key that made none is left out."""

    async def accepted(self, job_id: str, epoch: int) -> tuple[str, bool] | None:
        """The worker of that attempt and whether its completion is the accepted one; None without such an attempt."""

    async def trusts(self, tenant: str, user_id: str) -> Sequence[Trust]:
        """This user's codes, claims and pairings, in the order in which they came."""

    async def workers(self, tenant: str) -> Sequence[WorkerRecord]:
        """Every worker that serves the tenant, revoked ones too, oldest first: its own, and the shared ones (those of
        `defaults.SHARED`).
        """

    async def api_keys(self) -> Sequence[ApiKey]:
        """Every key, revoked ones too, oldest first."""

    async def tenants(self) -> Sequence[Tenant]:
        """Every tenant, oldest first."""

    async def due(self, horizons: Horizons, *, limit: int) -> Due:
        """A slice of what the horizons leave behind: of each kind the oldest, at most `limit`. Jobs that have ended
        only; one that goes whole is not named again for its texts.
        """

    async def scrub(self, *, term: int) -> bool:
        """Leaves nothing of what was erased or deleted in the store's files, and gives much free space back.

        False when a reader or a full disk stood in the way: try again. Raises Fenced and CommitUnknown.
        """
