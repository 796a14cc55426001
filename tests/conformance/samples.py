"""Writes to put into a store, one call each, with values that stand for "some"."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.job import AttemptEnd, CancelRequest, Failure, FailureCode, JobHeader, Needs, WorkerStatus
from cavvy.core.latch import StopLatch
from cavvy.core.writes import (
    AddApiKey,
    AddTenant,
    AddWorkerToken,
    CompleteJob,
    DropExpiredTokens,
    DropStop,
    EnrolWorker,
    FailJob,
    GrantJob,
    Idempotency,
    InsertJob,
    ReplaceApiKey,
    RequestCancel,
    RequeueJob,
    RetryJob,
    ReviveAttempt,
    SetStop,
    SetWorkerStatus,
    StartAttempt,
    Usage,
    Write,
)
from cavvy.store.base import LoadRow, Store

TENANT = "default"
WORKER = "ab" * 32
DAY_MS = 24 * 3600 * 1000

CANCEL = CancelRequest(by="owner", reason="changed my mind", at_ms=5_000)
ABORTED = Failure(code=FailureCode.ABORTED, message="cancelled", at_ms=6_000, by="owner", reason="changed my mind")


def job_id(number: int) -> str:
    return f"job-{number}"


def inserted(number: int, /, *, tenant: str = TENANT, **changes: Any) -> InsertJob:
    values: dict[str, Any] = {
        "id": job_id(number),
        "seq": number,
        "number": number,
        "user_id": "owner",
        "needs": Needs(tenant=tenant, model="tiny"),
        "created_at_ms": 1_000 + number,
        "input": b'"hello"',
        "params": b'{"max_tokens":16}',
        "metadata": b'{"from":"test"}',
    }
    return InsertJob(**(values | changes))


def key(name: str = "once", fingerprint: bytes = b"body") -> Idempotency:
    return Idempotency(key=name, fingerprint=fingerprint)


def granted(number: int, epoch: int = 1, worker: str = WORKER) -> GrantJob:
    return GrantJob(job_id=job_id(number), epoch=epoch, worker=worker, salt=b"salt%d" % epoch, granted_at_ms=2_000)


def started(number: int, epoch: int = 1) -> StartAttempt:
    return StartAttempt(job_id=job_id(number), epoch=epoch, started_at_ms=3_000)


def requeued(
    number: int, epoch: int = 1, end: AttemptEnd = AttemptEnd.LOST, *, counted: bool = True, **why: Any
) -> RequeueJob:
    return RequeueJob(job_id=job_id(number), epoch=epoch, end=end, counted=counted, ended_at_ms=4_000, **why)


def revived(number: int, epoch: int = 1, *, counted: bool = True) -> ReviveAttempt:
    return ReviveAttempt(job_id=job_id(number), epoch=epoch, counted=counted, started_at_ms=4_500)


def cancelled(number: int, epoch: int = 1) -> RequestCancel:
    return RequestCancel(job_id=job_id(number), epoch=epoch, cancel=CANCEL)


def completed(number: int, epoch: int = 1) -> CompleteJob:
    return CompleteJob(
        job_id=job_id(number),
        epoch=epoch,
        result=b'{"text":"hi"}',
        receipt=b'{"payload":"..."}',
        output_hash="cd" * 32,
        model="tiny-q4",
        usage=Usage(input_tokens=3, output_tokens=2),
        ended_at_ms=7_000,
    )


def failed(number: int, epoch: int = 1, end: AttemptEnd | None = AttemptEnd.ABORTED, **changes: Any) -> FailJob:
    values: dict[str, Any] = {
        "job_id": job_id(number),
        "epoch": epoch,
        "failure": ABORTED,
        "end": end,
        "counted": False,
    }
    return FailJob(**(values | changes))


def retried(number: int, epoch: int = 1) -> RetryJob:
    return RetryJob(job_id=job_id(number), epoch=epoch, retried_at_ms=8_000)


def token(name: bytes = b"token", *, needs_approval: bool = False, pairs_with: str | None = None) -> AddWorkerToken:
    return AddWorkerToken(
        token_hash=name,
        tenant=TENANT,
        created_by="owner",
        created_at_ms=100,
        expires_at_ms=100 + DAY_MS,
        needs_approval=needs_approval,
        pairs_with=pairs_with,
    )


def expired(now_ms: int) -> DropExpiredTokens:
    return DropExpiredTokens(now_ms=now_ms)


def became(status: WorkerStatus, before: WorkerStatus, worker: str = WORKER) -> SetWorkerStatus:
    return SetWorkerStatus(worker=worker, status=status, before=before)


def enrolled(token_hash: bytes = b"token", worker: str = WORKER, **changes: Any) -> EnrolWorker:
    values: dict[str, Any] = {
        "worker": worker,
        "id": f"id-of-{worker[:8]}",
        "name": "desk",
        "tenant": TENANT,
        "token_hash": token_hash,
        "enrolled_at_ms": 200,
    }
    return EnrolWorker(**(values | changes))


KEY = ApiKey(
    key_id="key-1",
    secret_hash=b"\x01\x02",
    role="admin",
    tenant=TENANT,
    user_id="owner",
    created_at_ms=300,
    name="laptop",
    created_by="key-0",
    act_for_users=True,
    expires_at_ms=400,
)


def api_key() -> AddApiKey:
    return AddApiKey(key=KEY)


def rotated(secret_hash: bytes = b"new", before: bytes = KEY.secret_hash) -> ReplaceApiKey:
    """A new secret; the one before goes on for a while."""
    changes = {"secret_hash": secret_hash, "old_secret_hash": before, "old_until_ms": 350}
    return ReplaceApiKey(key=replace(KEY, **changes), secret_hash_before=before)


def revoked(secret_hash: bytes = KEY.secret_hash) -> ReplaceApiKey:
    return ReplaceApiKey(key=replace(KEY, secret_hash=secret_hash, revoked_at_ms=320), secret_hash_before=secret_hash)


def tenant(name: str = TENANT) -> AddTenant:
    return AddTenant(tenant=Tenant(id=name, created_at_ms=50))


def latch(stop_seq: int = 5, /, **changes: Any) -> StopLatch:
    values: dict[str, Any] = {
        "tenant": TENANT,
        "stop_seq": stop_seq,
        "by": "ann",
        "reason": "it went wild",
        "at_ms": 8_000,
        "latched": True,
    }
    return StopLatch(**(values | changes))


def stopped(stop_seq: int = 5, /, **changes: Any) -> SetStop:
    return SetStop(latch=latch(stop_seq, **changes))


def stop_dropped(stop_seq: int = 5, tenant: str = TENANT) -> DropStop:
    return DropStop(tenant=tenant, stop_seq=stop_seq)


class OpenStore:
    """An open store and its term, for short tests."""

    def __init__(self, store: Store, term: int) -> None:
        self.store = store
        self.term = term

    async def commit(self, *writes: Write) -> None:
        await self.store.commit(writes, term=self.term)

    async def loaded(self) -> list[LoadRow]:
        return [row async for page in self.store.load() for row in page]

    async def header(self, number: int) -> JobHeader | None:
        found = [row for row in await self.loaded() if isinstance(row, JobHeader) and row.id == job_id(number)]
        return found[0] if found else None

    async def everything(self, tenants: tuple[str, ...] = (TENANT,)) -> list[Any]:
        """All that the store tells, to compare before and after."""
        told: list[Any] = await self.loaded()
        for tenant in tenants:
            listed = await self.store.jobs(tenant, before=None, limit=10_000)
            told.append([await self.store.job(tenant, job.id) for job in listed])
            told.append(await self.store.workers(tenant))
            told.append((await self.store.idempotent(tenant, ["once"], not_before_ms=0)).get("once"))
        told.append(await self.store.api_keys())
        told += await self.store.tenants()
        return told
