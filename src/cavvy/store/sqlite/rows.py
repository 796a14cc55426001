"""One builder for each kind of write about a job: the rows its statements take, texts packed apart from numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from cavvy.core.job import DEFAULT_TERMS, Effort, JobStatus
from cavvy.core.writes import (
    CompleteJob,
    FailJob,
    GrantJob,
    InsertJob,
    RequestCancel,
    RequeueJob,
    ReviveAttempt,
    StartAttempt,
)

__all__ = [
    "STATEMENTS",
    "Builder",
    "Row",
    "Rows",
    "Texts",
    "cancel",
    "complete",
    "fail",
    "grant",
    "insert",
    "requeue",
    "revive",
    "start",
]

Row = tuple[Any, ...]

#: Every statement of the trigger.
STATEMENTS = (
    "insert_job",
    "mark_job",
    "insert_input",
    "insert_attempt",
    "drop_dead_keys",
    "insert_key",
    "grant_job",
    "open_attempt",
    "note_start",
    "start_job",
    "requeue_job",
    "end_requeued",
    "revive_job",
    "revive_attempt",
    "request_cancel",
    "complete_job",
    "complete_attempt",
    "insert_output",
    "fail_job",
    "end_failed",
)


class Texts:
    """All texts of a batch in one value. Each row holds a text as two numbers: where it begins, how long it is."""

    def __init__(self) -> None:
        self._parts: list[bytes] = [b"\0"]
        self._end = 2

    def add(self, text: str | bytes | None) -> tuple[int | None, int | None]:
        if text is None:
            return (None, None)
        part = text if isinstance(text, bytes) else text.encode()
        begin = self._end
        self._parts.append(part)
        self._end = begin + len(part)
        return (begin, len(part))

    def add_json(self, value: msgspec.Struct | None) -> tuple[int | None, int | None]:
        return self.add(None if value is None else msgspec.json.encode(value))

    @property
    def size(self) -> int:
        return self._end

    def value(self) -> bytes:
        return b"".join(self._parts)


class Rows(NamedTuple):
    """The rows for the statement `name` in the trigger of `queries/write.sql`."""

    name: str
    rows: list[Row]


Builder = Callable[[Sequence[Any], Texts], Iterator[Rows]]


def insert(pairs: Sequence[tuple[InsertJob, GrantJob | None]], texts: Texts) -> Iterator[Rows]:
    """New jobs; one that is granted in the same batch is written as assigned at once."""
    jobs: list[Row] = []
    marks: list[Row] = []
    inputs: list[Row] = []
    attempts: list[Row] = []
    dead: list[Row] = []
    keys: list[Row] = []
    add = texts.add
    for write, grant in pairs:
        needs, key = write.needs, write.idempotency
        job_id, tenant = add(write.id), add(needs.tenant)
        granted = (0, JobStatus.PENDING) if grant is None else (grant.epoch, JobStatus.ASSIGNED)
        numbers = (write.seq, write.number, write.created_at_ms, *granted, needs.job_type, needs.privacy_class)
        jobs.append((*numbers, write.estimated_tokens, *job_id, *tenant, *add(write.user_id), *add(needs.model)))
        if _is_marked(write):
            terms = None if write.terms == DEFAULT_TERMS else write.terms
            texts_of = (*add(write.thread_id), *texts.add_json(terms), *add(write.payment_ref))
            marks.append((write.seq, write.effort, needs.policy, *texts_of))
        inputs.append((write.seq, *add(write.params), *add(write.metadata), *add(write.input)))
        if grant is not None:
            attempts.append(
                (write.seq, grant.epoch, grant.granted_at_ms, *tenant, *add(grant.worker), *add(grant.salt))
            )
        if key is not None:
            name = (*tenant, *add(key.key))
            dead.append((write.expired_before_ms, *name))
            keys.append((write.created_at_ms, *name, *add(key.fingerprint), *job_id))
    yield Rows("insert_job", jobs)
    yield Rows("mark_job", marks)
    yield Rows("insert_input", inputs)
    yield Rows("insert_attempt", attempts)
    yield Rows("drop_dead_keys", dead)
    yield Rows("insert_key", keys)


def _is_marked(write: InsertJob) -> bool:
    """Whether it has anything that few jobs have."""
    usual = write.effort is Effort.STANDARD and write.terms is DEFAULT_TERMS and write.needs.policy is None
    return not usual or write.thread_id is not None or write.payment_ref is not None


def grant(writes: Sequence[GrantJob], texts: Texts) -> Iterator[Rows]:
    add = texts.add
    refs = [(*add(write.job_id), write.epoch) for write in writes]
    opened = [
        (*ref, write.granted_at_ms, *add(write.worker), *add(write.salt))
        for ref, write in zip(refs, writes, strict=True)
    ]
    yield Rows("grant_job", refs)
    yield Rows("open_attempt", opened)


def start(writes: Sequence[StartAttempt], texts: Texts) -> Iterator[Rows]:
    rows: list[Row] = [(*texts.add(write.job_id), write.epoch, write.started_at_ms) for write in writes]
    yield Rows("note_start", rows)
    yield Rows("start_job", rows)


def requeue(writes: Sequence[RequeueJob], texts: Texts) -> Iterator[Rows]:
    refs = [(*texts.add(write.job_id), write.epoch, write.counted) for write in writes]
    yield Rows("requeue_job", refs)
    ends: list[Row] = []
    for ref, write in zip(refs, writes, strict=True):
        why = (write.code, *texts.add(write.message), *texts.add_json(write.usage))
        ends.append((*ref, write.ended_at_ms, write.end, *why))
    yield Rows("end_requeued", ends)


def revive(writes: Sequence[ReviveAttempt], texts: Texts) -> Iterator[Rows]:
    refs = [(*texts.add(write.job_id), write.epoch) for write in writes]
    yield Rows("revive_job", [(*ref, write.counted) for ref, write in zip(refs, writes, strict=True)])
    yield Rows("revive_attempt", [(*ref, write.started_at_ms) for ref, write in zip(refs, writes, strict=True)])


def cancel(writes: Sequence[RequestCancel], texts: Texts) -> Iterator[Rows]:
    rows = [(*texts.add(write.job_id), write.epoch, *texts.add_json(write.cancel)) for write in writes]
    yield Rows("request_cancel", rows)


def complete(writes: Sequence[CompleteJob], texts: Texts) -> Iterator[Rows]:
    add = texts.add
    jobs: list[Row] = []
    attempts: list[Row] = []
    outputs: list[Row] = []
    for write in writes:
        job_id = add(write.job_id)
        job = (*job_id, write.epoch, write.ended_at_ms)
        jobs.append(job)
        attempts.append((*job, *texts.add_json(write.usage)))
        heads = (*add(write.output_hash), *add(write.model))
        outputs.append((*job_id, *heads, *add(write.receipt), *add(write.result)))
    yield Rows("complete_job", jobs)
    yield Rows("complete_attempt", attempts)
    yield Rows("insert_output", outputs)


def fail(writes: Sequence[FailJob], texts: Texts) -> Iterator[Rows]:
    jobs: list[Row] = []
    ends: list[Row] = []
    for write in writes:
        job = (*texts.add(write.job_id), write.epoch, write.counted, write.failure.at_ms)
        jobs.append((*job, *texts.add_json(write.failure), *texts.add_json(write.cancel)))
        if write.end is not None:
            why = (write.failure.code, *texts.add(write.failure.message), *texts.add_json(write.usage))
            ends.append((*job, write.end, *why))
    yield Rows("fail_job", jobs)
    yield Rows("end_failed", ends)
