"""What may happen to the coordinator: tagged unions of plain data. `ref` names the asker, who waits in the shell."""

from __future__ import annotations

import msgspec

from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.job import DEFAULT_TERMS, AttemptRef, Effort, JobHeader, Needs, RejectReason, Terms
from cavvy.core.matching import Profile
from cavvy.core.reading import Reading
from cavvy.core.retention import Due, Horizons
from cavvy.core.worker_status import WorkerAction
from cavvy.core.writes import Idempotency, Usage

__all__ = [
    "CancelJob",
    "ClaimTrust",
    "Command",
    "CommandBase",
    "ConfirmTrust",
    "CreateApiKey",
    "CreateTenant",
    "CreateTrustCode",
    "CreateWorkerToken",
    "EndTrust",
    "EraseJob",
    "Heartbeat",
    "JobCompleted",
    "JobFailed",
    "JobRejected",
    "JobStarted",
    "JobStopped",
    "ManageWorker",
    "PairWorker",
    "Progress",
    "RegisterWorker",
    "Retain",
    "RevokeApiKey",
    "RotateApiKey",
    "RunAgain",
    "SessionClosed",
    "SessionDraining",
    "SessionResumed",
    "SubmitJob",
    "Undelivered",
]


class CommandBase(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class SubmitJob(CommandBase, frozen=True, kw_only=True, tag=True):
    """A new job. `input`, `params` and `metadata` pass through by reference; the core never looks inside.

    A PRIVATE job that no worker online is trusted with fails at once, unless it `waits_untrusted`.
    """

    ref: int
    id: str
    user_id: str
    needs: Needs
    input: bytes
    params: bytes
    metadata: bytes | None = None
    idempotency: Idempotency | None = None
    effort: Effort = Effort.STANDARD
    thread_id: str | None = None
    terms: Terms = DEFAULT_TERMS
    estimated_tokens: int = 0
    payment_ref: str | None = None
    waits_untrusted: bool = False


class CancelJob(CommandBase, frozen=True, kw_only=True, tag=True):
    ref: int
    tenant: str
    job_id: str
    by: str
    reason: str | None = None


class RunAgain(CommandBase, frozen=True, kw_only=True, tag=True):
    """A job that has failed shall run again. `job` is what is stored of it: the core knows none that has ended."""

    ref: int
    job: JobHeader


class StopTenant(CommandBase, frozen=True, kw_only=True, tag=True):
    """Everything of `tenant` stops. With `latch` it may submit nothing until it is released."""

    ref: int
    tenant: str
    by: str
    reason: str | None = None
    latch: bool = True


class CancelThread(CommandBase, frozen=True, kw_only=True, tag=True):
    """Everything of `tenant` that says it belongs to `thread`, and is not terminal."""

    ref: int
    tenant: str
    thread: str
    by: str
    reason: str | None = None


class ReleaseStop(CommandBase, frozen=True, kw_only=True, tag=True):
    ref: int
    tenant: str


class EraseJob(CommandBase, frozen=True, kw_only=True, tag=True):
    """The texts of a job that has ended are to go. The shell has looked whose job it is, and its `seq`."""

    ref: int
    job_id: str
    seq: int


class Retain(CommandBase, frozen=True, kw_only=True, tag=True):
    """A slice of what need not be kept any longer, as the store found it under these `horizons`."""

    ref: int
    due: Due
    horizons: Horizons


class CreateWorkerToken(CommandBase, frozen=True, kw_only=True, tag=True):
    """`pairs_with`: the user of the tenant who trusts the worker that joins with it."""

    ref: int
    token_hash: bytes
    tenant: str
    created_by: str
    ttl_s: int
    needs_approval: bool = False
    pairs_with: str | None = None


class CreateTrustCode(CommandBase, frozen=True, kw_only=True, tag=True):
    """A user asks for a code with which a worker may ask for his trust. `keyed`: he has sent a key."""

    ref: int
    id: str
    tenant: str
    user_id: str
    code_hash: bytes
    keyed: bool


class ClaimTrust(CommandBase, frozen=True, kw_only=True, tag=True):
    """A worker (key, hex) claims a code. `session` is the socket on which it has proven its key; None: it has not.
    `address` is where it came from.
    """

    ref: int
    code_hash: bytes
    worker: str
    address: str
    session: int | None = None


class ConfirmTrust(CommandBase, frozen=True, kw_only=True, tag=True):
    """The user `tenant`, `user_id` has compared the fingerprint of `worker`, which claimed his code, and trusts it."""

    ref: int
    id: str
    tenant: str
    user_id: str
    worker: str


class PairWorker(CommandBase, frozen=True, kw_only=True, tag=True):
    """A user trusts an enrolled worker, without a code."""

    ref: int
    id: str
    tenant: str
    user_id: str
    worker: str


class EndTrust(CommandBase, frozen=True, kw_only=True, tag=True):
    """What this names, a code, a claim or a pairing, ends at once, on what waits and what runs."""

    ref: int
    id: str
    tenant: str
    user_id: str


class ManageWorker(CommandBase, frozen=True, kw_only=True, tag=True):
    """Somebody who may manage the workers of `tenant` does `action` with one of them, named by its key."""

    ref: int
    tenant: str
    worker: str
    action: WorkerAction


class CreateTenant(CommandBase, frozen=True, kw_only=True, tag=True):
    """A new tenant and its first key. `by` is, here and below, the id of the key that asks."""

    ref: int
    by: str
    tenant: Tenant
    key: ApiKey


class CreateApiKey(CommandBase, frozen=True, kw_only=True, tag=True):
    ref: int
    by: str
    key: ApiKey


class RevokeApiKey(CommandBase, frozen=True, kw_only=True, tag=True):
    ref: int
    by: str
    tenant: str
    key_id: str


class RotateApiKey(CommandBase, frozen=True, kw_only=True, tag=True):
    ref: int
    by: str
    tenant: str
    key_id: str
    secret_hash: bytes
    grace_s: int


class RegisterWorker(CommandBase, frozen=True, kw_only=True, tag=True):
    """A socket that has proven `worker` (key, hex) asks to serve.

    `held` still run, `finished` wait to be acknowledged.
    """

    ref: int
    session: int
    worker: str
    worker_id: str
    name: str
    instance: str
    profile: Profile
    slots: int
    held: tuple[AttemptRef, ...] = ()
    finished: tuple[AttemptRef, ...] = ()
    token_hash: bytes | None = None


class SessionResumed(CommandBase, frozen=True, kw_only=True, tag=True):
    """After a rebuild: a socket that is still open, the attempts that were sent over it and have not ended, and whether
    its worker has said that it leaves.
    """

    session: int
    worker: str
    instance: str
    profile: Profile
    slots: int
    held: tuple[AttemptRef, ...] = ()
    draining: bool = False


class SessionClosed(CommandBase, frozen=True, kw_only=True, tag=True):
    session: int


class SessionDraining(CommandBase, frozen=True, kw_only=True, tag=True):
    """The worker behind this socket is about to leave: it takes nothing new, and comes for nothing it leaves behind."""

    session: int


class Heartbeat(CommandBase, frozen=True, kw_only=True, tag=True):
    """Renews exactly the attempts it names. `free` is how many more the worker would take."""

    session: int
    held: tuple[AttemptRef, ...]
    free: int


class Progress(CommandBase, frozen=True, kw_only=True, tag=True):
    """These attempts have shown life since the session said so last; nothing is written for it."""

    session: int
    refs: tuple[AttemptRef, ...]


class JobStarted(CommandBase, frozen=True, kw_only=True, tag=True):
    session: int
    job_id: str
    epoch: int


class JobCompleted(CommandBase, frozen=True, kw_only=True, tag=True):
    """A result with its receipt. The two hashes are the coordinator's own, of what it sent; None if it sent nothing.

    `reading` saves the core the work of `read`, if it is of this result; it changes nothing of what is decided.
    """

    session: int
    job_id: str
    epoch: int
    result: bytes
    receipt: bytes
    input_hash: str | None
    params_hash: str | None
    reading: Reading | None = None


class JobFailed(CommandBase, frozen=True, kw_only=True, tag=True):
    session: int
    job_id: str
    epoch: int
    code: str
    message: str
    retryable: bool
    usage: Usage | None = None


class JobStopped(CommandBase, frozen=True, kw_only=True, tag=True):
    """`stopped_ms` is how long its provider took to be idle."""

    session: int
    job_id: str
    epoch: int
    usage: Usage | None = None
    stopped_ms: int | None = None


class JobRejected(CommandBase, frozen=True, kw_only=True, tag=True):
    """The worker does not take what it was granted. Nothing of the attempt counts."""

    session: int
    job_id: str
    epoch: int
    reason: RejectReason
    message: str = ""


class Undelivered(CommandBase, frozen=True, kw_only=True, tag=True):
    """The shell could not send this grant; `code` when it never can be (the frame is too large)."""

    session: int
    job_id: str
    epoch: int
    code: str | None = None


Command = (
    SubmitJob
    | CancelJob
    | CancelThread
    | RunAgain
    | StopTenant
    | ReleaseStop
    | EraseJob
    | Retain
    | CreateWorkerToken
    | ManageWorker
    | CreateTrustCode
    | ClaimTrust
    | ConfirmTrust
    | PairWorker
    | EndTrust
    | CreateTenant
    | CreateApiKey
    | RevokeApiKey
    | RotateApiKey
    | RegisterWorker
    | SessionResumed
    | SessionClosed
    | SessionDraining
    | Heartbeat
    | Progress
    | JobStarted
    | JobCompleted
    | JobFailed
    | JobStopped
    | JobRejected
    | Undelivered
)
