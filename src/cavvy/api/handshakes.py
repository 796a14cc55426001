"""TLS handshakes that are slow or many: they count among the connections and have as long as a header.

An event loop alone gives each a minute, and tells nobody of a connection before its handshake is done: whoever begins
enough of them takes every open file the process may have.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

from cavvy import defaults
from cavvy.api.connections import HttpConnection, LimitedConfig

__all__ = ["TlsHandshake"]


class TlsHandshake(asyncio.Protocol):
    """One connection until its handshake is done. Then it is an HttpConnection.

    It is made as uvicorn makes that; `secrets` is the certificate with its key.
    """

    def __init__(self, secrets: ssl.SSLContext, *, config: LimitedConfig, **shared: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self._secrets = secrets
        self._open = config.open
        self._make = lambda: _Secured(self._done, config=config, **shared)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the socket over before anything is read from it: loops differ in how TLS may begin later."""
        peer = transport.get_extra_info("peername")
        if self._open.join(self, peer[0] if peer else ""):
            try:
                self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
            except OSError:
                self._open.leave(self)
            else:
                self._open.wait(self, self._open.limits.header_timeout_s)
                self._task = self.loop.create_task(self._shake_hands())
        else:
            self._open.turned_away(self.loop.time())
        cast("asyncio.WriteTransport", transport).abort()

    def time_out(self) -> None:
        """Too slow, or in the way of a newer connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def _shake_hands(self) -> None:
        with contextlib.suppress(OSError):  # no TLS, no certificate it likes, or it hung up
            await self.loop.connect_accepted_socket(
                self._make,
                self._socket,
                ssl=self._secrets,
                ssl_handshake_timeout=self._open.limits.header_timeout_s,
                ssl_shutdown_timeout=defaults.TLS_SHUTDOWN_S,
            )
        self._done()

    def _done(self) -> None:
        self._open.answer(self)
        self._open.leave(self)


class _Secured(HttpConnection):
    """Takes its handshake's place among the connections."""

    def __init__(self, handshake_done: Callable[[], None], **shared: Any) -> None:
        super().__init__(**shared)
        self._handshake_done = handshake_done

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in HttpConnection
        self._handshake_done()
        super().connection_made(transport)
