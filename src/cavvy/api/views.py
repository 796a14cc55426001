"""What is stored, as the API shows it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from cavvy import defaults
from cavvy.api.problems import ProblemError
from cavvy.api.receipts import receipt_view
from cavvy.api.waits import Waits
from cavvy.coordinator.hub import Topic
from cavvy.coordinator.login import OnlineWorker, worker_id
from cavvy.core.effects import JobEffect, JobEnded
from cavvy.core.identity import ApiKey
from cavvy.core.javascript import as_unicode
from cavvy.core.job import AttemptEnd, CancelRequest, Failure, JobStatus
from cavvy.core.latch import StopLatch
from cavvy.core.prices import price_of
from cavvy.core.receipt import Params
from cavvy.core.results import output_text
from cavvy.core.writes import Usage
from cavvy.protocol.rest_events import JobChange
from cavvy.protocol.rest_job import AttemptView, CancelView, FailureView, Job, TimelineEntry, UsageView
from cavvy.protocol.rest_keys import KeyView, NewKey
from cavvy.protocol.rest_stop import StopView
from cavvy.protocol.rest_workers import WorkerView
from cavvy.store.base import AttemptRecord, JobRecord, WorkerRecord

__all__ = [
    "cancel_view",
    "iso",
    "job_change",
    "job_view",
    "key_view",
    "new_key_view",
    "stop_view",
    "stopped_problem",
    "worker_view",
]

#: Ends of attempts after which a job waits again, as its timeline calls them.
_BACK_TO_PENDING = {
    AttemptEnd.FAILED: "attempt_failed",
    AttemptEnd.LOST: "lost",
    AttemptEnd.UNDELIVERED: "undelivered",
    AttemptEnd.REVOKED: "revoked",
    AttemptEnd.REJECTED: "rejected",
    AttemptEnd.DRAINED: "drained",
}

_params = msgspec.json.Decoder(Params).decode
_input = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode


def iso(wall_ms: int) -> str:
    """ISO 8601 with milliseconds and Z."""
    return f"{_second(wall_ms // 1000)}.{wall_ms % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _second(wall_s: int) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def job_view(record: JobRecord, waits: Waits, topic: Topic | None = None, *, texts: bool = True) -> Job:
    """The job as JSON shows it; `topic` adds `running` before it is written. Without `texts` no content is shown."""
    params = _params(record.params)
    status, attempts = record.status, list(record.attempts)
    if topic is not None and topic.started_at_ms and topic.epoch == record.epoch and status is JobStatus.ASSIGNED:
        status = JobStatus.RUNNING
        attempts = [_with_start(one, topic) for one in attempts]
    accepted = next((one for one in attempts if one.epoch == record.accepted_epoch), None)
    current = accepted or (attempts[-1] if attempts else None)
    asked = _input(record.input) if texts and record.input else {}
    result = record.result if texts else None
    terms = record.terms
    return Job(
        id=record.id,
        number=record.number,
        status=status,
        job_type=record.job_type,
        privacy_class=record.privacy_class,
        user_id=record.user_id,
        created_at=iso(record.created_at_ms),
        completed_at=iso(record.completed_at_ms) if record.completed_at_ms is not None else None,
        erased_at=_iso_or_none(record.erased_at_ms),
        model=record.model,
        served_model=record.served_model,
        prompt=_text(asked["prompt"]) if "prompt" in asked else None,
        messages=asked.get("messages"),
        task_type=_text(asked["task_type"]) if "task_type" in asked else None,
        input=_text(asked["input"]) if "input" in asked else None,
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        stop=params.stop,
        metadata=msgspec.Raw(record.metadata) if record.metadata is not None else None,
        result=_shown_result(record, result),
        output=output_text(result) if result is not None else None,
        output_hash=record.output_hash,
        input_salt=current.salt.hex() if current else None,
        usage=_usage(current.usage) if current else None,
        failure=_failure(record.failure) if record.failure else None,
        cancel_requested=None if record.cancel is None else cancel_view(record.cancel),
        queue=waits.look(record) if status is JobStatus.PENDING else None,
        attempt=record.epoch,
        tries=record.tries,
        effort=record.effort,
        thread_id=record.thread_id,
        timeout_s=terms.timeout_s,
        first_token_timeout_s=terms.first_token_timeout_s,
        stall_timeout_s=terms.stall_timeout_s,
        match_window_s=terms.match_window_s,
        max_attempts=terms.max_attempts,
        deadline=_iso_or_none(terms.deadline_at_ms),
        not_before=_iso_or_none(terms.not_before_ms),
        payment_ref=record.payment_ref,
        attempts=[_attempt(one) for one in attempts],
        timeline=_timeline(record, attempts),
        policy=record.policy,
        price=None if record.policy is None else price_of(record.policy, record.job_type),
        receipt=receipt_view(record.receipt) if texts and record.receipt is not None else None,
    )


def job_change(effect: JobEffect, now_ms: int) -> JobChange:
    """A change of a job, as a tenant's events show it."""
    job, ended = effect.job, effect if isinstance(effect, JobEnded) else None
    failure = ended.failure if ended else None
    waits = job.status is JobStatus.PENDING
    return JobChange(
        id=job.id,
        number=job.number,
        status=job.status,
        at=iso(now_ms),
        attempt=job.epoch,
        worker_id=None if waits or job.worker is None else worker_id(job.worker),
        stopping=job.cancel is not None and ended is None,
        failure_code=failure.code if failure else None,
        stopped_by=failure.by if failure else None,
        usage=_usage(ended.usage) if ended else None,
        job_type=job.needs.job_type,
        privacy_class=job.needs.privacy_class,
        model=job.needs.model,
        effort=job.effort,
        thread_id=job.thread_id,
        user_id=job.user_id,
        created_at=iso(job.created_at_ms),
    )


def worker_view(record: WorkerRecord, online: OnlineWorker | None, now_ms: int, *, own: bool) -> WorkerView:
    """The worker as JSON shows it; of one that is not its `own` a tenant sees no more than it needs."""
    known = online if own else None
    cooling = known is not None and known.cooling_until_ms > now_ms
    return WorkerView(
        id=record.id,
        key=record.key,
        name=record.name,
        status=record.status,
        shared=record.tenant == defaults.SHARED,
        enrolled_at=iso(record.enrolled_at_ms),
        online=online is not None,
        slots=known.slots if known else None,
        free=known.free if known else None,
        job_types=sorted(online.profile.job_types) if online else None,
        models=sorted(online.profile.models) if online else None,
        version=known.version if known else None,
        skew_ms=known.skew_ms if known else None,
        leaving=known.leaving if known else None,
        stopping=known.stopping if known else None,
        unanswered_stops=known.unanswered_stops if known else None,
        cooling_until=iso(known.cooling_until_ms) if known and cooling else None,
    )


def cancel_view(request: CancelRequest, *, durable: bool = True) -> CancelView:
    return CancelView(by=request.by, reason=request.reason, at=iso(request.at_ms), durable=durable)


def stop_view(latch: StopLatch | None) -> StopView:
    """Whether new work is refused, and by whose stop."""
    if latch is None or not latch.latched:
        return StopView(stopped=False)
    return StopView(stopped=True, by=latch.by, reason=latch.reason, at=iso(latch.at_ms))


def stopped_problem(latch: StopLatch) -> ProblemError:
    """The refusal of new work: who stopped it, when, why, and how it goes on."""
    why = f": {latch.reason}" if latch.reason else ""
    detail = (
        f"{latch.by} stopped everything of this tenant at {iso(latch.at_ms)}{why}. "
        "An admin lets it go on with `cavvy stop --release` (POST /v1/stop/release)."
    )
    return ProblemError("stopped", detail, stop=stop_view(latch))


def key_view(key: ApiKey, now_ms: int) -> KeyView:
    """The key without its secret."""
    return KeyView(**_key_fields(key, now_ms))


def new_key_view(key: ApiKey, now_ms: int, secret: str, login: str) -> NewKey:
    """The key with its secret, for the one answer that shows it; `login` is the line for another machine."""
    return NewKey(**_key_fields(key, now_ms), key=secret, login=login)


def _key_fields(key: ApiKey, now_ms: int) -> dict[str, Any]:
    in_grace = key.old_until_ms is not None and now_ms < key.old_until_ms
    ended = "revoked" if key.revoked_at_ms is not None else "expired" if key.ends_ms() <= now_ms else None
    return {
        "id": key.key_id,
        "role": key.role,
        "status": ended or "active",
        "tenant": key.tenant or None,
        "name": key.name,
        "user": key.user_id,
        "act_for_users": key.act_for_users,
        "created_at": iso(key.created_at_ms),
        "created_by": key.created_by or None,
        "expires_at": _iso_or_none(key.expires_at_ms),
        "revoked_at": _iso_or_none(key.revoked_at_ms),
        "old_secret_until": _iso_or_none(key.old_until_ms) if in_grace and ended is None else None,
    }


def _iso_or_none(wall_ms: int | None) -> str | None:
    return None if wall_ms is None else iso(wall_ms)


def _shown_result(record: JobRecord, result: bytes | None) -> msgspec.Raw | None:
    if result is not None:
        return msgspec.Raw(as_unicode(result))
    if record.failure is not None:
        return msgspec.Raw(msgspec.json.encode({"error": record.failure.code}))
    return None


def _with_start(attempt: AttemptRecord, topic: Topic) -> AttemptRecord:
    if attempt.epoch != topic.epoch or attempt.started_at_ms is not None:
        return attempt
    return msgspec.structs.replace(attempt, started_at_ms=topic.started_at_ms)


def _attempt(one: AttemptRecord) -> AttemptView:
    return AttemptView(
        attempt=one.epoch,
        worker=one.worker,
        worker_id=one.worker_id or worker_id(one.worker),
        granted_at=iso(one.granted_at_ms),
        started_at=iso(one.started_at_ms) if one.started_at_ms is not None else None,
        ended_at=iso(one.ended_at_ms) if one.ended_at_ms is not None else None,
        end=one.end,
        code=one.code,
        message=one.message,
        counted=one.counted,
        input_salt=one.salt.hex(),
        usage=_usage(one.usage),
    )


def _usage(usage: Usage | None) -> UsageView | None:
    return UsageView(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens) if usage else None


def _failure(failure: Failure) -> FailureView:
    return FailureView(
        code=failure.code,
        message=failure.message,
        at=iso(failure.at_ms),
        by=failure.by,
        reason=failure.reason,
        attempt=failure.attempt,
        stop_ms=failure.stop_ms,
    )


def _timeline(record: JobRecord, attempts: list[AttemptRecord]) -> list[TimelineEntry]:
    """Everything that is known to have happened, in order."""
    found: list[tuple[int, str, int | None, str | None]] = [(record.created_at_ms, "submitted", None, None)]
    for one in attempts:
        worker = one.worker_id or worker_id(one.worker)
        found.append((one.granted_at_ms, "assigned", one.epoch, worker))
        if one.started_at_ms is not None:
            found.append((one.started_at_ms, "started", one.epoch, worker))
        if one.ended_at_ms is not None and one.end in _BACK_TO_PENDING:
            found.append((one.ended_at_ms, _BACK_TO_PENDING[one.end], one.epoch, worker))
    if record.retried_at_ms is not None:
        before = sum(number is None or number <= (record.retried_epoch or 0) for _, _, number, _ in found)
        found.insert(before, (record.retried_at_ms, "retried", None, None))
    if record.cancel is not None:
        found.append((record.cancel.at_ms, "cancel_requested", None, None))
    if record.completed_at_ms is not None:
        found.append((record.completed_at_ms, record.status.value, record.accepted_epoch, None))
    if record.erased_at_ms is not None:
        found.append((record.erased_at_ms, "erased", None, None))
    found.sort(key=lambda entry: entry[0])
    return [TimelineEntry(at=iso(at), event=event, attempt=number, worker_id=who) for at, event, number, who in found]
