"""How both clients set httpx up, and what its errors mean."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

from cavvy import __version__, defaults
from cavvy.client._protocol import Lost, Request
from cavvy.client.config import Connection, is_loopback
from cavvy.errors import CertificateRefused, ClientError
from cavvy.protocol.pinning import PinMismatch, pinned_context, valid_pin

__all__ = ["lost", "options", "outgoing"]

CONNECT_TIMEOUT_S = 5.0
KEPT_CONNECTIONS = 20  # for later; while they wait for jobs there may be any number, so that nothing waits behind them
STREAM_TIMEOUT_S = 3 * defaults.SSE_HEARTBEAT_S  # two heartbeats may get lost before the connection counts as dead

#: Errors that leave no doubt: the coordinator never saw the request.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def options(connection: Connection) -> dict[str, Any]:
    """Arguments for `httpx.Client` and `httpx.AsyncClient`. This machine is reached without any proxy.

    Raises ClientError for a pin that cannot be one, and rather than show a key to everyone on the way.
    """
    _refuse_to_show(connection)
    headers = {"User-Agent": f"cavvy/{__version__}", "Accept": "application/json"}
    if connection.key:
        headers["Authorization"] = f"Bearer {connection.key}"
    return {
        "base_url": connection.url,
        "headers": headers,
        "trust_env": not is_loopback(connection.url),
        "verify": _trusted(connection),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS),
    }


def _trusted(connection: Connection) -> ssl.SSLContext | bool:
    """Whom TLS trusts. Plain HTTP is spared the loading of certificates."""
    if connection.pin is None:
        return connection.url.startswith("https:")
    pin = valid_pin(connection.pin)
    if pin is None:
        raise ClientError(f"{connection.pin!r} is not a certificate's pin: 64 hex digits; copy it again")
    if not connection.url.startswith("https:"):
        raise ClientError(f"a pin needs TLS, and {connection.url} has none; use https://, or leave the pin out")
    return pinned_context(pin)


def _refuse_to_show(connection: Connection) -> None:
    if connection.key and connection.url.startswith("http:") and not is_loopback(connection.url):
        raise ClientError(
            f"{connection.url} is another machine, and without TLS everyone on the way could read the key; use https://"
        )


def outgoing(request: Request, timeout_s: float, *, stream: bool = False) -> dict[str, Any]:
    """Arguments for `build_request`."""
    read_s = STREAM_TIMEOUT_S if stream else min(timeout_s + request.wait_s, request.within_s)
    step_s = min(timeout_s, request.within_s)
    return {
        "method": request.method,
        "url": request.path,
        "headers": dict(request.headers),
        "content": request.body,
        "timeout": httpx.Timeout(step_s, connect=min(CONNECT_TIMEOUT_S, step_s), read=read_s),
    }


def lost(error: httpx.RequestError, url: str) -> Lost:
    """What is known when httpx gave up. Raises CertificateRefused if it was for the certificate: nothing was sent."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, PinMismatch):
        raise CertificateRefused(
            f"what answers at {url} is not the coordinator that this account knows: its certificate has another key"
            f" (pin {cause.found[:16]}…). If it was set up anew, log in again with a line printed there; else somebody"
            " is in between"
        ) from error
    if cause is not None:
        raise CertificateRefused(
            f"no authority that this machine trusts vouches for the certificate at {url} ({cause.verify_message});"
            " log in with a line printed there, which holds the certificate's pin: `cavvy login cavvy://…#PIN`"
        ) from error
    return Lost(sent=not isinstance(error, _UNSENT), detail=str(error) or type(error).__name__)
