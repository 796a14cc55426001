"""The tables of the store in memory, and what each write asks of them.

Every value in a table is immutable and is replaced, never changed; a transaction keeps what it replaced and can put it
back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.job import ERASED, AttemptEnd, JobStatus
from cavvy.core.latch import StopLatch
from cavvy.core.trust import Trust
from cavvy.core.writes import (
    ACTIVE,
    AddApiKey,
    AddTenant,
    AddWorkerToken,
    CompleteJob,
    DropExpiredTokens,
    DropIdempotencyKeys,
    DropJobs,
    DropRevokedKeys,
    DropStop,
    DropTrust,
    DropUsedTokens,
    EnrolWorker,
    EraseJobs,
    FailJob,
    GrantJob,
    InsertJob,
    PutTrust,
    ReplaceApiKey,
    RequestCancel,
    RequeueJob,
    RetryJob,
    ReviveAttempt,
    SetStop,
    SetWorkerStatus,
    StartAttempt,
    Write,
)
from cavvy.errors import Refused
from cavvy.store.base import AttemptRecord, IdempotencyRecord, JobRecord, TokenRecord, WorkerRecord, waits_after_loss

__all__ = ["Tables", "Transaction"]

_ABSENT: Any = object()


class Transaction:
    """What one commit replaced, so that it can be taken back."""

    def __init__(self) -> None:
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []

    def put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((table, key, table.get(key, _ABSENT)))
        table[key] = value

    def delete(self, table: dict[Any, Any], key: Any) -> None:
        self._undo.append((table, key, table.pop(key)))

    def roll_back(self) -> None:
        for table, key, before in reversed(self._undo):
            if before is _ABSENT:
                del table[key]
            else:
                table[key] = before


class KeyRecord(IdempotencyRecord, frozen=True, kw_only=True):
    created_at_ms: int


class StoredToken(TokenRecord, frozen=True, kw_only=True):
    used: bool = False


def _require(condition: bool, write: Write, why: str) -> None:
    if not condition:
        raise Refused(f"{type(write).__name__}: {why}")


class Tables:
    """All data. `apply` changes it for one write, or raises Refused; the transaction then has to be rolled back."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self.by_seq: dict[int, str] = {}
        self.by_number: dict[tuple[str, int], str] = {}
        self.keys: dict[tuple[str, str], KeyRecord] = {}
        self.workers: dict[str, WorkerRecord] = {}
        self.worker_ids: dict[str, str] = {}
        self.tokens: dict[bytes, StoredToken] = {}
        self.api_keys: dict[str, ApiKey] = {}
        self.tenants: dict[str, Tenant] = {}
        self.stops: dict[str, StopLatch] = {}
        self.trusts: dict[str, Trust] = {}
        self.dropped: dict[str, tuple[int, int]] = {}
        self._methods: dict[type, Callable[[Transaction, Any], None]] = {
            InsertJob: self._insert_job,
            GrantJob: self._grant_job,
            StartAttempt: self._start_attempt,
            RequeueJob: self._requeue_job,
            ReviveAttempt: self._revive_attempt,
            RequestCancel: self._request_cancel,
            CompleteJob: self._complete_job,
            FailJob: self._fail_job,
            RetryJob: self._retry_job,
            AddWorkerToken: self._add_worker_token,
            DropExpiredTokens: self._drop_expired_tokens,
            EnrolWorker: self._enrol_worker,
            SetWorkerStatus: self._set_worker_status,
            AddApiKey: self._add_api_key,
            ReplaceApiKey: self._replace_api_key,
            AddTenant: self._add_tenant,
            SetStop: self._set_stop,
            DropStop: self._drop_stop,
            PutTrust: self._put_trust,
            DropTrust: self._drop_trust,
            EraseJobs: self._erase_jobs,
            DropJobs: self._drop_jobs,
            DropIdempotencyKeys: self._drop_idempotency_keys,
            DropUsedTokens: self._drop_used_tokens,
            DropRevokedKeys: self._drop_revoked_keys,
        }

    def apply(self, transaction: Transaction, write: Write) -> None:
        self._methods[type(write)](transaction, write)

    def _insert_job(self, transaction: Transaction, write: InsertJob) -> None:
        needs = write.needs
        _require(write.id not in self.jobs, write, "the id is taken")
        _require(write.seq not in self.by_seq, write, "the seq is taken")
        _require((needs.tenant, write.number) not in self.by_number, write, "the number is taken")
        transaction.put(self.jobs, write.id, _new_job(write))
        transaction.put(self.by_seq, write.seq, write.id)
        transaction.put(self.by_number, (needs.tenant, write.number), write.id)
        if write.idempotency is not None:
            name = (needs.tenant, write.idempotency.key)
            before = self.keys.get(name)
            _require(before is None or before.created_at_ms < write.expired_before_ms, write, "the key is live")
            fingerprint = write.idempotency.fingerprint
            key = KeyRecord(job_id=write.id, fingerprint=fingerprint, created_at_ms=write.created_at_ms)
            transaction.put(self.keys, name, key)

    def _current(self, write: Any) -> JobRecord:
        """The job, if the write's epoch is its highest."""
        job = self.jobs.get(write.job_id)
        if job is None or job.epoch != write.epoch:
            raise Refused(f"{type(write).__name__}: epoch {write.epoch} is not the job's highest")
        return job

    def _grant_job(self, transaction: Transaction, write: GrantJob) -> None:
        job = self.jobs.get(write.job_id)
        if job is None or job.status is not JobStatus.PENDING or job.epoch != write.epoch - 1 or job.cancel is not None:
            raise Refused("GrantJob: the job does not wait for this epoch")
        attempts = (*job.attempts, _new_attempt(write))
        changed = replace(job, status=JobStatus.ASSIGNED, epoch=write.epoch, attempts=attempts)
        transaction.put(self.jobs, job.id, changed)

    def _start_attempt(self, transaction: Transaction, write: StartAttempt) -> None:
        job = self.jobs.get(write.job_id)
        if job is None or job.epoch != write.epoch or job.status is not JobStatus.ASSIGNED:
            return
        attempts = _with_last(job, started_at_ms=write.started_at_ms)
        transaction.put(self.jobs, job.id, replace(job, status=JobStatus.RUNNING, attempts=attempts))

    def _requeue_job(self, transaction: Transaction, write: RequeueJob) -> None:
        job = self._current(write)
        _require(job.status in ACTIVE and job.cancel is None, write, "the job is not active or shall stop")
        attempts = _with_last(
            job,
            ended_at_ms=write.ended_at_ms,
            end=write.end,
            counted=write.counted,
            code=write.code,
            message=write.message,
            usage=write.usage,
        )
        tries = job.tries + write.counted
        transaction.put(self.jobs, job.id, replace(job, status=JobStatus.PENDING, tries=tries, attempts=attempts))

    def _revive_attempt(self, transaction: Transaction, write: ReviveAttempt) -> None:
        job = self._current(write)
        lost = waits_after_loss(job) and job.attempts[-1].counted == write.counted
        _require(lost, write, "the attempt is not lost, or was counted otherwise")
        tries = job.tries - write.counted
        undone = {"ended_at_ms": None, "end": None, "counted": False, "code": None, "message": None}
        attempts = _with_last(job, started_at_ms=write.started_at_ms, **undone)
        transaction.put(self.jobs, job.id, replace(job, status=JobStatus.RUNNING, tries=tries, attempts=attempts))

    def _request_cancel(self, transaction: Transaction, write: RequestCancel) -> None:
        job = self._current(write)
        _require(job.status in ACTIVE and job.cancel is None, write, "the job is not active or was asked before")
        transaction.put(self.jobs, job.id, replace(job, cancel=write.cancel))

    def _complete_job(self, transaction: Transaction, write: CompleteJob) -> None:
        job = self._current(write)
        _require(job.status in ACTIVE or waits_after_loss(job), write, "the attempt cannot complete")
        end = AttemptEnd.COMPLETED
        changed = replace(
            job,
            status=JobStatus.COMPLETED,
            completed_at_ms=write.ended_at_ms,
            accepted_epoch=write.epoch,
            result=write.result,
            receipt=write.receipt,
            output_hash=write.output_hash,
            served_model=write.model,
            attempts=_with_last(
                job, ended_at_ms=write.ended_at_ms, end=end, usage=write.usage, code=None, message=None
            ),
        )
        transaction.put(self.jobs, job.id, changed)

    def _fail_job(self, transaction: Transaction, write: FailJob) -> None:
        job = self._current(write)
        _require(job.completed_at_ms is None, write, "the job is terminal")
        attempts = job.attempts
        if write.end is not None:
            _require(bool(attempts), write, "there is no attempt to end")
            attempts = _with_last(
                job,
                ended_at_ms=write.failure.at_ms,
                end=write.end,
                counted=write.counted,
                code=write.failure.code,
                message=write.failure.message,
                usage=write.usage,
            )
        changed = replace(
            job,
            status=JobStatus.FAILED,
            completed_at_ms=write.failure.at_ms,
            failure=write.failure,
            tries=job.tries + write.counted,
            cancel=write.cancel or job.cancel,
            attempts=attempts,
        )
        transaction.put(self.jobs, job.id, changed)

    def _retry_job(self, transaction: Transaction, write: RetryJob) -> None:
        job = self._current(write)
        _require(job.status is JobStatus.FAILED, write, "the job has not failed")
        cleared = {"tries": 0, "completed_at_ms": None, "failure": None, "cancel": None}
        run = {"retried_epoch": write.epoch, "retried_at_ms": write.retried_at_ms}
        transaction.put(self.jobs, job.id, replace(job, status=JobStatus.PENDING, **cleared, **run))

    def _add_worker_token(self, transaction: Transaction, write: AddWorkerToken) -> None:
        _require(write.token_hash not in self.tokens, write, "the token is known")
        token = StoredToken(
            token_hash=write.token_hash,
            tenant=write.tenant,
            expires_at_ms=write.expires_at_ms,
            needs_approval=write.needs_approval,
            pairs_with=write.pairs_with,
        )
        transaction.put(self.tokens, write.token_hash, token)

    def _drop_expired_tokens(self, transaction: Transaction, write: DropExpiredTokens) -> None:
        dead = [one for one in self.tokens.values() if not one.used and one.expires_at_ms <= write.now_ms]
        for token in dead:
            transaction.delete(self.tokens, token.token_hash)

    def _enrol_worker(self, transaction: Transaction, write: EnrolWorker) -> None:
        if write.token_hash is not None:
            token = self.tokens.get(write.token_hash)
            if token is None or token.used:
                raise Refused("EnrolWorker: the token is unknown or used up")
            transaction.put(self.tokens, write.token_hash, replace(token, used=True))
        _require(write.worker not in self.workers, write, "the worker is known")
        _require(write.id not in self.worker_ids, write, "the worker's id is taken")
        worker = WorkerRecord(
            key=write.worker,
            id=write.id,
            name=write.name,
            tenant=write.tenant,
            status=write.status,
            enrolled_at_ms=write.enrolled_at_ms,
        )
        transaction.put(self.workers, write.worker, worker)
        transaction.put(self.worker_ids, write.id, write.worker)

    def _put_trust(self, transaction: Transaction, write: PutTrust) -> None:
        transaction.put(self.trusts, write.trust.id, write.trust)

    def _drop_trust(self, transaction: Transaction, write: DropTrust) -> None:
        _require(write.id in self.trusts, write, "there is no such trust")
        transaction.delete(self.trusts, write.id)

    def _set_worker_status(self, transaction: Transaction, write: SetWorkerStatus) -> None:
        worker = self.workers.get(write.worker)
        if worker is None or worker.status is not write.before:
            raise Refused("SetWorkerStatus: the worker is unknown or has another status")
        transaction.put(self.workers, write.worker, replace(worker, status=write.status))

    def _add_api_key(self, transaction: Transaction, write: AddApiKey) -> None:
        _require(write.key.key_id not in self.api_keys, write, "the key's id is taken")
        transaction.put(self.api_keys, write.key.key_id, write.key)

    def _replace_api_key(self, transaction: Transaction, write: ReplaceApiKey) -> None:
        key = self.api_keys.get(write.key.key_id)
        if key is None or key.revoked_at_ms is not None or key.secret_hash != write.secret_hash_before:
            raise Refused("ReplaceApiKey: there is no such key, or it was changed meanwhile")
        changed = replace(
            key,
            secret_hash=write.key.secret_hash,
            old_secret_hash=write.key.old_secret_hash,
            old_until_ms=write.key.old_until_ms,
            revoked_at_ms=write.key.revoked_at_ms,
        )
        transaction.put(self.api_keys, key.key_id, changed)

    def _add_tenant(self, transaction: Transaction, write: AddTenant) -> None:
        _require(write.tenant.id not in self.tenants, write, "the tenant's id is taken")
        transaction.put(self.tenants, write.tenant.id, write.tenant)

    def _set_stop(self, transaction: Transaction, write: SetStop) -> None:
        before = self.stops.get(write.latch.tenant)
        _require(before is None or before.stop_seq <= write.latch.stop_seq, write, "a stop reaches further")
        transaction.put(self.stops, write.latch.tenant, write.latch)

    def _drop_stop(self, transaction: Transaction, write: DropStop) -> None:
        before = self.stops.get(write.tenant)
        over = before is not None and before.stop_seq == write.stop_seq and not before.latched
        _require(over, write, "there is no such stop, or it is latched")
        transaction.delete(self.stops, write.tenant)

    def _ended(self, seqs: tuple[int, ...]) -> list[JobRecord]:
        found = [self.jobs[self.by_seq[seq]] for seq in seqs if seq in self.by_seq]
        return [job for job in found if job.completed_at_ms is not None]

    def _erase_jobs(self, transaction: Transaction, write: EraseJobs) -> None:
        for job in self._ended(write.seqs):
            if job.erased_at_ms is None:
                transaction.put(self.jobs, job.id, _erased(job, write.at_ms))

    def _drop_jobs(self, transaction: Transaction, write: DropJobs) -> None:
        for job in self._ended(write.seqs):
            number, seq = self.dropped.get(job.tenant, (0, 0))
            transaction.put(self.dropped, job.tenant, (max(number, job.number), max(seq, job.seq)))
            transaction.delete(self.jobs, job.id)
            transaction.delete(self.by_seq, job.seq)
            transaction.delete(self.by_number, (job.tenant, job.number))

    def _drop_idempotency_keys(self, transaction: Transaction, write: DropIdempotencyKeys) -> None:
        for name in self.expired_keys(write.before_ms)[: write.limit]:
            transaction.delete(self.keys, name)

    def _drop_used_tokens(self, transaction: Transaction, write: DropUsedTokens) -> None:
        for token_hash in self.used_tokens(write.before_ms)[: write.limit]:
            transaction.delete(self.tokens, token_hash)

    def _drop_revoked_keys(self, transaction: Transaction, write: DropRevokedKeys) -> None:
        for key_id in self.revoked_keys(write.before_ms)[: write.limit]:
            transaction.delete(self.api_keys, key_id)

    # -- what is due, the oldest first

    def ended_jobs(self, before_ms: int, since_ms: int = 0) -> list[JobRecord]:
        found = [(job.completed_at_ms, job.seq) for job in self.jobs.values() if job.completed_at_ms is not None]
        return [self.jobs[self.by_seq[seq]] for ended_ms, seq in sorted(found) if since_ms <= ended_ms < before_ms]

    def expired_keys(self, before_ms: int) -> list[tuple[str, str]]:
        found = [(one.created_at_ms, name) for name, one in self.keys.items() if one.created_at_ms < before_ms]
        return [name for _, name in sorted(found)]

    def used_tokens(self, before_ms: int) -> list[bytes]:
        found = [one for one in self.tokens.values() if one.used and one.expires_at_ms < before_ms]
        return [one.token_hash for one in sorted(found, key=lambda one: one.expires_at_ms)]

    def revoked_keys(self, before_ms: int) -> list[str]:
        found = [(one.revoked_at_ms, one.key_id) for one in self.api_keys.values() if one.revoked_at_ms is not None]
        return [key_id for revoked_at_ms, key_id in sorted(found) if revoked_at_ms < before_ms]


def _erased(job: JobRecord, at_ms: int) -> JobRecord:
    return replace(
        job,
        erased_at_ms=at_ms,
        input=b"",
        params=b"{}",
        metadata=None,
        result=None,
        cancel=None if job.cancel is None else replace(job.cancel, reason=None),
        failure=None if job.failure is None else replace(job.failure, message=ERASED, reason=None),
        attempts=tuple(one if one.message is None else replace(one, message=ERASED) for one in job.attempts),
    )


def _new_job(write: InsertJob) -> JobRecord:
    needs = write.needs
    return JobRecord(
        id=write.id,
        seq=write.seq,
        number=write.number,
        tenant=needs.tenant,
        user_id=write.user_id,
        job_type=needs.job_type,
        privacy_class=needs.privacy_class,
        model=needs.model,
        effort=write.effort,
        thread_id=write.thread_id,
        terms=write.terms,
        estimated_tokens=write.estimated_tokens,
        status=JobStatus.PENDING,
        epoch=0,
        tries=0,
        created_at_ms=write.created_at_ms,
        completed_at_ms=None,
        cancel=None,
        failure=None,
        accepted_epoch=None,
        params=write.params,
        metadata=write.metadata,
        input=write.input,
        result=None,
        receipt=None,
        output_hash=None,
        served_model=None,
        attempts=(),
        policy=needs.policy,
        payment_ref=write.payment_ref,
    )


def _new_attempt(write: GrantJob) -> AttemptRecord:
    return AttemptRecord(
        epoch=write.epoch,
        worker=write.worker,
        worker_id=None,
        salt=write.salt,
        granted_at_ms=write.granted_at_ms,
        started_at_ms=None,
        ended_at_ms=None,
        end=None,
        counted=False,
        usage=None,
    )


def _with_last(job: JobRecord, **changes: Any) -> tuple[AttemptRecord, ...]:
    """The job's attempts, the highest one changed."""
    return (*job.attempts[:-1], replace(job.attempts[-1], **changes))
