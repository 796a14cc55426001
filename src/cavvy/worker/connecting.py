"""What a failed connection means, and whether the other end of a living one is still there."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from cavvy import defaults

__all__ = ["is_refusal", "keep_alive"]

#: This machine has no way to such an address, so nothing can be listening there for us.
_NO_SUCH_ADDRESSES = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH})
_ERRNO = re.compile(r"\[Errno (\d+)\]")


def is_refusal(error: BaseException) -> bool:
    """Whether the machine itself said that nobody listens there: no coordinator runs.

    A timeout, a silent socket, a name that is not found or TLS that fails say nothing of the kind. Neither does a
    reverse proxy's 502: it also comes from a proxy that cannot reach a coordinator which runs.
    """
    if isinstance(error, ConnectionRefusedError):
        return True
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
