"""Writes that come seldom, or late: each is a statement or two of its own, which cost the others nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from cavvy.core.identity import ApiKey
from cavvy.core.job import ERASED
from cavvy.core.writes import (
    AddApiKey,
    AddTenant,
    AddWorkerToken,
    BookUsage,
    DropExpiredTokens,
    DropIdempotencyKeys,
    DropJobs,
    DropRevokedKeys,
    DropStop,
    DropTrust,
    DropUsedTokens,
    EnrolWorker,
    EraseJobs,
    PutTrust,
    ReplaceApiKey,
    RetryJob,
    SetStop,
    SetWorkerStatus,
    Write,
)

__all__ = ["Single", "steps"]


class Single(NamedTuple):
    """The statement `name` of `queries/write.sql`; refused unless it changes `rows` rows (None: any number)."""

    name: str
    parameters: Mapping[str, bytes | str | float | None]
    rows: int | None = 1


def steps(writes: Iterable[Write]) -> Iterator[Single]:
    """The statements of these writes, in their order."""
    for write in writes:
        yield from _BUILDERS[type(write)](write)


def _retry_job(write: RetryJob) -> Iterator[Single]:
    job_id, at_ms = write.job_id.encode(), write.retried_at_ms
    terms = None if write.terms is None else msgspec.json.encode(write.terms)
    yield Single("retry_job", {"job_id": job_id, "epoch": write.epoch, "retried_at_ms": at_ms, "terms": terms})


def _book_usage(write: BookUsage) -> Iterator[Single]:
    given: dict[str, bytes | int] = {
        "job_id": write.job_id.encode(),
        "epoch": write.epoch,
        "worker": write.worker.encode(),
        "usage": msgspec.json.encode(write.usage),
    }
    yield Single("book_usage", given, rows=None)


def _add_token(write: AddWorkerToken) -> Iterator[Single]:
    yield Single(
        "insert_token",
        {
            "token_hash": write.token_hash,
            "tenant": write.tenant.encode(),
            "created_by": write.created_by.encode(),
            "created_at_ms": write.created_at_ms,
            "expires_at_ms": write.expires_at_ms,
            "needs_approval": write.needs_approval,
            "pairs_with": None if write.pairs_with is None else write.pairs_with.encode(),
        },
    )


def _drop_expired_tokens(write: DropExpiredTokens) -> Iterator[Single]:
    yield Single("drop_expired_tokens", {"now_ms": write.now_ms}, rows=None)


def _enrol(write: EnrolWorker) -> Iterator[Single]:
    key = write.worker.encode()
    if write.token_hash is not None:
        yield Single("use_token", {"worker": key, "token_hash": write.token_hash})
    yield Single(
        "insert_worker",
        {
            "worker": key,
            "id": write.id.encode(),
            "name": write.name.encode(),
            "tenant": write.tenant.encode(),
            "status": write.status.value,
            "enrolled_at_ms": write.enrolled_at_ms,
        },
    )


def _set_worker_status(write: SetWorkerStatus) -> Iterator[Single]:
    status, before = write.status.value, write.before.value
    yield Single("set_worker_status", {"worker": write.worker.encode(), "status": status, "before": before})


def _add_api_key(write: AddApiKey) -> Iterator[Single]:
    key = write.key
    yield Single(
        "insert_api_key",
        {
            **_secrets(key),
            "role": key.role.encode(),
            "tenant": key.tenant.encode(),
            "user_id": key.user_id.encode(),
            "created_at_ms": key.created_at_ms,
            "name": None if key.name is None else key.name.encode(),
            "created_by": key.created_by.encode(),
            "act_for_users": key.act_for_users,
            "expires_at_ms": key.expires_at_ms,
        },
    )


def _replace_api_key(write: ReplaceApiKey) -> Iterator[Single]:
    yield Single("replace_api_key", {**_secrets(write.key), "secret_hash_before": write.secret_hash_before})


def _secrets(key: ApiKey) -> dict[str, bytes | str | int | None]:
    """The columns that may change."""
    return {
        "key_id": key.key_id.encode(),
        "secret_hash": key.secret_hash,
        "old_secret_hash": key.old_secret_hash,
        "old_until_ms": key.old_until_ms,
        "revoked_at_ms": key.revoked_at_ms,
    }


def _add_tenant(write: AddTenant) -> Iterator[Single]:
    one = write.tenant
    yield Single("insert_tenant", {"id": one.id.encode(), "created_at_ms": one.created_at_ms, "weight": one.weight})


def _set_stop(write: SetStop) -> Iterator[Single]:
    latch = write.latch
    yield Single(
        "set_stop",
        {
            "tenant": latch.tenant.encode(),
            "stop_seq": latch.stop_seq,
            "by": latch.by.encode(),
            "reason": None if latch.reason is None else latch.reason.encode(),
            "at_ms": latch.at_ms,
            "latched": latch.latched,
        },
    )


def _put_trust(write: PutTrust) -> Iterator[Single]:
    trust = write.trust
    yield Single(
        "put_trust",
        {
            "id": trust.id.encode(),
            "tenant": trust.tenant.encode(),
            "user_id": trust.user_id.encode(),
            "created_at_ms": trust.created_at_ms,
            "expires_at_ms": trust.expires_at_ms,
            "code_hash": trust.code_hash,
            "keyed": trust.keyed,
            "worker": None if trust.worker is None else trust.worker.encode(),
            "address": trust.address.encode(),
            "paired_at_ms": trust.paired_at_ms,
        },
    )


def _drop_trust(write: DropTrust) -> Iterator[Single]:
    yield Single("drop_trust", {"id": write.id.encode()})


def _drop_stop(write: DropStop) -> Iterator[Single]:
    yield Single("drop_stop", {"tenant": write.tenant.encode(), "stop_seq": write.stop_seq})


def _erase(write: EraseJobs) -> Iterator[Single]:
    """The jobs last: by them the others know what is erased already."""
    seqs = msgspec.json.encode(write.seqs).decode()
    yield Single("erase_inputs", {"seqs": seqs}, rows=None)
    yield Single("erase_outputs", {"seqs": seqs}, rows=None)
    yield Single("erase_attempts", {"seqs": seqs, "message": ERASED.encode()}, rows=None)
    yield Single("erase_jobs", {"seqs": seqs, "at_ms": write.at_ms, "message": ERASED}, rows=None)


def _drop_jobs(write: DropJobs) -> Iterator[Single]:
    """The jobs last: by them the others know what has ended."""
    for name in ("note_dropped", "drop_inputs", "drop_outputs", "drop_attempts", "drop_jobs"):
        yield Single(name, {"seqs": msgspec.json.encode(write.seqs).decode()}, rows=None)


def _dropping(name: str) -> Callable[[DropIdempotencyKeys | DropUsedTokens | DropRevokedKeys], Iterator[Single]]:
    return lambda write: iter([Single(name, {"before_ms": write.before_ms, "limit": write.limit}, rows=None)])


_BUILDERS: dict[type, Callable[[Any], Iterator[Single]]] = {
    BookUsage: _book_usage,
    RetryJob: _retry_job,
    AddWorkerToken: _add_token,
    DropExpiredTokens: _drop_expired_tokens,
    EnrolWorker: _enrol,
    SetWorkerStatus: _set_worker_status,
    AddApiKey: _add_api_key,
    ReplaceApiKey: _replace_api_key,
    AddTenant: _add_tenant,
    SetStop: _set_stop,
    DropStop: _drop_stop,
    PutTrust: _put_trust,
    DropTrust: _drop_trust,
    EraseJobs: _erase,
    DropJobs: _drop_jobs,
    DropIdempotencyKeys: _dropping("drop_idempotency_keys"),
    DropUsedTokens: _dropping("drop_used_tokens"),
    DropRevokedKeys: _dropping("drop_revoked_keys"),
}
