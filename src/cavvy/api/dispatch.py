"""Dispatch's routes: commit a job under a policy, and what that is said to cost."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, Router, get, post

from cavvy import defaults
from cavvy.api import examples
from cavvy.api.auth import READS, SUBMITS
from cavvy.api.bodies import read_object
from cavvy.api.committing import MISSING_FIELDS, parse_commit
from cavvy.api.documented import documented, header, query
from cavvy.api.fields import refuse
from cavvy.api.jobs import AnyRequest, Name, find_job, known_query
from cavvy.api.problems import ProblemError
from cavvy.api.services import services
from cavvy.api.submitting import Wanted, fingerprint, given_key, new_id, refused_before, replays, submit_all
from cavvy.core.job import JobType, Policy
from cavvy.core.prices import POLICIES, policy_of, price_of
from cavvy.core.writes import Idempotency
from cavvy.protocol.rest_dispatch import CommitBody, Committed, JobTypeName, PolicyName, Quote

__all__ = ["dispatch_router"]

INVALID_TYPE = "Invalid job_type. Use LLM_INFER or TASK"
_COMMIT: dict[str, Any] = {
    "body": CommitBody,
    "request_example": examples.COMMIT,
    "answers": {
        201: ("Accepted: it is durable", Committed),
        200: ("The job this Idempotency-Key made before", Committed),
    },
    "example": {201: Committed(job_id=examples.JOB_ID), 200: Committed(job_id=examples.JOB_ID)},
    "parameters": (header("Idempotency-Key", "The same key and body within 24 hours: the same job.", Name, "mine-1"),),
    "errors": (
        "invalid_request",
        "not_supported",
        "idempotency_key_reused",
        "no_trusted_worker",
        "queue_full",
        "stopped",
    ),
    "words": {"invalid_request": MISSING_FIELDS},
}


@post("/v1/jobs/commit/fast", operation_class=documented("Commit a job, FAST", **_COMMIT))
async def commit_fast(request: AnyRequest) -> Response[bytes]:
    """As Dispatch's clients do. Needs no key where the coordinator serves them without."""
    return await _commit(request, Policy.FAST)


@post("/v1/jobs/commit/cheap", operation_class=documented("Commit a job, CHEAP", **_COMMIT))
async def commit_cheap(request: AnyRequest) -> Response[bytes]:
    """As Dispatch's clients do. Needs no key where the coordinator serves them without."""
    return await _commit(request, Policy.CHEAP)


async def _commit(request: AnyRequest, policy: Policy) -> Response[bytes]:
    here = services(request)
    caller = here.caller_or_anonymous(request, *SUBMITS)
    known_query(request)
    body = await read_object(request)
    now_ms = here.clock().wall_ms
    submission = parse_commit(body, policy, caller, here.terms, here.commit_times, now_ms)
    key = given_key(request)
    named = None if key is None else Idempotency(key=key, fingerprint=fingerprint({**body, "policy": policy}))
    known = await replays(here, caller, [] if key is None else [key])
    (made,) = await submit_all(here, caller, [Wanted(new_id(now_ms), submission, named)], known)
    if isinstance(made, Exception):
        raise made
    if not made.new and (refusal := refused_before(await find_job(here, caller, made.id))) is not None:
        raise refusal
    headers = {"Location": f"/v1/jobs/{made.id}", **({} if made.new else {"Idempotent-Replayed": "true"})}
    return _json(Committed(job_id=made.id), 201 if made.new else 200, headers)


@get(
    "/v1/quote",
    operation_class=documented(
        "What a job is said to cost",
        answers={200: ("Its price, and where to commit it", Quote)},
        example=examples.QUOTE,
        parameters=(
            query("job_type", "What sort of job.", JobTypeName, "LLM_INFER", required=True),
            query("policy", "AUTO is FAST for LLM_INFER and CHEAP for TASK.", PolicyName, "AUTO"),
        ),
        errors=("invalid_request",),
        words={"invalid_request": INVALID_TYPE},
    ),
)
async def quote(request: AnyRequest) -> Response[bytes]:
    """As Dispatch's clients ask. Nobody is charged. Needs no key where the coordinator serves them without."""
    services(request).caller_or_anonymous(request, *READS)
    known_query(request, "job_type", "policy")
    job_type = request.query_params.get("job_type")
    if job_type not in [one.value for one in JobType]:
        raise ProblemError("invalid_request", f"{INVALID_TYPE}.", error=INVALID_TYPE)
    named = request.query_params.get("policy", "AUTO")
    if named not in POLICIES:
        refuse("policy", f"must be exactly one of: {', '.join(POLICIES)}")
    policy = policy_of(named, JobType(job_type))
    return _json(
        Quote(
            price=price_of(policy, JobType(job_type)),
            endpoint=f"/v1/jobs/commit/{policy.lower()}",
            policy_resolved=policy.value,
            network=defaults.DISPATCH_NETWORK,
        )
    )


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response[bytes]:
    data = msgspec.json.encode(body)
    return Response(data, status_code=status, media_type="application/json", headers=headers or {})


dispatch_router = Router("/", route_handlers=[commit_fast, commit_cheap, quote])
