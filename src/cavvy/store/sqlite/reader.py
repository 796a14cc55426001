"""Reads over a connection that cannot write. Runs in one thread."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from cavvy import defaults
from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.job import Effort, JobStatus
from cavvy.core.latch import StopLatch
from cavvy.core.retention import Due, DueJob, Horizons
from cavvy.core.search import holds
from cavvy.core.trust import Trust
from cavvy.store.base import (
    AssignInput,
    FoundJobs,
    IdempotencyRecord,
    JobFilter,
    JobRecord,
    TokenRecord,
    WorkerRecord,
)
from cavvy.store.sqlite import queries, records
from cavvy.store.sqlite.rows import Texts

__all__ = ["JobName", "Reader"]


class JobName(NamedTuple):
    """A job, asked for by its tenant."""

    tenant: str
    job_id: str


_READ = queries.load("read")
_NEWEST = 2**63 - 1


def _key(text: str) -> bytes:
    """As stored; what is no Unicode was never stored and finds nothing."""
    return text.encode(errors="surrogatepass")


def _first_wanted(
    tenant: str, rows: Iterable[tuple[Any, ...]], text: str | None, limit: int
) -> tuple[list[JobRecord], int | None]:
    """The first `limit` that hold `text`, and the number at which it stopped before the end."""
    found: list[JobRecord] = []
    looked_at = 0
    for body, *row in rows:
        job = records.listed_job(tenant, tuple(row))
        looked_at += len(body or b"") + len(job.metadata or b"")
        if text is None or holds(text, job.id, job.model, documents=(job.metadata, body)):
            found.append(job)
        if len(found) == limit or looked_at > defaults.FIND_BYTES:
            return found, job.number
    return found, None


def _index_for(wanted: JobFilter) -> str:
    """The query for candidates that leaves out most of what is not wanted."""
    if wanted.thread_id is not None:
        return "seqs_of_thread"
    if wanted.worker is not None:
        return "seqs_of_worker"
    statuses = wanted.statuses or frozenset(JobStatus)
    if statuses <= {JobStatus.ASSIGNED, JobStatus.RUNNING}:
        return "seqs_active"
    if statuses == {JobStatus.PENDING}:
        return "seqs_pending"
    if statuses == {JobStatus.FAILED}:
        return "seqs_failed"
    return "seqs_of_tenant" if wanted.effort in (None, Effort.STANDARD) else "seqs_of_effort"


def _json(rows: Sequence[Sequence[int | None] | int]) -> str:
    return msgspec.json.encode(rows).decode()


def _bounded(number: int) -> int:
    """The nearest number SQLite knows; nothing is stored that this could confuse."""
    return max(-(2**63), min(number, _NEWEST))


class Reader:
    """Each method is one statement, so it sees one committed state."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(_READ[query], parameters).fetchall()

    def headers(self, after_seq: int, limit: int) -> tuple[int | None, str | None]:
        """The last `seq` of the next live jobs, and they for `records.headers`; None and None when there are none."""
        last_seq, page = self._rows("headers", after_seq=after_seq, limit=limit)[0]
        return last_seq, page

    def all_trust(self) -> list[Trust]:
        return [records.trust(row) for row in self._rows("all_trust")]

    def trusts(self, tenant: str, user_id: str) -> list[Trust]:
        rows = self._rows("trust_of_user", tenant=_key(tenant), user_id=_key(user_id))
        return [records.trust(row) for row in rows]

    def all_workers(self) -> list[WorkerRecord]:
        return [records.worker(row) for row in self._rows("all_workers")]

    def unused_tokens(self) -> list[TokenRecord]:
        return [records.token(row) for row in self._rows("unused_tokens")]

    def inputs(self, job_ids: Sequence[str]) -> dict[str, AssignInput]:
        texts = Texts()
        given = [texts.add(_key(job_id)) for job_id in job_ids]
        rows = self._rows("inputs", rows=_json(given), texts=texts.value())
        return {
            job_id.decode(): AssignInput(input=body, params=params, salt=salt) for job_id, body, params, salt in rows
        }

    def whole_jobs(self, wanted: Sequence[JobName]) -> list[JobRecord | None]:
        """The jobs in the order asked for; None where the tenant has no such job."""
        texts = Texts()
        given = [(*texts.add(_key(name.job_id)), *texts.add(_key(name.tenant))) for name in wanted]
        found: dict[int, list[records.Row]] = {}
        for position, *row in self._rows("whole_jobs", rows=_json(given), texts=texts.value()):
            found.setdefault(position, []).append(tuple(row))
        return [
            records.job(*name, found[position]) if position in found else None for position, name in enumerate(wanted)
        ]

    def jobs(self, tenant: str, before: int | None, limit: int) -> list[JobRecord]:
        below = _NEWEST if before is None else _bounded(before)
        rows = self._rows("jobs", tenant=_key(tenant), before=below, limit=limit)
        return [records.listed_job(tenant, row) for row in rows]

    def find_jobs(self, tenant: str, wanted: JobFilter, before: int | None, limit: int) -> FoundJobs:
        """Which jobs to look at, by an index of the tenant's own jobs, and what they are by then."""
        below = _NEWEST if before is None else _bounded(before)
        from_seq = _NEWEST if before is None else self._seq_before(tenant, below)
        asked = {
            "tenant": _key(tenant),
            "worker": None if wanted.worker is None else _key(wanted.worker),
            "thread": None if wanted.thread_id is None else _key(wanted.thread_id),
            "effort": wanted.effort,
        }
        place = {"before": below, "from_seq": from_seq, "limit": defaults.FIND_JOBS}
        candidates = self._rows(_index_for(wanted), **asked, **place)
        parameters = {
            **asked,
            "seqs": _json([seq for (seq,) in candidates]),
            "statuses": None if wanted.statuses is None else msgspec.json.encode(sorted(wanted.statuses)).decode(),
            "texts": wanted.text is not None,
        }
        with contextlib.closing(self._connection.execute(_READ["jobs_of_seqs"], parameters)) as rows:
            found, stopped_at = _first_wanted(tenant, rows, wanted.text, limit)
        whole = len(candidates) < defaults.FIND_JOBS
        if stopped_at is None and not whole:
            ((stopped_at,),) = self._rows("number_of", seq=candidates[-1][0])
        return FoundJobs(jobs=found, before=stopped_at)

    def _seq_before(self, tenant: str, number: int) -> int:
        """The `seq` of the tenant's newest job below `number`, where the indexes go on; before all if there is none."""
        rows = self._rows("seq_before", tenant=_key(tenant), before=number)
        return int(rows[0][0]) if rows else -(2**63)

    def due(self, horizons: Horizons, limit: int) -> Due:
        """Some statements: what ends or goes in between is found by the write's own conditions."""
        whole, texts = horizons.jobs_ms, horizons.texts_ms
        return Due(
            drop=() if whole is None else self._ended(whole, limit),
            erase=() if texts is None else self._with_texts(whole or 0, texts, limit),
            idempotency=self._count("due_keys", horizons.idempotency_ms, limit),
            tokens=self._count("due_tokens", horizons.tokens_ms, limit),
            api_keys=self._count("due_api_keys", horizons.api_keys_ms, limit),
        )

    def _ended(self, before_ms: int, limit: int) -> tuple[DueJob, ...]:
        rows = self._rows("due_with_texts", since_ms=0, before_ms=before_ms, limit=limit)
        rows += self._rows("due_erased", before_ms=before_ms, limit=limit)
        return tuple(DueJob(job_id.decode(), seq, size) for _, seq, job_id, size in sorted(rows)[:limit])

    def _with_texts(self, since_ms: int, before_ms: int, limit: int) -> tuple[DueJob, ...]:
        rows = self._rows("due_with_texts", since_ms=since_ms, before_ms=before_ms, limit=limit)
        return tuple(DueJob(job_id.decode(), seq, size) for _, seq, job_id, size in rows)

    def _count(self, query: str, before_ms: int | None, limit: int) -> int:
        if before_ms is None:
            return 0
        ((count,),) = self._rows(query, before_ms=before_ms, limit=limit)
        return int(count)

    def idempotent(self, tenant: str, keys: Sequence[str], not_before_ms: int) -> dict[str, IdempotencyRecord]:
        texts = Texts()
        given = [texts.add(_key(key)) for key in keys]
        rows = self._rows(
            "idempotent", tenant=_key(tenant), rows=_json(given), texts=texts.value(), not_before_ms=not_before_ms
        )
        return {
            keys[place]: IdempotencyRecord(job_id=job_id.decode(), fingerprint=fingerprint)
            for place, job_id, fingerprint in rows
        }

    def accepted(self, job_id: str, epoch: int) -> tuple[str, bool] | None:
        rows = self._rows("accepted", id=_key(job_id), epoch=_bounded(epoch))
        if not rows:
            return None
        ((worker, is_accepted),) = rows
        return worker.decode(), bool(is_accepted)

    def workers(self, tenant: str) -> list[WorkerRecord]:
        rows = self._rows("workers", tenant=_key(tenant), shared=_key(defaults.SHARED))
        return [records.worker(row) for row in rows]

    def api_keys(self) -> list[ApiKey]:
        return [records.api_key(row) for row in self._rows("api_keys")]

    def tenants(self) -> list[Tenant]:
        rows = self._rows("tenants")
        return [Tenant(id=tenant.decode(), created_at_ms=at_ms, weight=weight) for tenant, at_ms, weight in rows]

    def stops(self) -> list[StopLatch]:
        return [records.stop(row) for row in self._rows("stops")]
