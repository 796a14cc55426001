"""The WebSocket `/`, where Dispatch's workers come in, if they are let in at all."""

from __future__ import annotations

from litestar import asgi
from litestar.enums import ScopeType
from litestar.exceptions import NotFoundException
from litestar.types import Receive, Scope, Send

from cavvy.api.addressing import audience
from cavvy.api.auth import of_this_machine
from cavvy.api.connections import proven
from cavvy.api.services import Services
from cavvy.coordinator.legacy import LegacySession
from cavvy.protocol.handshake import CloseCode

__all__ = ["connect_legacy_worker"]


@asgi("/", copy_scope=False)
async def connect_legacy_worker(scope: Scope, receive: Receive, send: Send) -> None:
    """Dispatch's dialect; the key is proven inside. Only for programs of this machine, and only with --dispatch."""
    if scope["type"] != ScopeType.WEBSOCKET:
        raise NotFoundException
    here: Services = scope["litestar_app"].state["services"]
    await receive()
    if not (here.dispatch and of_this_machine(scope)):
        await send({"type": "websocket.close", "code": CloseCode.NOT_ALLOWED, "reason": "not served"})
        return
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    if here.sessions.unproven() >= here.max_unproven:
        await send({"type": "websocket.close", "code": CloseCode.SLOW, "reason": "too many workers are logging in"})
        return
    await here.sessions.serve(here.engine, audience(scope), receive, send, proven=proven(scope), kind=LegacySession)
