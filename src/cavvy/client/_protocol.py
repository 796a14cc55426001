"""Requests to the native API and what its answers mean: pure, shared by both clients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from cavvy import defaults
from cavvy.client._job import Job
from cavvy.errors import ClientError, InvalidInput, JobFailed, RequestRefused
from cavvy.protocol.rest_keys import KeyBody, RotateBody
from cavvy.protocol.rest_stop import CancelBody, StopBody
from cavvy.protocol.rest_submit import SubmitBody
from cavvy.protocol.rest_tenants import TenantBody
from cavvy.protocol.rest_workers import WorkerTokenBody

__all__ = [
    "BatchAnswer",
    "Lost",
    "Prompt",
    "Reply",
    "Request",
    "Task",
    "batch_outcomes",
    "batch_request",
    "cancel_request",
    "create_key_request",
    "create_tenant_request",
    "decode",
    "erase_request",
    "events_request",
    "expect_ok",
    "get",
    "job_path",
    "job_request",
    "jobs_request",
    "key_path",
    "keys_request",
    "manage_worker_request",
    "outcome_is_unknown",
    "retry_after_s",
    "retry_request",
    "revoke_key_request",
    "rotate_key_request",
    "submit_request",
    "succeeded",
    "tenant_events_request",
    "token_request",
    "wait_s",
    "worker_path",
]

T = TypeVar("T")
_STREAMED = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}

#: What can be asked: a prompt, or OpenAI chat messages.
Prompt = str | Sequence[Mapping[str, Any]]


class Task(NamedTuple):
    """What is asked of no model: a TASK job."""

    task_type: str
    text: str


class Request(NamedTuple):
    """One HTTP request. `wait_s`: how long the coordinator may take on purpose; `within_s`: an answer that comes later
    is worth nothing; `repeat`: harmless to send again.
    """

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    wait_s: int = 0
    within_s: float = math.inf
    repeat: bool = True


class Reply(NamedTuple):
    """An answer; header names are looked up without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BatchOutcome(msgspec.Struct, frozen=True):
    status: int
    job: Job | None = None
    problem: dict[str, Any] = {}


class BatchAnswer(msgspec.Struct, frozen=True):
    results: list[BatchOutcome]


class Lost(NamedTuple):
    """No answer came. `sent`: the coordinator may have got the request."""

    sent: bool
    detail: str


def get(path: str, **query: object) -> Request:
    """A GET; what is None is left out of the query."""
    given = {name: str(value) for name, value in query.items() if value is not None}
    return Request("GET", f"{path}?{urlencode(given)}" if given else path)


def _texts(prompt: Prompt | Task) -> dict[str, Any]:
    if isinstance(prompt, Task):
        return {"job_type": "TASK", "task_type": prompt.task_type, "input": prompt.text}
    return {"prompt": prompt} if isinstance(prompt, str) else {"messages": list(prompt)}


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something; a time as the API wants it. Raises ValueError for a number JSON does not have."""
    _check_finite(fields)
    return {
        name: value.astimezone().isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
        if value is not None
    }


def _check_finite(value: object) -> None:
    """Encoded, NaN and infinity would become null: nothing said, instead of something wrong."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number in JSON")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            _check_finite(one)


def job_path(job_id: str, leaf: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{leaf}"


def worker_path(worker_id: str) -> str:
    return f"/v1/workers/{quote(worker_id, safe='')}"


def submit_request(prompt: Prompt | Task, fields: Mapping[str, Any], *, idempotency_key: str, wait: int = 0) -> Request:
    """`POST /v1/jobs`. Raises InvalidInput for what the API has no field for, or a value of the wrong type."""
    try:
        given = _texts(prompt) | _given(fields)
        body = msgspec.json.encode(msgspec.convert(given, SubmitBody))
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput("invalid_field", f"this cannot be submitted: {error}") from error
    headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
    if wait:
        headers["Prefer"] = f"wait={wait}"
    return Request("POST", "/v1/jobs", headers, body, wait_s=wait)


def batch_request(
    jobs: Iterable[Prompt | Mapping[str, Any]], fields: Mapping[str, Any], *, idempotency_key: str
) -> Request:
    """`POST /v1/jobs/batch`. What a job may hold is for the coordinator to say, of each job alone.

    Raises InvalidInput for what is no JSON.
    """
    try:
        common = _given(fields)
        given = [common | (_given(job) if isinstance(job, Mapping) else _texts(job)) for job in jobs]
        body = msgspec.json.encode({"jobs": given})
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput("invalid_field", f"this cannot be submitted: {error}") from error
    headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
    return Request("POST", "/v1/jobs/batch", headers, body)


def retry_request(job_id: str) -> Request:
    """Not repeated: a job that has failed again meanwhile would run once more."""
    return Request("POST", job_path(job_id, "/retry"), repeat=False)


def erase_request(job_id: str) -> Request:
    """Repeated: doing it twice is the same as once."""
    return Request("DELETE", job_path(job_id))


def job_request(job_id: str, wait: int = 0) -> Request:
    return get(job_path(job_id), wait=wait or None)._replace(wait_s=wait)


def jobs_request(**query: object) -> Request:
    return get("/v1/jobs", **query)


def cancel_request(job_id: str, reason: str | None) -> Request:
    body = msgspec.json.encode(CancelBody(reason=reason))
    return Request("POST", job_path(job_id, "/cancel"), {"Content-Type": "application/json"}, body)


def tenant_events_request() -> Request:
    return Request("GET", "/v1/events", dict(_STREAMED))


def thread_cancel_request(thread_id: str, reason: str | None) -> Request:
    body = msgspec.json.encode(CancelBody(reason=reason))
    path = f"/v1/threads/{quote(thread_id, safe='')}/cancel"
    return Request("POST", path, {"Content-Type": "application/json"}, body)


def stop_request(reason: str | None, *, latch: bool) -> Request:
    """Repeated: stopping twice is the same as once."""
    body = msgspec.json.encode(StopBody(reason=reason, latch=latch))
    return Request("POST", "/v1/stop", {"Content-Type": "application/json"}, body)


def events_request(job_id: str, last_id: str) -> Request:
    headers = dict(_STREAMED)
    if last_id:
        headers["Last-Event-ID"] = last_id
    return Request("GET", job_path(job_id, "/events"), headers)


def token_request(*, needs_approval: bool, shared: bool, private: bool) -> Request:
    """Not repeated: each answer is a token more."""
    body = WorkerTokenBody(needs_approval=needs_approval, shared=shared, private=private)
    return _sending(body, "/v1/worker-tokens")


def manage_worker_request(worker_id: str, action: str) -> Request:
    """Repeated: doing it twice is the same as once."""
    return Request("POST", f"{worker_path(worker_id)}/{action}")


def key_path(key_id: str, leaf: str = "") -> str:
    return f"/v1/keys/{quote(key_id, safe='')}{leaf}"


def keys_request(tenant: str | None) -> Request:
    return get("/v1/keys", tenant=tenant)


def create_key_request(body: KeyBody, tenant: str | None) -> Request:
    """Not repeated: each answer is a key more."""
    return _sending(body, get("/v1/keys", tenant=tenant).path)


def rotate_key_request(key_id: str, grace_s: int | None, tenant: str | None) -> Request:
    """Not repeated: each ends the secret before the last one."""
    body = RotateBody() if grace_s is None else RotateBody(grace_s=grace_s)
    return _sending(body, get(key_path(key_id, "/rotate"), tenant=tenant).path)


def revoke_key_request(key_id: str, tenant: str | None) -> Request:
    return get(key_path(key_id), tenant=tenant)._replace(method="DELETE")


def create_tenant_request(tenant_id: str, weight: float) -> Request:
    """Not repeated: its key would be lost with the answer."""
    return _sending(TenantBody(id=tenant_id, weight=weight), "/v1/tenants")


def _sending(body: msgspec.Struct, path: str) -> Request:
    headers = {"Content-Type": "application/json"}
    return Request("POST", path, headers, msgspec.json.encode(body), repeat=False)


def wait_s(remaining: float | None) -> int:
    """How long to ask the coordinator to wait, when `remaining` seconds are left (None: no end)."""
    if remaining is None:
        return defaults.MAX_WAIT_S
    return max(1, min(defaults.MAX_WAIT_S, int(remaining)))


def retry_after_s(reply: Reply) -> float | None:
    """`Retry-After` in seconds, where it is given so."""
    value = reply.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def expect_ok(reply: Reply) -> bytes:
    """The body of a good answer. Raises RequestRefused for any other."""
    if 200 <= reply.status < 300:
        return reply.body
    raise _refused(reply.status, _problem(reply.body))


def batch_outcomes(answer: BatchAnswer) -> list[Job | RequestRefused]:
    """Each job, or why there is none, in the order of the batch."""
    return [one.job or _refused(one.status, one.problem) for one in answer.results]


def _refused(status: int, problem: dict[str, Any]) -> RequestRefused:
    code = str(problem.get("code") or problem.get("error") or "http_error")
    detail = str(problem.get("detail") or problem.get("title") or "the coordinator refused without saying why")
    return RequestRefused(status, code, detail, problem)


def outcome_is_unknown(reply: Reply) -> bool:
    """Whether a request that was refused may be carried out all the same."""
    return _problem(reply.body).get("outcome") == "unknown"


def _problem(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, ValueError):
        return {}


def decode(body: bytes | str, kind: type[T]) -> T:
    """`body` as `kind`. Raises ClientError for what is not Cavvy's."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, ValueError) as error:
        raise ClientError(f"what answered does not speak Cavvy's API ({error}); check the URL") from error


def succeeded(job: Job) -> Job:
    """`job` if it completed. Raises JobFailed if not."""
    if job.failure is None:
        return job
    failure = job.failure
    if job.aborted:
        why = f": {failure.reason}" if failure.reason else ""
        raise JobFailed(f"job {job.id} was stopped by {failure.by or 'somebody'}{why}", job)
    raise JobFailed(f"job {job.id} failed ({failure.code}): {failure.message}", job)
