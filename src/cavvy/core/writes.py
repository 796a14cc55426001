"""What the core asks the store to write: data, no SQL. One batch of these is one transaction.

Every write is conditional on the state it was decided on; a store answers any that does not find it with `Refused`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.job import (
    DEFAULT_TERMS,
    AttemptEnd,
    CancelRequest,
    Effort,
    Failure,
    FailureCode,
    JobStatus,
    Needs,
    Terms,
    WorkerStatus,
)
from cavvy.core.latch import StopLatch
from cavvy.core.trust import Trust

__all__ = [
    "AddApiKey",
    "AddTenant",
    "AddWorkerToken",
    "BookUsage",
    "CompleteJob",
    "DropExpiredTokens",
    "DropIdempotencyKeys",
    "DropJobs",
    "DropRevokedKeys",
    "DropStop",
    "DropTrust",
    "DropUsedTokens",
    "EnrolWorker",
    "EraseJobs",
    "FailJob",
    "GrantJob",
    "Idempotency",
    "InsertJob",
    "PutTrust",
    "ReplaceApiKey",
    "RequestCancel",
    "RequeueJob",
    "RetryJob",
    "ReviveAttempt",
    "SetStop",
    "SetWorkerStatus",
    "StartAttempt",
    "Usage",
    "Write",
    "WriteBase",
]


class WriteBase(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class Idempotency(msgspec.Struct, frozen=True, kw_only=True):
    """One client's name for one submit. `fingerprint` tells whether a repeated body is the same body."""

    key: str
    fingerprint: bytes


#: A count that RFC 8785 can express.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, as the worker's provider counted them."""

    input_tokens: Count = 0
    output_tokens: Count = 0


class InsertJob(WriteBase, frozen=True, kw_only=True, tag=True):
    """A new pending job, its texts and, if it came with one, its idempotency key.

    Refused when `id`, `seq`, (tenant, `number`) or a live (tenant, key) is there already. A key created before
    `expired_before_ms` is dead and is replaced.
    """

    id: str
    seq: int
    number: int
    user_id: str
    needs: Needs
    created_at_ms: int
    input: bytes
    params: bytes
    metadata: bytes | None = None
    idempotency: Idempotency | None = None
    expired_before_ms: int = 0
    effort: Effort = Effort.STANDARD
    thread_id: str | None = None
    terms: Terms = DEFAULT_TERMS
    estimated_tokens: int = 0
    payment_ref: str | None = None


class GrantJob(WriteBase, frozen=True, kw_only=True, tag=True):
    """pending → assigned, opening attempt `epoch`; conditional on pending with epoch − 1 and no cancel request."""

    job_id: str
    epoch: int
    worker: str
    salt: bytes
    granted_at_ms: int


class StartAttempt(WriteBase, frozen=True, kw_only=True, tag=True):
    """assigned → running, conditional on `epoch`; lazy. An attempt that has ended meanwhile is not touched."""

    job_id: str
    epoch: int
    started_at_ms: int


class RequeueJob(WriteBase, frozen=True, kw_only=True, tag=True):
    """assigned or running → pending, ending attempt `epoch`; conditional on it being current and not asked to stop.

    `counted` adds a try. `code`, `message` and `usage` are kept with the attempt.
    """

    job_id: str
    epoch: int
    end: AttemptEnd
    counted: bool
    ended_at_ms: int
    code: FailureCode | None = None
    message: str | None = None
    usage: Usage | None = None


class ReviveAttempt(WriteBase, frozen=True, kw_only=True, tag=True):
    """pending → running again for a lost attempt that is still the job's highest; undoes its end and its count.

    Conditional on the loss having been `counted` or not, as given.
    """

    job_id: str
    epoch: int
    counted: bool
    started_at_ms: int


class RequestCancel(WriteBase, frozen=True, kw_only=True, tag=True):
    """A running job shall stop; conditional on `epoch` being assigned or running and not asked before."""

    job_id: str
    epoch: int
    cancel: CancelRequest


class CompleteJob(WriteBase, frozen=True, kw_only=True, tag=True):
    """The one accepted completion: status, attempt, result and receipt together.

    Conditional on `epoch` being the job's highest and the job being assigned, running or (after a lost lease) pending.
    `result` are exactly the bytes that were hashed, `receipt` exactly the envelope that was sent.
    """

    job_id: str
    epoch: int
    result: bytes
    receipt: bytes
    output_hash: str
    model: str
    usage: Usage
    ended_at_ms: int


class FailJob(WriteBase, frozen=True, kw_only=True, tag=True):
    """→ failed, conditional on `epoch` and on not being terminal; ends attempt `epoch` as `end` says (None: no
    attempt), for the reason the job fails for.
    """

    job_id: str
    epoch: int
    failure: Failure
    end: AttemptEnd | None
    counted: bool
    cancel: CancelRequest | None = None
    usage: Usage | None = None


class BookUsage(WriteBase, frozen=True, kw_only=True, tag=True):
    """What an attempt had used that ended before its worker said so. Only of this worker's, only if nothing is booked
    yet; else it changes nothing.
    """

    job_id: str
    epoch: int
    worker: str
    usage: Usage


class EraseJobs(WriteBase, frozen=True, kw_only=True, tag=True):
    """Takes the texts out of these jobs: input, params, metadata, result, and the words in `cancel` and `failure`.

    A job that is not terminal, not there or erased before is left as it is.
    """

    seqs: tuple[int, ...]
    at_ms: int


class DropJobs(WriteBase, frozen=True, kw_only=True, tag=True):
    """Deletes these jobs with all that belongs to them; one that is not terminal or not there is passed over.

    Their `seq` and `number` are never given again.
    """

    seqs: tuple[int, ...]


class DropIdempotencyKeys(WriteBase, frozen=True, kw_only=True, tag=True):
    """Deletes the oldest keys created before `before_ms`, at most `limit`."""

    before_ms: int
    limit: int


class DropUsedTokens(WriteBase, frozen=True, kw_only=True, tag=True):
    """Deletes worker tokens that were used and expired before `before_ms`, at most `limit`."""

    before_ms: int
    limit: int


class DropRevokedKeys(WriteBase, frozen=True, kw_only=True, tag=True):
    """Deletes API keys that were revoked before `before_ms`, at most `limit`."""

    before_ms: int
    limit: int


class RetryJob(WriteBase, frozen=True, kw_only=True, tag=True):
    """failed → pending, conditional on `epoch` being the job's highest: tries, failure and cancel request are cleared.

    The attempts stay, and none of them can come back. `terms` are those of the new run; None: it has those it had.
    """

    job_id: str
    epoch: int
    retried_at_ms: int
    terms: Terms | None = None


class AddWorkerToken(WriteBase, frozen=True, kw_only=True, tag=True):
    """A single-use right to enrol one worker, which waits for approval then or not, and is paired with a user of the
    tenant or not. Only the hash is kept.
    """

    token_hash: bytes
    tenant: str
    created_by: str
    created_at_ms: int
    expires_at_ms: int
    needs_approval: bool = False
    pairs_with: str | None = None


class DropExpiredTokens(WriteBase, frozen=True, kw_only=True, tag=True):
    """Deletes every token nobody has used that expired at or before `now_ms`; there need not be any."""

    now_ms: int


class EnrolWorker(WriteBase, frozen=True, kw_only=True, tag=True):
    """A worker's key becomes known, using up `token_hash`; conditional on the token being unused. A legacy worker
    comes without one; its row, if it is not revoked, gives way when the key comes to another tenant with a token.
    """

    worker: str
    id: str
    name: str
    tenant: str
    token_hash: bytes | None
    enrolled_at_ms: int
    status: WorkerStatus = WorkerStatus.APPROVED


class SetWorkerStatus(WriteBase, frozen=True, kw_only=True, tag=True):
    """A worker's status; conditional on it having been `before`."""

    worker: str
    status: WorkerStatus
    before: WorkerStatus


class AddApiKey(WriteBase, frozen=True, kw_only=True, tag=True):
    """A new key. Refused when its id is there already."""

    key: ApiKey


class ReplaceApiKey(WriteBase, frozen=True, kw_only=True, tag=True):
    """`key`'s secrets and its end; conditional on it not being revoked and having the secret it was decided on."""

    key: ApiKey
    secret_hash_before: bytes


class AddTenant(WriteBase, frozen=True, kw_only=True, tag=True):
    """A new tenant. Refused when its id is there already."""

    tenant: Tenant


class SetStop(WriteBase, frozen=True, kw_only=True, tag=True):
    """The tenant's stop, in the place of the one before; conditional on that one not reaching further."""

    latch: StopLatch


class DropStop(WriteBase, frozen=True, kw_only=True, tag=True):
    """The tenant has no stop any more; conditional on it having one that reaches to `stop_seq` and is not latched."""

    tenant: str
    stop_seq: int


class PutTrust(WriteBase, frozen=True, kw_only=True, tag=True):
    """A code, a claim or a pairing, new or in the place of the one of the same id."""

    trust: Trust


class DropTrust(WriteBase, frozen=True, kw_only=True, tag=True):
    """It is no more; conditional on it being there."""

    id: str


Write = (
    InsertJob
    | GrantJob
    | StartAttempt
    | RequeueJob
    | ReviveAttempt
    | RequestCancel
    | CompleteJob
    | FailJob
    | BookUsage
    | RetryJob
    | AddWorkerToken
    | DropExpiredTokens
    | EnrolWorker
    | SetWorkerStatus
    | AddApiKey
    | ReplaceApiKey
    | AddTenant
    | SetStop
    | DropStop
    | PutTrust
    | DropTrust
    | EraseJobs
    | DropJobs
    | DropIdempotencyKeys
    | DropUsedTokens
    | DropRevokedKeys
)

#: Statuses from which each write may go; the stores and the tests read the conditions here.
ACTIVE = (JobStatus.ASSIGNED, JobStatus.RUNNING)
