"""What the core asks the shell to do once the batch is durable: tagged unions of plain data."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from cavvy.core.identity import ApiKey
from cavvy.core.job import (
    AttemptEnd,
    AttemptRef,
    CancelRequest,
    Failure,
    JobHeader,
    JobStatus,
    Policy,
    WorkerStatus,
)
from cavvy.core.latch import StopLatch, Stopped
from cavvy.core.trust import Trust
from cavvy.core.writes import Usage

__all__ = [
    "Assign",
    "CloseSession",
    "CompletionAnswered",
    "Effect",
    "EffectBase",
    "FrameRefused",
    "HeartbeatAnswered",
    "JobChanged",
    "JobEffect",
    "JobEnded",
    "KeyChanged",
    "Registered",
    "Reply",
    "ReplyCode",
    "Resume",
    "StopAttempt",
    "StopChanged",
    "StopUnanswered",
    "TrustAnswered",
    "Verdict",
    "WorkerChanged",
    "WorkerCooled",
]


class ReplyCode(StrEnum):
    OK = "ok"
    REPLAYED = "replayed"  # the same Idempotency-Key: `job_id` is the job it made
    KEY_REUSED = "idempotency_key_reused"
    QUEUE_FULL = "queue_full"
    DEADLINE_PASSED = "deadline_passed"  # before the job was there
    ERASED = "erased"  # its texts are gone, or about to
    NOT_FAILED = "not_failed"  # it is live: `status` says how
    STOPPED = "stopped"  # `stop` says by whom
    NOT_ENDED = "not_ended"
    NOT_FOUND = "not_found"  # no job of that id that is not terminal; no such key, no such tenant
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a reply code, not a secret
    FORBIDDEN = "forbidden"  # the key that asks has ended, or may not do that
    TENANT_TAKEN = "tenant_taken"
    LAST_KEY = "last_key"
    TOO_MANY_KEYS = "too_many_keys"
    WORKER_UNKNOWN = "worker_unknown"
    WORKER_WAITS = "worker_waits"  # for approval: nothing else can be done with it, but to revoke it
    WORKER_REVOKED = "worker_revoked"
    TOO_MANY_WORKERS = "too_many_workers"  # of Dispatch's, which enrol themselves
    WORKER_NATIVE = "worker_native"  # enrolled with a token: it cannot come as one of Dispatch's
    NO_TRUSTED = "no_trusted_worker"  # `job_id` has failed for that
    CODE_REFUSED = "invalid_code"
    CODE_CLAIMED = "already_claimed"
    CODE_EXPIRED = "expired"
    TOO_MANY_CLAIMS = "too_many_claims"
    NOT_CLAIMED = "not_claimed"  # there is nothing to confirm, or another worker claimed it


class Verdict(StrEnum):
    """What becomes of an attempt a worker says it has (lifecycle.md, the resume table)."""

    GO_ON = "go_on"
    STOP = "stop"
    STALE = "stale"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"  # terminal or never there: only the store can tell


class EffectBase(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class Reply(EffectBase, frozen=True, kw_only=True, tag=True):
    """The answer to the command that carried `ref`."""

    ref: int
    code: ReplyCode
    job_id: str | None = None
    status: JobStatus | None = None
    cancel: CancelRequest | None = None
    stop: StopLatch | None = None
    stopped: Stopped | None = None
    trust: Trust | None = None


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    job_id: str
    epoch: int
    verdict: Verdict


class Registered(EffectBase, frozen=True, kw_only=True, tag=True):
    """The answer to RegisterWorker: what becomes of each attempt the worker named."""

    ref: int
    session: int
    code: ReplyCode
    tenant: str = ""
    status: WorkerStatus = WorkerStatus.APPROVED
    resume: tuple[Resume, ...] = ()


class Assign(EffectBase, frozen=True, kw_only=True, tag=True):
    """Send this grant. `input` and `params` are here when the core just had them, else the shell loads them."""

    session: int
    job_id: str
    epoch: int
    job_type: str
    privacy_class: str
    salt: bytes
    tenant: str = ""
    user_id: str = ""
    policy: Policy | None = None
    payment_ref: str | None = None
    input: bytes | None = None
    params: bytes | None = None


class StopAttempt(EffectBase, frozen=True, kw_only=True, tag=True):
    session: int
    job_id: str
    epoch: int
    reason: str


class CompletionAnswered(EffectBase, frozen=True, kw_only=True, tag=True):
    """What became of a result: ACCEPTED, STALE, or UNKNOWN (the job is not live: the shell asks the store)."""

    session: int
    job_id: str
    epoch: int
    verdict: Verdict


class FrameRefused(EffectBase, frozen=True, kw_only=True, tag=True):
    """A worker's frame changed nothing; it is told why."""

    session: int
    code: str
    message: str
    job_id: str
    epoch: int


class HeartbeatAnswered(EffectBase, frozen=True, kw_only=True, tag=True):
    session: int
    lost: tuple[AttemptRef, ...] = ()


class CloseSession(EffectBase, frozen=True, kw_only=True, tag=True):
    session: int
    code: int
    reason: str


class TrustAnswered(EffectBase, frozen=True, kw_only=True, tag=True):
    """What became of a claim that came over this socket: OK, or why not. `trust` is what was claimed."""

    session: int
    code: ReplyCode
    trust: Trust | None = None


class WorkerChanged(EffectBase, frozen=True, kw_only=True, tag=True):
    """A connected worker's status from now on; it is told. (A revoked one's session is closed instead.)"""

    session: int
    status: WorkerStatus


class WorkerCooled(EffectBase, frozen=True, kw_only=True, tag=True):
    """A worker that took none of the last jobs it was granted gets none before `until_ms`. It is not told."""

    session: int
    until_ms: int


class JobEffect(EffectBase, frozen=True, kw_only=True):
    """What those who watch jobs are told: `job` is a copy of its own, as it is now.

    `end` is how the attempt ended that was under way.
    """

    job: JobHeader
    end: AttemptEnd | None = None


class JobChanged(JobEffect, frozen=True, kw_only=True, tag=True):
    """A job's status. `running` is shown before it is written."""

    started_at_ms: int | None = None


class JobEnded(JobEffect, frozen=True, kw_only=True, tag=True):
    """A job is terminal. `result` are the signed bytes of a completion."""

    result: bytes | None = None
    failure: Failure | None = None
    usage: Usage | None = None


class KeyChanged(EffectBase, frozen=True, kw_only=True, tag=True):
    """From now on this is the key: new, rotated, or revoked."""

    key: ApiKey


class StopUnanswered(EffectBase, frozen=True, kw_only=True, tag=True):
    """This worker was told to stop an attempt and did not answer in time: the job has ended without it."""

    session: int
    job_id: str
    epoch: int


class StopChanged(EffectBase, frozen=True, kw_only=True, tag=True):
    """From now on this is the tenant's stop."""

    latch: StopLatch


Effect = (
    Reply
    | Registered
    | Assign
    | StopAttempt
    | CompletionAnswered
    | FrameRefused
    | HeartbeatAnswered
    | CloseSession
    | TrustAnswered
    | WorkerChanged
    | WorkerCooled
    | JobChanged
    | JobEnded
    | KeyChanged
    | StopUnanswered
    | StopChanged
)
