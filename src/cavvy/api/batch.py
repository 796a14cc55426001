"""`POST /v1/jobs/batch`: many jobs in one commit, each with a result of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import Response, post

from cavvy import defaults
from cavvy.api import examples
from cavvy.api.auth import SUBMITS, Caller
from cavvy.api.bodies import read_object
from cavvy.api.documented import documented, header
from cavvy.api.jobs import AnyRequest, Name, find_job, known_query
from cavvy.api.problems import ProblemError, problem_of
from cavvy.api.services import Services, services
from cavvy.api.submission import parse_submission
from cavvy.api.submitting import (
    Made,
    Wanted,
    check_size,
    fingerprint,
    given_key,
    key_reused,
    new_id,
    refused_before,
    replays,
    submit_all,
)
from cavvy.api.views import job_view
from cavvy.core.writes import Idempotency
from cavvy.errors import InvalidInput
from cavvy.protocol.rest_batch import BatchBody, BatchResult, BatchResults

__all__ = ["submit_batch"]


@post(
    "/v1/jobs/batch",
    request_max_body_size=defaults.MAX_BATCH_BODY_BYTES,
    operation_class=documented(
        "Submit many jobs",
        body=BatchBody,
        request_example={"jobs": [examples.SUBMIT, {"prompt": ""}]},
        answers={
            201: ("At least one job is new, and durable; `results` are in the order of `jobs`", BatchResults),
            200: ("None is new: they were made before with this Idempotency-Key, or refused", BatchResults),
        },
        example=examples.BATCH,
        parameters=(
            header("Idempotency-Key", "The same key and body within 24 hours: the same jobs.", Name, "import-7"),
        ),
        errors=("idempotency_key_reused", "stopped"),
    ),
)
async def submit_batch(request: AnyRequest) -> Response[bytes]:
    """1 to 1,000 jobs in one commit. One that is refused spoils no other: its result has the problem.

    The key names each job by its place in `jobs`: repeated with the same body, a batch gets the jobs it made, and takes
    those that were refused for want of room.
    """
    here = services(request)
    caller = here.caller(request, *SUBMITS)
    known_query(request)
    body = await read_object(request)
    items, key = _items(body), given_key(request)
    mark = await asyncio.to_thread(fingerprint, body) if key is not None else b""
    keys = [
        None if key is None else Idempotency(key=f"{key}\n{place}", fingerprint=mark) for place in range(len(items))
    ]
    known = await replays(here, caller, [one.key for one in keys if one is not None])
    if any(one.fingerprint != mark for one in known.values()):
        raise key_reused()
    wanted = [_wanted(here, caller, item, one) for item, one in zip(items, keys, strict=True)]
    made = iter(await submit_all(here, caller, [one for one in wanted if isinstance(one, Wanted)], known))
    outcomes = [next(made) if isinstance(one, Wanted) else one for one in wanted]
    refusals = [one for one in outcomes if isinstance(one, ProblemError) and one.code == "stopped"]
    if refusals and not any(isinstance(one, Made) for one in outcomes):
        raise refusals[0]
    results = await asyncio.gather(*(_result(here, caller, outcome) for outcome in outcomes))
    new = any(isinstance(one, Made) and one.new for one in outcomes)
    replayed = {"Idempotent-Replayed": "true"} if known and not new else {}
    encoded = msgspec.json.encode(BatchResults(results=results))
    return Response(encoded, status_code=201 if new else 200, media_type="application/json", headers=replayed)


def _items(body: dict[str, Any]) -> list[Any]:
    for name in body:
        if name != "jobs":
            raise InvalidInput("invalid_field", f"There is no field {name[:80]!r}; allowed are: jobs.", field=name[:80])
    items = body.get("jobs")
    if not isinstance(items, list) or not 1 <= len(items) <= defaults.MAX_BATCH_JOBS:
        detail = f"Field 'jobs': must be a list of 1 to {defaults.MAX_BATCH_JOBS} jobs."
        raise InvalidInput("invalid_field", detail, field="jobs")
    return items


def _wanted(here: Services, caller: Caller, item: Any, key: Idempotency | None) -> Wanted | Exception:
    """What is wanted, or why it cannot be."""
    try:
        if not isinstance(item, dict):
            raise InvalidInput("invalid_field", 'A job must be a JSON object, such as {"prompt": "hello"}.')
        submission = parse_submission(item, caller, here.terms)
        check_size(submission)
    except (InvalidInput, ProblemError) as error:
        return error
    return Wanted(new_id(here.clock().wall_ms), submission, key)


async def _result(here: Services, caller: Caller, outcome: Made | Exception) -> BatchResult:
    if isinstance(outcome, Exception):
        found = problem_of(outcome)
        return BatchResult(status=found.status, problem=found)
    record = await find_job(here, caller, outcome.id)
    if not outcome.new and (refusal := refused_before(record)) is not None:
        return BatchResult(status=422, problem=problem_of(refusal))
    shown = job_view(record, here.waits(), here.hub.peek(record.id), texts=False)
    return BatchResult(status=201 if outcome.new else 200, job=shown)
