"""Whom a request is for and whom it comes from, decided before anything else looks at it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, cast

from litestar import Request
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from cavvy.api.listening import Network, Reach
from cavvy.api.problems import problem
from cavvy.protocol.line import authority

__all__ = ["Addressed", "address_of", "audience", "client_address", "within"]

#: Two of them, and two readers might follow different ones.
_SINGLE = frozenset({b"authorization", b"content-encoding", b"content-type", b"idempotency-key", b"last-event-id"})
_OTHER_NAME = (  # and not which names are right: whoever asks may be a page of another site
    "This coordinator does not go by that name. Use the address it said at its start, or start it with --hostname NAME."
)
_SECURE = {"https": True, "wss": True, "http": False, "ws": False}


def client_address(scope: Scope) -> str:
    """The address of whoever asks, as far as it can be believed: a trusted proxy's word counts, nobody else's."""
    client = scope["client"]
    return client[0] if client else ""


def audience(scope: Scope) -> str:
    """The URL a worker connected to, as it says it: `ws://HOST:PORT` or `wss://…`."""
    host = _header(scope, b"host") or ""
    return f"{scope['scheme']}://{host.lower()}"


class Addressed:
    """Lets through what is meant for this coordinator and comes from someone it may talk to.

    Refused are peers that may not connect, requests that mean another host (DNS rebinding) and those that a web page of
    somebody else's made (Origin). What a trusted proxy says of the client, the scheme and the host replaces the
    proxy's own; from everybody else it is ignored.
    """

    def __init__(self, app: ASGIApp, reach: Reach) -> None:
        self._app = app
        self._reach = reach

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) == "lifespan":
            return await self._app(scope, receive, send)
        peer = address_of(client_address(scope))
        if within(peer, self._reach.proxies):
            _believe(scope, self._reach.proxies)
        refusal = self._refusal(scope, peer)
        if refusal is None:
            return await self._app(scope, receive, send)
        if scope["type"] == ScopeType.WEBSOCKET:
            await receive()
            await send({"type": "websocket.close", "code": 4403, "reason": refusal[1]})
            return None
        response = problem(*refusal).to_asgi_response(None, Request(scope, receive, send))
        return await response(scope, receive, send)

    def _refusal(self, scope: Scope, peer: IPv4Address | IPv6Address | None) -> tuple[str, str] | None:
        peers = self._reach.peers
        if peers is not None and not (peer is not None and peer.is_loopback) and not within(peer, peers):
            return "misdirected_request", "This coordinator talks to its proxy only; use the proxy's address."
        host = (_header(scope, b"host") or "").lower()
        if host not in self._reach.names and host != _own_authority(scope):
            return "misdirected_request", _OTHER_NAME
        origin = _header(scope, b"origin")
        if origin is not None and origin.lower().partition("://")[2] != host:
            return "foreign_origin", "Web pages of other sites may not use this coordinator."
        single = [name for name, _ in scope["headers"] if name in _SINGLE]
        if len(single) != len(set(single)):
            twice = next(name for name in single if single.count(name) > 1).decode()
            return "invalid_request", f"The header {twice} stands twice; send it once."
        return None


def _believe(scope: Scope, proxies: Iterable[Network]) -> None:
    """Takes over what a trusted proxy says in X-Forwarded-For, -Proto and -Host."""
    client = _forwarded_client(scope, proxies)
    if client is not None:
        scope["client"] = (str(client), 0)
    proto = _last(scope, b"x-forwarded-proto")
    if proto in _SECURE:
        secure = "s" if _SECURE[proto] else ""
        fields = cast("dict[str, Any]", scope)
        fields["scheme"] = ("ws" if scope["type"] == ScopeType.WEBSOCKET else "http") + secure
    host = _last(scope, b"x-forwarded-host")
    if host:
        others = [pair for pair in scope["headers"] if pair[0] != b"host"]
        scope["headers"] = [*others, (b"host", host.encode("latin-1"))]


def _forwarded_client(scope: Scope, proxies: Iterable[Network]) -> IPv4Address | IPv6Address | None:
    """From the right, the first address that is no trusted proxy's: what stands left of it anybody may have written."""
    found = None
    for text in reversed((_header(scope, b"x-forwarded-for") or "").split(",")):
        address = address_of(text.strip())
        if address is None:
            break
        found = address
        if not within(address, proxies):
            break
    return found


def _header(scope: Scope, name: bytes) -> str | None:
    """The header's value; several of the same name are one list."""
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ",".join(values) if values else None


def _last(scope: Scope, name: bytes) -> str | None:
    value = _header(scope, name)
    return value.rpartition(",")[2].strip().lower() if value else None


def _own_authority(scope: Scope) -> str | None:
    """The address the connection came to. A page of another site cannot make a browser send that as Host."""
    server = scope["server"]
    if server is None:
        return None
    address = address_of(server[0])
    return None if address is None else authority(str(address), server[1])


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def within(address: IPv4Address | IPv6Address | None, networks: Iterable[Network]) -> bool:
    return address is not None and any(address in network for network in networks)
