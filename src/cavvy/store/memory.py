"""The store in memory: the readable reference for every promise of `Store`. Nothing survives the process."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.retention import Due, DueJob, Horizons
from cavvy.core.search import holds
from cavvy.core.trust import Trust
from cavvy.core.writes import Write
from cavvy.errors import Fenced, Refused
from cavvy.store.base import (
    AssignInput,
    AttemptRecord,
    FoundJobs,
    IdempotencyRecord,
    JobFilter,
    JobRecord,
    LoadRow,
    Opened,
    TokenRecord,
    WorkerRecord,
    header_of,
)
from cavvy.store.memory_data import Transaction
from cavvy.store.memory_tables import Tables

__all__ = ["MemoryStore"]

_ENCODER = msgspec.msgpack.Encoder()


class MemoryStore:
    """A `Store` whose data lives as long as the object: close and open it again to simulate a restart."""

    def __init__(self) -> None:
        self._store_id = secrets.token_hex(16)
        self._term = 0
        self._open = False
        self._tables = Tables()

    async def open(self) -> Opened:
        self._term += 1
        self._open = True
        dropped = self._tables.dropped
        last_number: dict[str, int] = defaultdict(int, {tenant: number for tenant, (number, _) in dropped.items()})
        for tenant, number in self._tables.by_number:
            last_number[tenant] = max(last_number[tenant], number)
        last_seq = max(*self._tables.by_seq, *(seq for _, seq in dropped.values()), 0, 0)
        return Opened(store_id=self._store_id, term=self._term, last_seq=last_seq, last_number=dict(last_number))

    async def close(self) -> None:
        self._open = False

    async def commit(self, writes: Sequence[Write], *, term: int) -> None:
        self._check_open()
        if term != self._term:
            raise Fenced(f"term {term} is over, the store is in term {self._term}")
        _check_storable(writes)
        transaction = Transaction()
        try:
            for write in writes:
                self._tables.apply(transaction, write)
        except BaseException:
            transaction.roll_back()
            raise

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("the store is not open")

    async def load(self) -> AsyncIterator[Sequence[LoadRow]]:
        self._check_open()
        tables = self._tables
        live = (job for job in tables.jobs.values() if job.completed_at_ms is None)
        yield [header_of(job) for job in sorted(live, key=lambda job: job.seq)]
        yield list(tables.workers.values())
        yield [
            TokenRecord(
                token_hash=token.token_hash,
                tenant=token.tenant,
                expires_at_ms=token.expires_at_ms,
                needs_approval=token.needs_approval,
                pairs_with=token.pairs_with,
            )
            for token in tables.tokens.values()
            if not token.used
        ]
        yield list(tables.tenants.values())
        yield [key for key in tables.api_keys.values() if key.revoked_at_ms is None]
        yield list(tables.stops.values())
        yield list(tables.trusts.values())

    async def trusts(self, tenant: str, user_id: str) -> Sequence[Trust]:
        self._check_open()
        return [one for one in self._tables.trusts.values() if (one.tenant, one.user_id) == (tenant, user_id)]

    async def inputs(self, job_ids: Sequence[str]) -> Mapping[str, AssignInput]:
        self._check_open()
        jobs = [self._tables.jobs[job_id] for job_id in job_ids if job_id in self._tables.jobs]
        return {job.id: _assign_input(job) for job in jobs}

    async def job(self, tenant: str, job_id: str) -> JobRecord | None:
        self._check_open()
        job = self._tables.jobs.get(job_id)
        if job is None or job.tenant != tenant:
            return None
        return replace(job, attempts=tuple(self._with_worker_id(attempt) for attempt in job.attempts))

    def _with_worker_id(self, attempt: AttemptRecord) -> AttemptRecord:
        worker = self._tables.workers.get(attempt.worker)
        return replace(attempt, worker_id=None if worker is None else worker.id)

    async def jobs(self, tenant: str, *, before: int | None, limit: int) -> Sequence[JobRecord]:
        self._check_open()
        found = [
            job
            for job in self._tables.jobs.values()
            if job.tenant == tenant and (before is None or job.number < before)
        ]
        found.sort(key=lambda job: -job.seq)
        return [replace(job, input=None, result=None, receipt=None, attempts=()) for job in found[:limit]]

    async def find_jobs(self, tenant: str, wanted: JobFilter, *, before: int | None, limit: int) -> FoundJobs:
        listed = await self.jobs(tenant, before=before, limit=len(self._tables.jobs))
        found = [job for job in listed if _is_wanted(self._tables.jobs[job.id], wanted)]
        return FoundJobs(jobs=found[:limit], before=found[limit - 1].number if len(found) >= limit else None)

    async def idempotent(
        self, tenant: str, keys: Sequence[str], *, not_before_ms: int
    ) -> Mapping[str, IdempotencyRecord]:
        self._check_open()
        found = ((key, self._tables.keys.get((tenant, key))) for key in keys)
        return {
            key: IdempotencyRecord(job_id=record.job_id, fingerprint=record.fingerprint)
            for key, record in found
            if record is not None and record.created_at_ms >= not_before_ms
        }

    async def accepted(self, job_id: str, epoch: int) -> tuple[str, bool] | None:
        self._check_open()
        job = self._tables.jobs.get(job_id)
        for attempt in job.attempts if job is not None else ():
            if job is not None and attempt.epoch == epoch:
                return attempt.worker, job.accepted_epoch == epoch
        return None

    async def workers(self, tenant: str) -> Sequence[WorkerRecord]:
        self._check_open()
        found = [one for one in self._tables.workers.values() if one.tenant in (tenant, defaults.SHARED)]
        return sorted(found, key=lambda worker: worker.enrolled_at_ms)

    async def api_keys(self) -> Sequence[ApiKey]:
        self._check_open()
        return list(self._tables.api_keys.values())

    async def tenants(self) -> Sequence[Tenant]:
        self._check_open()
        return list(self._tables.tenants.values())

    async def due(self, horizons: Horizons, *, limit: int) -> Due:
        self._check_open()
        tables = self._tables
        drop = [] if horizons.jobs_ms is None else tables.ended_jobs(horizons.jobs_ms)[:limit]
        erase = [] if horizons.texts_ms is None else tables.ended_jobs(horizons.texts_ms, horizons.jobs_ms or 0)
        with_texts = [job for job in erase if job.erased_at_ms is None]
        return Due(
            drop=tuple(_due(job) for job in drop),
            erase=tuple(_due(job) for job in with_texts[:limit]),
            idempotency=_count(tables.expired_keys, horizons.idempotency_ms, limit),
            tokens=_count(tables.used_tokens, horizons.tokens_ms, limit),
            api_keys=_count(tables.revoked_keys, horizons.api_keys_ms, limit),
        )

    async def scrub(self, *, term: int) -> bool:
        self._check_open()
        return True


def _check_storable(writes: Sequence[Write]) -> None:
    """Refuses what is no Unicode or no 64-bit number, as every database does."""
    try:
        _ENCODER.encode(writes)
    except (ValueError, OverflowError) as error:
        raise Refused(f"a value cannot be stored: {error}") from error


def _is_wanted(job: JobRecord, wanted: JobFilter) -> bool:
    if wanted.statuses is not None and job.status not in wanted.statuses:
        return False
    if wanted.worker is not None and all(attempt.worker != wanted.worker for attempt in job.attempts):
        return False
    if wanted.thread_id is not None and job.thread_id != wanted.thread_id:
        return False
    if wanted.effort is not None and job.effort is not wanted.effort:
        return False
    return wanted.text is None or holds(wanted.text, job.id, job.model, documents=(job.metadata, job.input))


def _due(job: JobRecord) -> DueJob:
    return DueJob(job.id, job.seq, sum(len(text or b"") for text in (job.input, job.metadata, job.result)))


def _count(found: Callable[[int], Sequence[object]], before_ms: int | None, limit: int) -> int:
    return 0 if before_ms is None else len(found(before_ms)[:limit])


def _assign_input(job: JobRecord) -> AssignInput:
    salt = job.attempts[-1].salt if job.attempts else b""
    return AssignInput(input=job.input or b"", params=job.params, salt=salt)
