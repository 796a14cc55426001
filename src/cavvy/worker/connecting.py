"""How a connection is made, what a failed one means, and whether the other end of a living one is still there."""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cavvy import defaults, logs
from cavvy.errors import WorkerRefused
from cavvy.protocol.handshake import CloseCode
from cavvy.protocol.line import is_loopback_host
from cavvy.protocol.pinning import PinMismatch, pinned_context

__all__ = ["CONNECT_PATH", "distrust", "is_refusal", "keep_alive", "socket_options", "tls_context"]

CONNECT_PATH = "/v1/workers/connect"
CLOSE_TIMEOUT_S = 2.0

#: This machine has no way to such an address, so nothing can be listening there for us.
_NO_SUCH_ADDRESSES = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH})
_ERRNO = re.compile(r"\[Errno (\d+)\]")


def socket_options(tls: ssl.SSLContext | None) -> dict[str, Any]:
    """How a worker's WebSocket is opened."""
    return {
        "compression": None,
        "max_size": defaults.MAX_FRAME_BYTES,
        "proxy": None,
        "logger": logs.LibraryLogger("websockets"),
        "ssl": tls,
        "open_timeout": defaults.HANDSHAKE_TIMEOUT_S,
        "close_timeout": CLOSE_TIMEOUT_S,
        "ping_interval": None,  # keep_alive does it
    }


def tls_context(url: str, pin: str | None) -> ssl.SSLContext | None:
    """Whom TLS trusts, None for none. Raises WorkerRefused when another machine would be spoken to in the clear."""
    parts = urlsplit(url)
    if parts.scheme == "wss":
        return pinned_context(pin) if pin else ssl.create_default_context()
    if pin is None and is_loopback_host(parts.hostname or ""):
        return None
    raise WorkerRefused(
        f"{url} is another machine, and without TLS everyone on the way could read the jobs. Start the coordinator with"
        " --lan and join it with a new line from `cavvy workers token`."
    )


def distrust(url: str, error: ssl.SSLCertVerificationError) -> WorkerRefused:
    """Why this is not the coordinator, and what to do."""
    if isinstance(error, PinMismatch):
        return WorkerRefused(
            f"What answers at {url} is not the coordinator this worker was told to join: its certificate has"
            f" another key (pin {error.found[:16]}…). Nothing was sent to it. If the coordinator was set up anew,"
            " join it with a new line from `cavvy workers token`; else somebody is in between."
        )
    return WorkerRefused(
        f"No authority that this machine trusts vouches for the certificate at {url}"
        f" ({error.verify_message}). Nothing was sent to it. Join with the whole line that `cavvy workers token`"
        " prints, also what is behind its #."
    )


def is_refusal(error: BaseException) -> bool:
    """Whether nobody can give away what this worker has: the machine itself said that nobody listens there, so no
    coordinator runs, or the coordinator said that its store takes no writes.

    A timeout, a silent socket, a name that is not found or TLS that fails say nothing of the kind. Neither does a
    reverse proxy's 502: it also comes from a proxy that cannot reach a coordinator which runs.
    """
    if isinstance(error, ConnectionRefusedError):
        return True
    if isinstance(error, ConnectionClosed):
        return error.rcvd is not None and error.rcvd.code == CloseCode.UNAVAILABLE
    if not isinstance(error, OSError) or error.errno is not None:
        return False
    # Of a name with several addresses asyncio tells the errors in one text only.
    found = {int(number) for number in _ERRNO.findall(str(error))}
    return errno.ECONNREFUSED in found and found <= _NO_SUCH_ADDRESSES | {errno.ECONNREFUSED}


async def keep_alive(socket: ClientConnection, heard: Callable[[], None]) -> None:
    """Asks every HEARTBEAT_S whether the other end is there and calls `heard` when it is; closes a silent socket.

    The coordinator's process answers this while its store is slow, when heartbeats have to wait.
    """
    try:
        while True:
            await asyncio.sleep(defaults.HEARTBEAT_S)
            answered = await socket.ping()
            async with asyncio.timeout(defaults.LEASE_TTL_S - defaults.HEARTBEAT_S):
                await answered
            heard()
    except TimeoutError:
        await socket.close(1011, "no answer to a ping")
    except ConnectionClosed:
        return
