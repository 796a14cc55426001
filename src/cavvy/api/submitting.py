"""Making jobs durable: one, or many in one commit, each at most once an Idempotency-Key."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from litestar import Request

from cavvy import defaults
from cavvy.api.auth import Caller
from cavvy.api.problems import ProblemError
from cavvy.api.services import Services
from cavvy.api.submission import Submission
from cavvy.api.views import stopped_problem
from cavvy.coordinator.engine import CommandFailed
from cavvy.core.commands import SubmitJob
from cavvy.core.effects import Reply, ReplyCode
from cavvy.core.job import FailureCode
from cavvy.core.writes import Idempotency
from cavvy.store.base import IdempotencyRecord, JobRecord

__all__ = [
    "Made",
    "Wanted",
    "check_size",
    "fingerprint",
    "given_key",
    "key_reused",
    "new_id",
    "no_trusted_worker",
    "refused_before",
    "replays",
    "submit_all",
]


class Wanted(NamedTuple):
    """A job to be made, under an id of its own."""

    id: str
    submission: Submission
    key: Idempotency | None


class Made(NamedTuple):
    """The job; not `new` if its key had made it before."""

    id: str
    new: bool


async def submit_all(
    here: Services, caller: Caller, wanted: Sequence[Wanted], known: Mapping[str, IdempotencyRecord]
) -> list[Made | Exception]:
    """What became of each, in order; all that are taken are in one commit. `known` are the replays of their keys.

    Refused ones are a ProblemError (`queue_full`, `idempotency_key_reused`, `no_trusted_worker`), or a CommandFailed.
    Raises StoreUnavailable.
    """
    fresh = [one for one in wanted if one.key is None or one.key.key not in known]
    commands = [_command(here, caller, one) for one in fresh]
    replies = await here.engine.ask_all(commands) if commands else []
    if any(isinstance(reply, CommandFailed) for reply in replies):
        known = await replays(here, caller, [one.key.key for one in wanted if one.key is not None])
    replied = {one.id: reply for one, reply in zip(fresh, replies, strict=True)}
    return [_outcome(one, replied.get(one.id), known) for one in wanted]


def _outcome(one: Wanted, reply: object, known: Mapping[str, IdempotencyRecord]) -> Made | Exception:
    """A reply that says yes counts before what the store knows of the key: it knows this very job by now."""
    if isinstance(reply, Reply):
        return _answered(reply)
    before = known.get(one.key.key) if one.key is not None else None
    if before is not None and one.key is not None:
        return Made(before.job_id, new=False) if before.fingerprint == one.key.fingerprint else key_reused()
    assert isinstance(reply, CommandFailed)
    return reply


def _answered(reply: Reply) -> Made | Exception:
    if reply.code is ReplyCode.QUEUE_FULL:
        return queue_full()
    if reply.code is ReplyCode.DEADLINE_PASSED:
        return ProblemError("invalid_field", "Field 'deadline': must be in the future.", field="deadline")
    if reply.code is ReplyCode.STOPPED and reply.stop is not None:
        return stopped_problem(reply.stop)
    if reply.code is ReplyCode.KEY_REUSED:
        return key_reused()
    assert reply.job_id is not None
    if reply.code is ReplyCode.NO_TRUSTED:
        return no_trusted_worker(reply.job_id)
    return Made(reply.job_id, new=reply.code is ReplyCode.OK)


def queue_full() -> ProblemError:
    detail = "As many jobs wait as may; submit again when some are done, or cancel some that wait."
    return ProblemError("queue_full", detail, headers={"Retry-After": "5"})


def refused_before(record: JobRecord) -> ProblemError | None:
    """The refusal that a replayed submit was answered, which is its answer again."""
    untrusted = record.failure is not None and record.failure.code is FailureCode.NO_TRUSTED_WORKER
    return no_trusted_worker(record.id, replayed=True) if untrusted else None


def no_trusted_worker(job_id: str, *, replayed: bool = False) -> ProblemError:
    """The job is stored as failed, so that whoever asks for it later is told why."""
    detail = (
        "No worker that its user trusts is online and could run this PRIVATE job, so it has failed. `cavvy trust pair` "
        "trusts a worker, `cavvy trust create` makes a code for one. With on_no_trusted 'wait', POST /v1/jobs waits."
    )
    headers = {"Idempotent-Replayed": "true"} if replayed else {}
    return ProblemError("no_trusted_worker", detail, headers=headers, job_id=job_id)


def _command(here: Services, caller: Caller, one: Wanted) -> SubmitJob:
    return SubmitJob(
        ref=here.engine.next_ref(),
        id=one.id,
        user_id=one.submission.user_id,
        needs=one.submission.needs,
        input=one.submission.input,
        params=one.submission.params,
        metadata=one.submission.metadata,
        idempotency=one.key,
        effort=one.submission.effort,
        thread_id=one.submission.thread_id,
        terms=one.submission.terms,
        estimated_tokens=one.submission.estimated_tokens,
        payment_ref=one.submission.payment_ref,
        waits_untrusted=one.submission.waits_untrusted,
    )


async def replays(here: Services, caller: Caller, keys: Sequence[str]) -> Mapping[str, IdempotencyRecord]:
    """What these keys made within their lifetime."""
    if not keys:
        return {}
    horizon_ms = here.clock().wall_ms - defaults.IDEMPOTENCY_TTL_S * 1000
    return await here.store.idempotent(caller.tenant, keys, not_before_ms=horizon_ms)


def given_key(request: Request[Any, Any, Any]) -> str | None:
    """The request's Idempotency-Key. Raises ProblemError for one that is empty or too long."""
    key: str | None = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= defaults.MAX_NAME_CHARS:
        detail = f"Idempotency-Key must be 1 to {defaults.MAX_NAME_CHARS} characters long."
        raise ProblemError("invalid_field", detail, field="Idempotency-Key")
    return key


def fingerprint(body: dict[str, Any]) -> bytes:
    """The same for the same body, in whatever order its fields come."""
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()


def check_size(it: Submission) -> None:
    """Raises ProblemError when a job is longer than a single submit could have made it."""
    if len(it.input) + len(it.params) + len(it.metadata or b"") > defaults.MAX_BODY_BYTES:
        detail = f"One job may have {defaults.MAX_BODY_BYTES} bytes at most; shorten its texts."
        raise ProblemError("body_too_large", detail)


def key_reused() -> ProblemError:
    detail = "This Idempotency-Key was used for another body within 24 hours; use a fresh key for a new job."
    return ProblemError("idempotency_key_reused", detail)


def new_id(wall_ms: int) -> str:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then chance."""
    value = bytearray(wall_ms.to_bytes(6, "big") + os.urandom(10))
    value[6] = 0x70 | value[6] & 0x0F
    value[8] = 0x80 | value[8] & 0x3F
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
