"""One body for every error: RFC 9457 problem+json with a documented `code` and a `detail` that says what to do."""

from __future__ import annotations

import os
import re
from typing import Any

import msgspec
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from cavvy import logs
from cavvy.coordinator.engine import CommandFailed, StoreUnavailable
from cavvy.errors import InvalidInput
from cavvy.protocol.rest_problem import Problem

__all__ = ["CODES", "MethodsByPath", "ProblemError", "exception_handlers", "problem", "problem_of"]

log = logs.get_logger()

#: Every code, its HTTP status and title. The reference page is made from this table.
CODES: dict[str, tuple[int, str]] = {
    "invalid_json": (400, "The body is not JSON"),
    "invalid_request": (400, "The request cannot be understood"),
    "invalid_code": (400, "No code that can be claimed"),
    "already_claimed": (400, "The code was claimed already"),
    "expired": (400, "The code has expired"),
    "unauthorized": (401, "No valid key"),
    "forbidden": (403, "This key may not do that"),
    "foreign_origin": (403, "Requests from other web sites are refused"),
    "not_found": (404, "Nothing here"),
    "no_result": (404, "The job has no result"),
    "method_not_allowed": (405, "Not with this method"),
    "request_timeout": (408, "The request came too slowly"),
    "tenant_taken": (409, "There is a tenant of this id"),
    "not_ended": (409, "The job has not ended"),
    "not_failed": (409, "The job has not failed"),
    "deadline_passed": (409, "The job's deadline has passed"),
    "last_key": (409, "The last key of its kind"),
    "too_many_keys": (409, "Too many keys"),
    "stopped": (409, "Everything of this tenant was stopped"),
    "worker_not_approved": (409, "The worker waits for approval"),
    "worker_revoked": (409, "The worker was revoked for good"),
    "not_claimed": (409, "There is no such claim to confirm"),
    "erased": (410, "The job's texts were erased"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body is not application/json"),
    "misdirected_request": (421, "Not this coordinator's name"),
    "invalid_field": (422, "A field is wrong"),
    "not_supported": (422, "Not built yet"),
    "idempotency_key_reused": (422, "The Idempotency-Key was used for another body"),
    "no_trusted_worker": (422, "No trusted worker is online"),
    "queue_full": (429, "The queue is full"),
    "rate_limited": (429, "Too many requests"),
    "too_many_claims": (429, "Too many wrong codes"),
    "header_too_large": (431, "The header is too large"),
    "internal": (500, "Something broke here"),
    "too_many_connections": (503, "Too many connections"),
    "store_unavailable": (503, "The store takes no writes now"),
}

_BY_STATUS = {400: "invalid_request", 401: "unauthorized", 403: "forbidden", 404: "not_found",
              405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}  # fmt: skip
_DETAILS = {
    404: "There is no such route; the routes are listed in /openapi.json.",
    405: "This route exists, but not with this method; see /openapi.json.",
}


class ProblemError(Exception):
    """Answers the request with a problem; extras are Problem's optional fields, and `error` where Dispatch has words
    of its own.
    """

    def __init__(self, code: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra


def problem(code: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> Response[bytes]:
    """The response for `code`; extras as those of ProblemError."""
    body = _problem(code, detail, **extra)
    return Response(
        msgspec.json.encode(body), status_code=body.status, media_type="application/problem+json", headers=headers or {}
    )


def problem_of(error: Exception) -> Problem:
    """The body alone, for an answer that holds others besides. What nobody expected is logged."""
    match error:
        case ProblemError():
            return _problem(error.code, error.detail, **error.extra)
        case InvalidInput():
            return _problem(error.code, error.detail, field=error.field)
        case _:
            return _problem("internal", *_logged(error))


def _problem(code: str, detail: str, request_id: str | None = None, error: str = "", **extra: Any) -> Problem:
    status, title = CODES[code]
    kind = f"urn:cavvy:problem:{code}"
    return Problem(
        type=kind,
        title=title,
        status=status,
        detail=detail,
        code=code,
        error=error or code,
        request_id=request_id,
        **extra,
    )


def _logged(error: Exception) -> tuple[str, str]:
    """What to tell of a fault of ours, and the id under which the log has it."""
    request_id = os.urandom(8).hex()
    log.error("request_failed", request_id=request_id, exc_info=error)
    return f"This is a fault of the coordinator; its log has the cause under request_id {request_id}.", request_id


def _problem_error(_: Request[Any, Any, Any], error: ProblemError) -> Response[bytes]:
    return problem(error.code, error.detail, headers=error.headers, **error.extra)


def _invalid_input(_: Request[Any, Any, Any], error: InvalidInput) -> Response[bytes]:
    return problem(error.code, error.detail, field=error.field)


def _unavailable(_: Request[Any, Any, Any], error: StoreUnavailable) -> Response[bytes]:
    if error.accepted is False:
        outcome, advice = "not_accepted", "Nothing was taken; try again later."
    else:
        outcome, advice = "unknown", "It may have been taken; repeat it with the same Idempotency-Key."
    detail = f"{str(error).rstrip('.')}. {advice}"
    return problem("store_unavailable", detail, headers={"Retry-After": "1"}, outcome=outcome)


def _http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    code = _BY_STATUS.get(error.status_code)
    if code is None:
        return _unexpected(request, error)
    detail = _DETAILS.get(error.status_code, error.detail)
    if error.status_code == 413:
        handler = request.scope["route_handler"]
        limit = handler.resolve_request_max_body_size() if isinstance(handler, HTTPRouteHandler) else None
        detail = f"A body may have {limit} bytes at most here; shorten the texts."
    headers = {"Allow": request.app.state["methods"].of(request.scope["path"])} if code == "method_not_allowed" else {}
    return problem(code, detail, headers=headers)


class MethodsByPath:
    """Which methods a path has, for `Allow`."""

    def __init__(self, app: Litestar) -> None:
        self._routes = [
            (re.compile(re.sub(r"\\{.*?\\}", "[^/]+", re.escape(route.path_format))), ", ".join(sorted(route.methods)))
            for route in app.routes
            if isinstance(route, HTTPRoute)
        ]

    def of(self, path: str) -> str:
        return next((methods for pattern, methods in self._routes if pattern.fullmatch(path)), "")


def _unexpected(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    detail, request_id = _logged(error)
    return problem("internal", detail, request_id=request_id)


exception_handlers: dict[int | type[Exception], Any] = {
    ProblemError: _problem_error,
    InvalidInput: _invalid_input,
    StoreUnavailable: _unavailable,
    CommandFailed: _unexpected,
    HTTPException: _http_error,
    Exception: _unexpected,
}
