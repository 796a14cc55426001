"""Rows of the read queries as records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from cavvy.core.identity import ApiKey
from cavvy.core.job import (
    DEFAULT_TERMS,
    AttemptEnd,
    CancelRequest,
    Effort,
    Failure,
    FailureCode,
    JobHeader,
    JobStatus,
    JobType,
    Needs,
    Policy,
    PrivacyClass,
    Terms,
    WorkerStatus,
    needs_of,
    shared_terms,
)
from cavvy.core.latch import StopLatch
from cavvy.core.trust import Trust
from cavvy.core.writes import Usage
from cavvy.store.base import AttemptRecord, JobRecord, TokenRecord, WorkerRecord

__all__ = ["Row", "Shared", "api_key", "headers", "job", "listed_job", "stop", "token", "trust", "worker"]

Row = tuple[Any, ...]

_STATUS = {status.value: status for status in JobStatus}
_END = {end.value: end for end in AttemptEnd}
_CODE = {code.value: code for code in FailureCode}
_JOB_TYPE = {job_type.value: job_type for job_type in JobType}
_PRIVACY_CLASS = {privacy_class.value: privacy_class for privacy_class in PrivacyClass}
_CANCEL = msgspec.json.Decoder(CancelRequest)
_FAILURE = msgspec.json.Decoder(Failure)
_USAGE = msgspec.json.Decoder(Usage)
_TERMS = msgspec.json.Decoder(Terms)
_EFFORT = {effort.value: effort for effort in Effort}
_HEADERS = msgspec.json.Decoder(
    list[
        tuple[
            str, int, int, str, str, JobType, PrivacyClass, str | None, JobStatus,
            int, int, int, str | None, AttemptEnd | None, int | None, str | None, Effort, str | None, int, str | None,
            int | None, Policy | None, str | None,
        ]
    ]
)  # fmt: skip
_JOB_COLUMNS = 27
_BODY_COLUMNS = 3


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


@lru_cache(maxsize=4096)
def _terms(value: bytes | str | None) -> Terms:
    return DEFAULT_TERMS if value is None else shared_terms(_TERMS.decode(value))


def _shared(tenant: str, job_id: str, row: Row) -> dict[str, Any]:
    """The columns that `job` and `jobs` have in common."""
    (
        seq, number, user_id, job_type, privacy_class, model, effort, thread, estimated_tokens, terms, policy,
        payment_ref, status, epoch, tries,
        created_at_ms, completed_at_ms, erased_at_ms, accepted_epoch, cancel, failure, retried_epoch, retried_at_ms,
        params, metadata, output_hash, served_model,
    ) = row  # fmt: skip
    return {
        "id": job_id,
        "seq": seq,
        "number": number,
        "tenant": tenant,
        "user_id": user_id.decode(),
        "job_type": _JOB_TYPE[job_type],
        "privacy_class": _PRIVACY_CLASS[privacy_class],
        "model": _text(model),
        "effort": _EFFORT[effort],
        "thread_id": _text(thread),
        "terms": _terms(terms),
        "estimated_tokens": estimated_tokens,
        "policy": None if policy is None else Policy(policy),
        "payment_ref": _text(payment_ref),
        "status": _STATUS[status],
        "epoch": epoch,
        "tries": tries,
        "created_at_ms": created_at_ms,
        "completed_at_ms": completed_at_ms,
        "erased_at_ms": erased_at_ms,
        "cancel": None if cancel is None else _CANCEL.decode(cancel),
        "failure": None if failure is None else _FAILURE.decode(failure),
        "accepted_epoch": accepted_epoch,
        "retried_epoch": retried_epoch,
        "retried_at_ms": retried_at_ms,
        "params": params,
        "metadata": metadata,
        "output_hash": _text(output_hash),
        "served_model": _text(served_model),
    }


def job(tenant: str, job_id: str, rows: Sequence[Row]) -> JobRecord:
    """One job from its rows: one an attempt, or one without an attempt."""
    split = _JOB_COLUMNS + _BODY_COLUMNS
    by_epoch = sorted(rows, key=lambda row: row[split] or 0)
    highest = by_epoch[-1]
    body, receipt, result = highest[_JOB_COLUMNS:split]
    attempts = tuple(_attempt(row[split:]) for row in by_epoch if row[split] is not None)
    shared = _shared(tenant, job_id, highest[:_JOB_COLUMNS])
    return JobRecord(**shared, input=body, receipt=receipt, result=result, attempts=attempts)


def listed_job(tenant: str, row: Row) -> JobRecord:
    shared = _shared(tenant, row[_JOB_COLUMNS].decode(), row[:_JOB_COLUMNS])
    return JobRecord(**shared, input=None, receipt=None, result=None, attempts=())


def _attempt(row: Row) -> AttemptRecord:
    (
        epoch,
        worker_key,
        worker_id,
        salt,
        granted_at_ms,
        started_at_ms,
        ended_at_ms,
        end,
        counted,
        usage,
        code,
        message,
    ) = row
    return AttemptRecord(
        epoch=epoch,
        worker=worker_key.decode(),
        worker_id=_text(worker_id),
        salt=salt,
        granted_at_ms=granted_at_ms,
        started_at_ms=started_at_ms,
        ended_at_ms=ended_at_ms,
        end=None if end is None else _END[end],
        counted=bool(counted),
        usage=None if usage is None else _USAGE.decode(usage),
        code=None if code is None else _CODE[code],
        message=_text(message),
    )


class Shared:
    """What many waiting jobs have alike is in memory once: a million of them have few different needs and users."""

    def __init__(self) -> None:
        self._known: dict[Row, Needs] = {}
        self._users: dict[str, str] = {}

    def user(self, user_id: str) -> str:
        return self._users.setdefault(user_id, user_id)

    def needs(
        self,
        tenant: str,
        user_id: str,
        job_type: JobType,
        privacy_class: PrivacyClass,
        model: str | None,
        policy: Policy | None,
    ) -> Needs:
        whose = None if privacy_class is PrivacyClass.PUBLIC else user_id
        key = (tenant, whose, job_type, privacy_class, model, policy)
        needs = self._known.get(key)
        if needs is None:
            needs = self._known[key] = needs_of(
                tenant=tenant,
                user_id=user_id,
                job_type=job_type,
                privacy_class=privacy_class,
                model=model,
                policy=policy,
            )
        return needs


def headers(page: str, shared: Shared) -> list[JobHeader]:
    """What the query `headers` gave."""
    return [_header(row, shared) for row in _HEADERS.decode(page)]


def _header(row: Row, shared: Shared) -> JobHeader:
    (
        job_id, seq, number, user_id, tenant, job_type, privacy_class, model, status,
        created_at_ms, epoch, tries, worker_key, end, counted, cancel, effort, thread, estimated_tokens, terms,
        retried_epoch, policy, payment_ref,
    ) = row  # fmt: skip
    lost = end is AttemptEnd.LOST and status is JobStatus.PENDING and epoch != retried_epoch
    return JobHeader(
        id=job_id,
        seq=seq,
        number=number,
        user_id=shared.user(user_id),
        needs=shared.needs(tenant, user_id, job_type, privacy_class, model, policy),
        status=status,
        created_at_ms=created_at_ms,
        epoch=epoch,
        tries=tries,
        worker=worker_key,
        lost=lost,
        lost_counted=lost and bool(counted),
        cancel=None if cancel is None else _CANCEL.decode(cancel),
        effort=effort,
        thread_id=thread,
        terms=DEFAULT_TERMS if terms is None else _terms(terms),
        estimated_tokens=estimated_tokens,
        payment_ref=payment_ref,
    )


def trust(row: Row) -> Trust:
    (
        trust_id, tenant, user_id, created_at_ms, expires_at_ms, code_hash, keyed, worker_key, address, paired_at_ms,
    ) = row  # fmt: skip
    return Trust(
        id=trust_id.decode(),
        tenant=tenant.decode(),
        user_id=user_id.decode(),
        created_at_ms=created_at_ms,
        expires_at_ms=expires_at_ms,
        code_hash=code_hash,
        keyed=bool(keyed),
        worker=_text(worker_key),
        address=address.decode(),
        paired_at_ms=paired_at_ms,
    )


def worker(row: Row) -> WorkerRecord:
    key, worker_id, name, tenant, status, enrolled_at_ms = row
    return WorkerRecord(
        key=key.decode(),
        id=worker_id.decode(),
        name=name.decode(),
        tenant=tenant.decode(),
        status=WorkerStatus(status),
        enrolled_at_ms=enrolled_at_ms,
    )


def token(row: Row) -> TokenRecord:
    token_hash, tenant, expires_at_ms, needs_approval, pairs_with = row
    return TokenRecord(
        token_hash=token_hash,
        tenant=tenant.decode(),
        expires_at_ms=expires_at_ms,
        needs_approval=bool(needs_approval),
        pairs_with=_text(pairs_with),
    )


def api_key(row: Row) -> ApiKey:
    (
        key_id, secret_hash, role, tenant, user_id, created_at_ms, name, created_by, act_for_users, expires_at_ms,
        revoked_at_ms, old_secret_hash, old_until_ms,
    ) = row  # fmt: skip
    return ApiKey(
        key_id=key_id.decode(),
        secret_hash=secret_hash,
        role=role.decode(),
        tenant=tenant.decode(),
        user_id=user_id.decode(),
        created_at_ms=created_at_ms,
        name=_text(name),
        created_by=created_by.decode(),
        act_for_users=bool(act_for_users),
        expires_at_ms=expires_at_ms,
        revoked_at_ms=revoked_at_ms,
        old_secret_hash=old_secret_hash,
        old_until_ms=old_until_ms,
    )


def stop(row: Row) -> StopLatch:
    tenant, stop_seq, by, reason, at_ms, latched = row
    return StopLatch(
        tenant=tenant.decode(),
        stop_seq=stop_seq,
        by=by.decode(),
        reason=_text(reason),
        at_ms=at_ms,
        latched=bool(latched),
    )
