"""What each write to a job asks of the data in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from cavvy.core.job import ERASED, AttemptEnd, JobStatus
from cavvy.core.writes import (
    ACTIVE,
    BookUsage,
    CompleteJob,
    DropJobs,
    EraseJobs,
    FailJob,
    GrantJob,
    InsertJob,
    RequestCancel,
    RequeueJob,
    RetryJob,
    ReviveAttempt,
    StartAttempt,
)
from cavvy.errors import Refused
from cavvy.store.base import AttemptRecord, JobRecord, waits_after_loss
from cavvy.store.memory_data import Data, KeyRecord, Transaction, require

__all__ = ["JOB_WRITES"]


def _insert_job(data: Data, transaction: Transaction, write: InsertJob) -> None:
    needs = write.needs
    require(write.id not in data.jobs, write, "the id is taken")
    require(write.seq not in data.by_seq, write, "the seq is taken")
    require((needs.tenant, write.number) not in data.by_number, write, "the number is taken")
    transaction.put(data.jobs, write.id, _new_job(write))
    transaction.put(data.by_seq, write.seq, write.id)
    transaction.put(data.by_number, (needs.tenant, write.number), write.id)
    if write.idempotency is not None:
        name = (needs.tenant, write.idempotency.key)
        before = data.keys.get(name)
        require(before is None or before.created_at_ms < write.expired_before_ms, write, "the key is live")
        fingerprint = write.idempotency.fingerprint
        key = KeyRecord(job_id=write.id, fingerprint=fingerprint, created_at_ms=write.created_at_ms)
        transaction.put(data.keys, name, key)


def _current(data: Data, write: Any) -> JobRecord:
    """The job, if the write's epoch is its highest."""
    job = data.jobs.get(write.job_id)
    if job is None or job.epoch != write.epoch:
        raise Refused(f"{type(write).__name__}: epoch {write.epoch} is not the job's highest")
    return job


def _grant_job(data: Data, transaction: Transaction, write: GrantJob) -> None:
    job = data.jobs.get(write.job_id)
    if job is None or job.status is not JobStatus.PENDING or job.epoch != write.epoch - 1 or job.cancel is not None:
        raise Refused("GrantJob: the job does not wait for this epoch")
    attempts = (*job.attempts, _new_attempt(write))
    changed = replace(job, status=JobStatus.ASSIGNED, epoch=write.epoch, attempts=attempts)
    transaction.put(data.jobs, job.id, changed)


def _start_attempt(data: Data, transaction: Transaction, write: StartAttempt) -> None:
    job = data.jobs.get(write.job_id)
    if job is None or job.epoch != write.epoch or job.status is not JobStatus.ASSIGNED:
        return
    attempts = _with_last(job, started_at_ms=write.started_at_ms)
    transaction.put(data.jobs, job.id, replace(job, status=JobStatus.RUNNING, attempts=attempts))


def _requeue_job(data: Data, transaction: Transaction, write: RequeueJob) -> None:
    job = _current(data, write)
    require(job.status in ACTIVE and job.cancel is None, write, "the job is not active or shall stop")
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
    transaction.put(data.jobs, job.id, replace(job, status=JobStatus.PENDING, tries=tries, attempts=attempts))


def _revive_attempt(data: Data, transaction: Transaction, write: ReviveAttempt) -> None:
    job = _current(data, write)
    lost = waits_after_loss(job) and job.attempts[-1].counted == write.counted
    require(lost, write, "the attempt is not lost, or was counted otherwise")
    tries = job.tries - write.counted
    undone = {"ended_at_ms": None, "end": None, "counted": False, "code": None, "message": None}
    attempts = _with_last(job, started_at_ms=write.started_at_ms, **undone)
    transaction.put(data.jobs, job.id, replace(job, status=JobStatus.RUNNING, tries=tries, attempts=attempts))


def _request_cancel(data: Data, transaction: Transaction, write: RequestCancel) -> None:
    job = _current(data, write)
    require(job.status in ACTIVE and job.cancel is None, write, "the job is not active or was asked before")
    transaction.put(data.jobs, job.id, replace(job, cancel=write.cancel))


def _complete_job(data: Data, transaction: Transaction, write: CompleteJob) -> None:
    job = _current(data, write)
    require(job.status in ACTIVE or waits_after_loss(job), write, "the attempt cannot complete")
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
        attempts=_with_last(job, ended_at_ms=write.ended_at_ms, end=end, usage=write.usage, code=None, message=None),
    )
    transaction.put(data.jobs, job.id, changed)


def _fail_job(data: Data, transaction: Transaction, write: FailJob) -> None:
    job = _current(data, write)
    require(job.completed_at_ms is None, write, "the job is terminal")
    attempts = job.attempts
    if write.end is not None:
        require(bool(attempts), write, "there is no attempt to end")
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
    transaction.put(data.jobs, job.id, changed)


def _book_usage(data: Data, transaction: Transaction, write: BookUsage) -> None:
    job = data.jobs.get(write.job_id)
    if job is None:
        return
    attempts = tuple(replace(one, usage=write.usage) if _owes_usage(one, write) else one for one in job.attempts)
    transaction.put(data.jobs, job.id, replace(job, attempts=attempts))


def _owes_usage(one: AttemptRecord, write: BookUsage) -> bool:
    mine = (one.epoch, one.worker) == (write.epoch, write.worker)
    return mine and one.ended_at_ms is not None and one.usage is None


def _retry_job(data: Data, transaction: Transaction, write: RetryJob) -> None:
    job = _current(data, write)
    require(job.status is JobStatus.FAILED, write, "the job has not failed")
    cleared = {"tries": 0, "completed_at_ms": None, "failure": None, "cancel": None}
    run = {"retried_epoch": write.epoch, "retried_at_ms": write.retried_at_ms, "terms": write.terms or job.terms}
    transaction.put(data.jobs, job.id, replace(job, status=JobStatus.PENDING, **cleared, **run))


def _ended(data: Data, seqs: tuple[int, ...]) -> list[JobRecord]:
    found = [data.jobs[data.by_seq[seq]] for seq in seqs if seq in data.by_seq]
    return [job for job in found if job.completed_at_ms is not None]


def _erase_jobs(data: Data, transaction: Transaction, write: EraseJobs) -> None:
    for job in _ended(data, write.seqs):
        if job.erased_at_ms is None:
            transaction.put(data.jobs, job.id, _erased(job, write.at_ms))


def _drop_jobs(data: Data, transaction: Transaction, write: DropJobs) -> None:
    for job in _ended(data, write.seqs):
        number, seq = data.dropped.get(job.tenant, (0, 0))
        transaction.put(data.dropped, job.tenant, (max(number, job.number), max(seq, job.seq)))
        transaction.delete(data.jobs, job.id)
        transaction.delete(data.by_seq, job.seq)
        transaction.delete(data.by_number, (job.tenant, job.number))


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


JOB_WRITES: dict[type, Callable[[Data, Transaction, Any], None]] = {
    InsertJob: _insert_job,
    GrantJob: _grant_job,
    StartAttempt: _start_attempt,
    RequeueJob: _requeue_job,
    ReviveAttempt: _revive_attempt,
    RequestCancel: _request_cancel,
    CompleteJob: _complete_job,
    FailJob: _fail_job,
    BookUsage: _book_usage,
    RetryJob: _retry_job,
    EraseJobs: _erase_jobs,
    DropJobs: _drop_jobs,
}
