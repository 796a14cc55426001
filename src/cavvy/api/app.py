"""The application: every route, one shape of error, and the check of whom a request is for."""

from __future__ import annotations

from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from cavvy import defaults
from cavvy.api.events import job_events
from cavvy.api.health import health_router
from cavvy.api.jobs import jobs_router
from cavvy.api.keys import keys_router
from cavvy.api.openapi import describe, openapi_document
from cavvy.api.problems import exception_handlers, problem
from cavvy.api.services import Services
from cavvy.api.tenants import tenants_router
from cavvy.api.workers import workers_router

__all__ = ["ROUTES", "create_app"]

ROUTES: tuple[ControllerRouterHandler, ...] = (
    jobs_router,
    job_events,
    workers_router,
    keys_router,
    tenants_router,
    health_router,
    openapi_document,
)


def create_app(services: Services) -> ASGIApp:
    """The ASGI application over a running engine."""
    app = Litestar(
        route_handlers=ROUTES,
        state=State({"services": services}),
        exception_handlers=exception_handlers,
        request_max_body_size=defaults.MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.state["openapi"] = describe(app)
    return _Addressed(app, services.hosts)


class _Addressed:
    """Refuses requests that a web page of somebody else's made (Origin), or that mean another host (DNS rebinding)."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) == "lifespan":
            return await self._app(scope, receive, send)
        refusal = self._refusal(dict(scope["headers"]))
        if refusal is None:
            return await self._app(scope, receive, send)
        if scope["type"] == ScopeType.WEBSOCKET:
            await receive()
            await send({"type": "websocket.close", "code": 4403, "reason": refusal[1]})
            return None
        response = problem(*refusal).to_asgi_response(None, Request(scope, receive, send))
        return await response(scope, receive, send)

    def _refusal(self, headers: dict[bytes, bytes]) -> tuple[str, str] | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if host not in self._hosts:
            return "misdirected_request", f"This coordinator answers to {', '.join(sorted(self._hosts))}."
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower().partition("://")[2] not in self._hosts:
            return "foreign_origin", "Web pages of other sites may not use this coordinator."
        return None
