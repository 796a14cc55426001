"""How both clients set httpx up, and what its errors mean."""

from __future__ import annotations

from typing import Any

import httpx

from cavvy import __version__, defaults
from cavvy.client._protocol import Lost, Request
from cavvy.client.config import Connection, is_loopback

__all__ = ["lost", "options", "outgoing"]

CONNECT_TIMEOUT_S = 5.0
STREAM_TIMEOUT_S = 3 * defaults.SSE_HEARTBEAT_S  # two heartbeats may get lost before the connection counts as dead

#: Errors that leave no doubt: the coordinator never saw the request.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def options(connection: Connection) -> dict[str, Any]:
    """Arguments for `httpx.Client` and `httpx.AsyncClient`. This machine is reached without any proxy."""
    headers = {"User-Agent": f"cavvy/{__version__}", "Accept": "application/json"}
    if connection.key:
        headers["Authorization"] = f"Bearer {connection.key}"
    return {
        "base_url": connection.url,
        "headers": headers,
        "trust_env": not is_loopback(connection.url),
        "verify": connection.url.startswith("https:"),  # spares plain HTTP the loading of certificates
    }


def outgoing(request: Request, timeout_s: float, *, stream: bool = False) -> dict[str, Any]:
    """Arguments for `build_request`."""
    read_s = STREAM_TIMEOUT_S if stream else timeout_s + request.wait_s
    return {
        "method": request.method,
        "url": request.path,
        "headers": dict(request.headers),
        "content": request.body,
        "timeout": httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s), read=read_s),
    }


def lost(error: httpx.TransportError) -> Lost:
    """What is known when httpx gave up."""
    return Lost(sent=not isinstance(error, _UNSENT), detail=str(error) or type(error).__name__)
