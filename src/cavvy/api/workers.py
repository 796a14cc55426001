"""The fleet over HTTP, and the socket workers come in by."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from litestar import Request, Response, Router, asgi, get, post
from litestar.enums import ScopeType
from litestar.params import FromPath
from litestar.types import Receive, Scope, Send

from cavvy import defaults
from cavvy.api import examples
from cavvy.api.addressing import audience
from cavvy.api.auth import MANAGES, READS, new_worker_token
from cavvy.api.bodies import read_object
from cavvy.api.documented import documented
from cavvy.api.problems import ProblemError, problem
from cavvy.api.services import Services, services
from cavvy.api.views import iso, worker_view
from cavvy.core.commands import CreateWorkerToken
from cavvy.protocol.handshake import CloseCode, key_fingerprint
from cavvy.protocol.rest import WorkerList, WorkerToken, WorkerView

__all__ = ["create_worker_token", "workers_router"]

AnyRequest = Request[Any, Any, Any]


@post(
    "/v1/worker-tokens",
    operation_class=documented(
        "A token for one worker",
        answers={201: ("Shown once", WorkerToken)},
        example=examples.WORKER_TOKEN,
        errors=("not_supported", "invalid_json", "body_too_large", "unsupported_media_type"),
    ),
)
async def make_worker_token(request: AnyRequest) -> Response[bytes]:
    """Single use, 15 minutes; who joins with it is approved at once."""
    here = services(request)
    caller = here.caller(request, *MANAGES)
    body = await read_object(request, optional=True)
    if body:
        raise ProblemError(
            "not_supported", "A worker token takes no options yet; send no body.", field=next(iter(body))
        )
    token = await create_worker_token(here, caller.tenant, caller.user_id)
    return Response(msgspec.json.encode(token), status_code=201, media_type="application/json")


async def create_worker_token(here: Services, tenant: str, created_by: str) -> WorkerToken:
    """Makes a token durable and returns it with its join line."""
    token = new_worker_token(key_fingerprint(here.sessions.key))
    ref = here.engine.next_ref()
    command = CreateWorkerToken(
        ref=ref,
        token_hash=hashlib.sha256(token.encode()).digest(),
        tenant=tenant,
        created_by=created_by,
        ttl_s=defaults.WORKER_TOKEN_TTL_S,
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
    """Every worker of the tenant, oldest first, whether it is online or not."""
    here = services(request)
    caller = here.caller(request, *READS)
    workers = await _workers(here, caller.tenant)
    return Response(msgspec.json.encode(WorkerList(workers=workers)), media_type="application/json")


@get(
    "/v1/workers/{worker_id:str}",
    operation_class=documented("One worker", answers={200: ("The worker", WorkerView)}, example=examples.WORKER),
)
async def get_worker(request: AnyRequest, worker_id: FromPath[str]) -> Response[bytes]:
    """By id (`wrk_…`) or by key."""
    here = services(request)
    caller = here.caller(request, *READS)
    for one in await _workers(here, caller.tenant):
        if worker_id in (one.id, one.key):
            return Response(msgspec.json.encode(one), media_type="application/json")
    raise ProblemError("not_found", "There is no worker of this id.")


async def _workers(here: Services, tenant: str) -> list[WorkerView]:
    online = here.sessions.online()
    return [worker_view(one, online.get(one.key)) for one in await here.store.workers(tenant)]


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
    await here.sessions.serve(here.engine, audience(scope), receive, send)


workers_router = Router("/", route_handlers=[make_worker_token, list_workers, get_worker, connect_worker])
