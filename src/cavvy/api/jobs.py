"""Jobs over HTTP: submit, get, list, cancel, and the exact signed bytes."""

from __future__ import annotations

import asyncio
import functools
import re
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath
from msgspec import Meta

from cavvy import defaults
from cavvy.api import examples
from cavvy.api.auth import READS, SUBMITS, Caller
from cavvy.api.bodies import read_object
from cavvy.api.documented import documented, header, query
from cavvy.api.problems import ProblemError
from cavvy.api.services import Services, services
from cavvy.api.submission import parse_cancel, parse_submission
from cavvy.api.submitting import Wanted, fingerprint, given_key, new_id, refused_before, replays, submit_all
from cavvy.api.views import cancel_view, job_view
from cavvy.core.commands import CancelJob
from cavvy.core.job import TERMINAL
from cavvy.core.receipt import Envelope
from cavvy.core.results import Result
from cavvy.core.writes import Idempotency
from cavvy.protocol.rest_job import Job
from cavvy.protocol.rest_stop import CancelBody
from cavvy.protocol.rest_submit import SubmitBody
from cavvy.store.base import JobRecord

__all__ = ["AnyRequest", "Name", "find_job", "jobs_router", "known_query", "whole_number"]

AnyRequest = Request[Any, Any, Any]
Name = Annotated[str, Meta(min_length=1, max_length=defaults.MAX_NAME_CHARS)]
Wait = Annotated[int, Meta(ge=0, le=defaults.MAX_WAIT_S)]
_encode = msgspec.json.Encoder().encode
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@post(
    "/v1/jobs",
    operation_class=documented(
        "Submit a job",
        body=SubmitBody,
        request_example=examples.SUBMIT,
        answers={201: ("Accepted: it is durable", Job), 200: ("The job this Idempotency-Key made before", Job)},
        example={201: examples.SUBMITTED, 200: examples.COMPLETED},
        parameters=(
            header(
                "Idempotency-Key", "The same key and body within 24 hours: the same job.", Name, "report-2026-11-22"
            ),
            header("Prefer", "`wait=N` answers when the job is terminal, at the latest after N s.", str, "wait=10"),
        ),
        errors=("not_supported", "idempotency_key_reused", "no_trusted_worker", "queue_full", "stopped"),
    ),
)
async def submit_job(request: AnyRequest) -> Response[bytes]:
    """The 201 is sent after the commit.

    With `Prefer: wait=N` it comes when the job is terminal, at the latest after N s.
    """
    here = services(request)
    caller = here.caller(request, *SUBMITS)
    known_query(request)
    body = await read_object(request)
    submission = parse_submission(body, caller, here.terms)
    wait_s = _preferred_wait(request)
    key = given_key(request)
    named = None if key is None else Idempotency(key=key, fingerprint=fingerprint(body))
    known = await replays(here, caller, [] if key is None else [key])
    wanted = Wanted(new_id(here.clock().wall_ms), submission, named)
    with here.hub.subscribe(wanted.id) as topic:
        (made,) = await submit_all(here, caller, [wanted], known)
        if isinstance(made, Exception):
            raise made
        if made.new and wait_s:
            await topic.end(wait_s, here.left_s(caller))
            here.ring.check(caller, job_id=made.id)
    if not made.new:
        return await _answer_replay(here, caller, made.id, wait_s)
    return await _job_response(here, await find_job(here, caller, made.id), 201)


async def _answer_replay(here: Services, caller: Caller, job_id: str, wait_s: int) -> Response[bytes]:
    record = await _wait_for(here, caller, job_id, wait_s)
    if (refusal := refused_before(record)) is not None:
        raise refusal
    return await _job_response(here, record, 200, {"Idempotent-Replayed": "true"})


@get(
    "/v1/jobs/{job_id:str}",
    operation_class=documented(
        "One job",
        answers={200: ("The job", Job)},
        example=examples.COMPLETED,
        parameters=(query("wait", "Seconds to wait for it to end.", Wait, 10),),
    ),
)
async def get_job(request: AnyRequest, job_id: FromPath[str]) -> Response[bytes]:
    """`?wait=N` answers when the job is terminal, at the latest after N seconds (0 to 60)."""
    here = services(request)
    caller = here.caller_or_anonymous(request, *READS)
    known_query(request, "wait")
    record = await _wait_for(here, caller, job_id, _seconds(request.query_params.get("wait"), "wait"))
    return await _job_response(here, record, 200)


@post(
    "/v1/jobs/{job_id:str}/cancel",
    operation_class=documented(
        "Stop a job",
        body=CancelBody,
        body_required=False,
        request_example=CancelBody(reason="no longer needed"),
        answers={200: ("It has ended; this is how", Job), 202: ("Its worker was told to stop", Job)},
        example={200: examples.COMPLETED, 202: examples.STOPPING},
    ),
)
async def cancel_job(request: AnyRequest, job_id: FromPath[str]) -> Response[bytes]:
    """Idempotent: answers the status that was reached.

    While the store takes no writes the worker is told all the same; `cancel_requested.durable` is false then.
    """
    here = services(request)
    caller = here.caller_or_anonymous(request, *SUBMITS)
    known_query(request)
    reason = parse_cancel(await read_object(request, optional=True))
    await find_job(here, caller, job_id)
    ref = here.engine.next_ref()
    command = CancelJob(ref=ref, tenant=caller.tenant, job_id=job_id, by=caller.user_id, reason=reason)
    reply, durable = await here.engine.stop_work(command)
    record = await find_job(here, caller, job_id)
    if record.status in TERMINAL:
        return await _job_response(here, record, 200)
    body = job_view(record, here.waits(), here.hub.peek(record.id))
    if not durable and record.cancel is None and reply.cancel is not None:
        body = msgspec.structs.replace(body, cancel_requested=cancel_view(reply.cancel, durable=False))
    return _json(_encode(body), 202, {"Location": f"/v1/jobs/{record.id}"})


@get(
    "/v1/jobs/{job_id:str}/result",
    operation_class=documented(
        "The signed bytes",
        answers={200: ("RFC 8785 JSON", Result)},
        example=examples.RESULT,
        errors=("no_result", "erased"),
    ),
)
async def get_result(request: AnyRequest, job_id: FromPath[str]) -> Response[bytes]:
    """Exactly the bytes whose SHA-256 is `output_hash`."""
    caller = services(request).caller(request, *READS)
    known_query(request)
    record = await find_job(services(request), caller, job_id)
    if record.result is None and record.receipt is not None:
        detail = "The texts of this job were erased, its result with them; its receipt and hashes are still there."
        raise ProblemError("erased", detail, job_id=job_id)
    return _exact(record.result, record)


@get(
    "/v1/jobs/{job_id:str}/receipt",
    operation_class=documented(
        "The receipt",
        answers={200: ("A DSSE envelope", Envelope)},
        example=examples.RECEIPT,
        errors=("no_result",),
    ),
)
async def get_receipt(request: AnyRequest, job_id: FromPath[str]) -> Response[bytes]:
    """Exactly the envelope the worker sent."""
    caller = services(request).caller(request, *READS)
    known_query(request)
    record = await find_job(services(request), caller, job_id)
    return _exact(record.receipt, record)


async def find_job(here: Services, caller: Caller, job_id: str) -> JobRecord:
    """The tenant's job. Raises ProblemError: 404, the same for another tenant's and for none."""
    record = await here.store.job(caller.tenant, job_id) if _ID.fullmatch(job_id) else None
    if record is None:
        detail = "There is no job of this id; `cavvy jobs list` shows them."
        raise ProblemError("not_found", detail, error="Job not found")
    return record


async def _wait_for(here: Services, caller: Caller, job_id: str, wait_s: int) -> JobRecord:
    """The job, terminal if it becomes so within `wait_s`."""
    if not wait_s or not _ID.fullmatch(job_id):
        return await find_job(here, caller, job_id)
    with here.hub.subscribe(job_id) as topic:
        record = await find_job(here, caller, job_id)
        if record.status in TERMINAL:
            return record
        await topic.end(wait_s, here.left_s(caller))
    here.ring.check(caller)
    return await find_job(here, caller, job_id)


async def _job_response(
    here: Services, record: JobRecord, status: int, headers: dict[str, str] | None = None
) -> Response[bytes]:
    view = functools.partial(job_view, record, here.waits(), here.hub.peek(record.id))
    large = record.result is not None and len(record.result) > defaults.ASIDE_BYTES
    shown = await asyncio.to_thread(lambda: _encode(view())) if large else _encode(view())
    return _json(shown, status, {"Location": f"/v1/jobs/{record.id}", **(headers or {})})


def _json(shown: bytes, status: int, headers: dict[str, str]) -> Response[bytes]:
    return Response(shown, status_code=status, media_type="application/json", headers=headers)


def _exact(data: bytes | None, record: JobRecord) -> Response[bytes]:
    if data is None:
        raise ProblemError("no_result", f"The job is {record.status}; only completed jobs have a result and a receipt.")
    return Response(data, media_type="application/json")


def _preferred_wait(request: AnyRequest) -> int:
    """N of `Prefer: wait=N`; other preferences are ignored, as RFC 7240 says."""
    for preference in request.headers.get("prefer", "").split(","):
        name, _, value = preference.strip().partition("=")
        if name.strip().lower() == "wait":
            return _seconds(value.strip(), "Prefer: wait")
    return 0


def _seconds(text: str | None, name: str) -> int:
    return whole_number(text, name, 0, 0, defaults.MAX_WAIT_S)


def whole_number(text: str | None, name: str, default: int, low: int, high: int) -> int:
    """A query parameter or preference. Raises ProblemError naming it."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19 and low <= int(text) <= high):
        raise ProblemError("invalid_field", f"{name!r} must be a whole number from {low} to {high}.", field=name)
    return int(text)


def known_query(request: AnyRequest, *allowed: str) -> None:
    """Raises ProblemError for a query parameter this route does not have."""
    for name in request.query_params:
        if name not in allowed:
            listed = ", ".join(sorted(allowed)) or "none"
            detail = f"There is no query parameter {name[:80]!r} here; allowed: {listed}."
            raise ProblemError("invalid_field", detail, field=name[:80])
        if len(request.query_params.getall(name)) > 1:
            raise ProblemError("invalid_field", f"{name!r} stands twice; give it once.", field=name)


jobs_router = Router("/", route_handlers=[submit_job, get_job, cancel_job, get_result, get_receipt])
