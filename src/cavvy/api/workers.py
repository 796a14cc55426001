"""The fleet over HTTP, and the socket workers come in by."""

from __future__ import annotations

import hashlib

import msgspec
from litestar import Request, Response, Router, asgi, get, post
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import Receive, Scope, Send

from cavvy import defaults, logs
from cavvy.api import examples
from cavvy.api.addressing import audience
from cavvy.api.auth import MANAGES, OPERATES, READS, Caller, Role, new_worker_token
from cavvy.api.bodies import read_object
from cavvy.api.connections import proven
from cavvy.api.documented import documented
from cavvy.api.fields import refuse
from cavvy.api.jobs import AnyRequest, known_query
from cavvy.api.problems import ProblemError, problem
from cavvy.api.services import Services, services
from cavvy.api.submission import parse_body
from cavvy.api.views import iso, worker_view
from cavvy.coordinator.sessions import Sessions
from cavvy.core.commands import CreateWorkerToken, ManageWorker
from cavvy.core.effects import ReplyCode
from cavvy.core.worker_status import WorkerAction
from cavvy.protocol.handshake import CloseCode, key_fingerprint
from cavvy.protocol.rest_workers import WorkerList, WorkerToken, WorkerTokenBody, WorkerView
from cavvy.store.base import Store, WorkerRecord

__all__ = ["create_worker_token", "workers_by_id", "workers_router"]

log = logs.get_logger()

#: Who may see workers, and who may manage them: a tenant's keys its own, the operator's the shared ones.
_SEES = (*READS, *OPERATES)
_MANAGES = (*MANAGES, *OPERATES)


@post(
    "/v1/worker-tokens",
    operation_class=documented(
        "A token for one worker",
        body=WorkerTokenBody,
        body_required=False,
        request_example=WorkerTokenBody(needs_approval=True),
        answers={201: ("Shown once", WorkerToken)},
        example=examples.WORKER_TOKEN,
    ),
)
async def make_worker_token(request: AnyRequest) -> Response[bytes]:
    """Single use, 15 minutes. Who joins with it is approved at once, or waits with `needs_approval`.

    With `private` it is also paired with the key's user. An operator's token needs `shared`: its worker serves the
    PUBLIC jobs of every tenant.
    """
    here = services(request)
    caller = here.caller(request, *_MANAGES)
    known_query(request)
    body = parse_body(await read_object(request, optional=True), WorkerTokenBody)
    if body.shared != (caller.role is Role.OPERATOR):
        wanted = "must be true with the operator's key" if caller.role is Role.OPERATOR else "needs the operator's key"
        raise ProblemError("forbidden", f"'shared' {wanted}: the shared workers are the operator's, and no others.")
    if caller.tenant == defaults.DISPATCH_TENANT:
        detail = "Workers of this tenant are Dispatch's, which join without a token. One that joins with a token of the"
        raise ProblemError("forbidden", f"{detail} tenant {defaults.TENANT!r}, or a shared one, serves it too.")
    if body.private and (body.shared or body.needs_approval):
        refuse("private", "a worker that its user trusts is approved, and not shared")
    token = await create_worker_token(
        here, _owner(caller), caller.user_id, needs_approval=body.needs_approval, private=body.private
    )
    return Response(msgspec.json.encode(token), status_code=201, media_type="application/json")


async def create_worker_token(
    here: Services, tenant: str, created_by: str, *, needs_approval: bool = False, private: bool = False
) -> WorkerToken:
    """Makes a token durable and returns it with its join line."""
    token = new_worker_token(key_fingerprint(here.sessions.key))
    ref = here.engine.next_ref()
    command = CreateWorkerToken(
        ref=ref,
        token_hash=hashlib.sha256(token.encode()).digest(),
        tenant=tenant,
        created_by=created_by,
        ttl_s=defaults.WORKER_TOKEN_TTL_S,
        needs_approval=needs_approval,
        pairs_with=created_by if private else None,
    )
    await here.engine.ask(command, ref)
    expires_ms = here.clock().wall_ms + defaults.WORKER_TOKEN_TTL_S * 1000
    return WorkerToken(token=token, join=here.reach.line(token), expires_at=iso(expires_ms))


@get(
    "/v1/workers",
    operation_class=documented(
        "The fleet", answers={200: ("Every worker", WorkerList)}, example=WorkerList(workers=[examples.WORKER])
    ),
)
async def list_workers(request: AnyRequest) -> Response[bytes]:
    """The workers of the tenant and the shared ones, oldest first, whether online or not.

    An operator sees the shared ones.
    """
    here = services(request)
    caller = here.caller(request, *_SEES)
    known_query(request)
    shown = await workers_by_id(here.store, here.sessions, _owner(caller))
    return Response(msgspec.json.encode(WorkerList(workers=[*shown.values()])), media_type="application/json")


async def workers_by_id(store: Store, sessions: Sessions, owner: str) -> dict[str, WorkerView]:
    """The workers that this tenant (or the operator, as SHARED) sees, as it sees them, oldest first."""
    known, online, now_ms = await store.workers(owner), sessions.online(), sessions.clock().wall_ms
    return {one.id: worker_view(one, online.get(one.key), now_ms, own=one.tenant == owner) for one in known}


@get(
    "/v1/workers/{worker_id:str}",
    operation_class=documented("One worker", answers={200: ("The worker", WorkerView)}, example=examples.WORKER),
)
async def get_worker(request: AnyRequest, worker_id: FromPath[str]) -> Response[bytes]:
    """By id (`wrk_…`) or by key."""
    here = services(request)
    caller = here.caller(request, *_SEES)
    known_query(request)
    return _shown(here, caller, await _find(here, caller, worker_id))


def _managed(action: WorkerAction, summary: str, description: str) -> HTTPRouteHandler:
    """The route that does `action` with a worker; repeating it changes nothing."""

    async def handler(request: AnyRequest, worker_id: FromPath[str]) -> Response[bytes]:
        here = services(request)
        caller = here.caller(request, *_MANAGES)
        known_query(request)
        if body := await read_object(request, optional=True):
            raise ProblemError("invalid_field", "There is nothing to say here; send no body.", field=next(iter(body)))
        await _manage(here, caller, await _find(here, caller, worker_id), action)
        return _shown(here, caller, await _find(here, caller, worker_id))

    handler.__name__ = handler.__qualname__ = f"{action}_worker"
    handler.__doc__ = description
    described = documented(
        summary,
        answers={200: ("The worker", WorkerView)},
        example=examples.WORKER,
        errors=(*_STATUS_ERRORS, "invalid_json", "body_too_large", "unsupported_media_type", "invalid_field"),
    )
    return post(f"/v1/workers/{{worker_id:str}}/{action}", operation_class=described, status_code=200)(handler)


_STATUS_ERRORS = {
    "worker_not_approved": "This worker waits for approval: approve it first, or revoke it.",
    "worker_revoked": "This worker was revoked, which is for good: let it join anew, with another key.",
}
_CODES = {ReplyCode.WORKER_WAITS: "worker_not_approved", ReplyCode.WORKER_REVOKED: "worker_revoked"}


async def _manage(here: Services, caller: Caller, worker: WorkerRecord, action: WorkerAction) -> None:
    """Does it, durably. Raises ProblemError: 403 for somebody else's worker, 409 for its status."""
    if worker.tenant != _owner(caller):
        raise ProblemError("forbidden", "This worker is shared; only the operator of the coordinator manages it.")
    ref = here.engine.next_ref()
    command = ManageWorker(ref=ref, tenant=worker.tenant, worker=worker.key, action=action)
    code = (await here.engine.ask(command, ref)).code
    if code in _CODES:
        raise ProblemError(_CODES[code], _STATUS_ERRORS[_CODES[code]])
    here.feed.workers(worker.tenant)
    log.info("worker_managed", worker=worker.id, action=action.value, by=caller.key_id)


def _owner(caller: Caller) -> str:
    """Whose workers this key is about."""
    return defaults.SHARED if caller.role is Role.OPERATOR else caller.tenant


async def _find(here: Services, caller: Caller, worker_id: str) -> WorkerRecord:
    """A worker this caller sees. Raises ProblemError: 404, the same for another tenant's and for none."""
    for one in await here.store.workers(_owner(caller)):
        if worker_id in (one.id, one.key):
            return one
    raise ProblemError("not_found", "There is no worker of this id; `cavvy workers list` shows them.")


def _shown(here: Services, caller: Caller, worker: WorkerRecord) -> Response[bytes]:
    online, now_ms = here.sessions.online().get(worker.key), here.clock().wall_ms
    shown = worker_view(worker, online, now_ms, own=worker.tenant == _owner(caller))
    return Response(msgspec.json.encode(shown), media_type="application/json")


@asgi("/v1/workers/connect", copy_scope=False)
async def connect_worker(scope: Scope, receive: Receive, send: Send) -> None:
    """The worker protocol; identity is proven inside. A plain request is told that this is a WebSocket."""
    if scope["type"] != ScopeType.WEBSOCKET:
        detail = "This is the workers' WebSocket; connect with `cavvy worker --join …`."
        response = problem("invalid_request", detail)
        await response.to_asgi_response(None, Request(scope, receive, send))(scope, receive, send)
        return
    here = scope["litestar_app"].state["services"]
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    if here.sessions.unproven() >= here.max_unproven:
        await send({"type": "websocket.close", "code": CloseCode.SLOW, "reason": "too many workers are logging in"})
        return
    client = scope.get("client")
    address = client[0] if client else ""
    await here.sessions.serve(here.engine, audience(scope), receive, send, proven=proven(scope), address=address)


workers_router = Router(
    "/",
    route_handlers=[
        make_worker_token,
        list_workers,
        get_worker,
        _managed(
            WorkerAction.APPROVE,
            "Let a worker in",
            "Gives work to one that joined with a token that needs approval, without it reconnecting.",
        ),
        _managed(WorkerAction.PAUSE, "Pause a worker", "It is given nothing new; what it runs goes on."),
        _managed(WorkerAction.RESUME, "Let a worker work again", "Ends a pause or a drain."),
        _managed(
            WorkerAction.DRAIN,
            "Let a worker finish and leave",
            "It takes nothing new, finishes what it runs and ends, now and whenever it comes, until it is resumed.",
        ),
        _managed(
            WorkerAction.REVOKE,
            "Shut a worker out for good",
            "What it runs is stopped, ends at once, uncounted, and is given to others. Its key is never let in again.",
        ),
        connect_worker,
    ],
)
