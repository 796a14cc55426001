"""Connections that are slow, many or malformed: uvicorn's protocols, with deadlines and limits.

uvicorn alone waits for ever for the rest of a header or a body. Here every connection that is not being answered has a
deadline, and when there are too many connections the one that has waited longest makes room for a new one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
from collections import Counter
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Protocol, cast

import msgspec
import uvicorn
from litestar.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS
from websockets.http11 import Request as WebSocketRequest

from cavvy import defaults, logs
from cavvy.api.addressing import address_of, within
from cavvy.api.limits import network_of
from cavvy.api.listening import Network
from cavvy.api.problems import CODES, problem

__all__ = [
    "ConnectionLimits",
    "Connections",
    "HttpConnection",
    "LimitedConfig",
    "SocketConnection",
    "Waiting",
    "proven",
]

log = logs.get_logger()
#: Its warnings are about what anybody may send: bad requests would fill the log.
_uvicorn_log = logs.LibraryLogger("uvicorn")
_uvicorn_log.setLevel(logging.ERROR)


#: An extension of a WebSocket's scope, which knows whom to tell.
_PROVEN = "cavvy.proven"


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections there may be, and how long each may take for what."""

    max_connections: int = defaults.MAX_CONNECTIONS
    max_connections_per_address: int = defaults.MAX_CONNECTIONS_PER_ADDRESS
    header_timeout_s: float = defaults.HEADER_TIMEOUT_S
    body_timeout_s: float = defaults.BODY_TIMEOUT_S
    keep_alive_s: float = defaults.KEEP_ALIVE_S
    max_unproven_sockets: int = defaults.MAX_UNPROVEN_SOCKETS


class Waiting(Protocol):
    """A connection that has a deadline."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def time_out(self) -> None:
        """Ends it."""


class Connections:
    """Every open connection. Those that are not being answered have a deadline and may be closed to make room."""

    def __init__(self, limits: ConnectionLimits, proxies: Iterable[Network] = ()) -> None:
        self.limits = msgspec.structs.replace(limits, max_connections=_affordable(limits.max_connections))
        self._proxies = tuple(proxies)
        self._addresses: dict[object, str] = {}
        self._count: Counter[str] = Counter()
        self._waiting: dict[Waiting, float] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._turned_away = 0
        self._told_s = -math.inf

    def __len__(self) -> int:
        return len(self._addresses)

    def join(self, one: object, address: str) -> bool:
        """Counts a connection in; False if there is no room and nobody who waits could make any.

        A proxy's connections are many people's: they are not counted for its address.
        """
        if len(self) >= self.limits.max_connections and not self._make_room(lambda _: True):
            return False
        network = network_of(address)
        full = self._count[network] >= self.limits.max_connections_per_address
        if full and not (
            within(address_of(address), self._proxies)
            or self._make_room(lambda other: self._addresses[other] == network)
        ):
            return False
        self._addresses[one] = network
        self._count[network] += 1
        return True

    def leave(self, one: object) -> None:
        address = self._addresses.pop(one, None)
        if address is not None:
            self._count[address] -= 1
            if not self._count[address]:
                del self._count[address]

    def turned_away(self, now_s: float) -> None:
        """A connection found no room. The log hears of it only now and then, so that nobody can fill the disk."""
        self._turned_away += 1
        if now_s - self._told_s >= defaults.TURNED_AWAY_LOG_S:
            log.warning("too_many_connections", open=len(self), turned_away=self._turned_away)
            self._turned_away, self._told_s = 0, now_s

    def wait(self, one: Waiting, seconds: float) -> None:
        """From now on `one` has `seconds` to get on."""
        self._waiting.pop(one, None)
        self._waiting[one] = one.loop.time() + seconds
        if self._sweep is None:
            self._sweep = one.loop.call_later(self._pause_s(), self._close_late, one.loop)

    def answer(self, one: Waiting) -> None:
        """`one` is being answered, or gone: it has no deadline."""
        self._waiting.pop(one, None)

    def _make_room(self, suits: Callable[[Waiting], bool]) -> bool:
        """Closes the connection that suits and has waited longest."""
        for one in self._waiting:
            if suits(one):
                self._close(one)
                return True
        return False

    def _close_late(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for one in [one for one, deadline in self._waiting.items() if deadline <= now]:
            self._close(one)
        self._sweep = loop.call_later(self._pause_s(), self._close_late, loop) if self._waiting else None

    def _close(self, one: Waiting) -> None:
        self.answer(one)
        self.leave(one)
        one.time_out()

    def _pause_s(self) -> float:
        shortest = min(self.limits.header_timeout_s, self.limits.body_timeout_s, self.limits.keep_alive_s)
        return min(1.0, shortest / 4)


class LimitedConfig(uvicorn.Config):
    """uvicorn's settings for our application, and the connections its protocols share.

    `http` makes the protocol of a new connection, an HttpConnection if nothing is said.
    """

    def __init__(self, app: Any, limits: ConnectionLimits, proxies: Iterable[Network] = (), **settings: Any) -> None:
        self.open = Connections(limits, proxies)
        super().__init__(
            app,
            http=settings.pop("http", HttpConnection),
            ws=SocketConnection,
            ws_max_size=defaults.MAX_FRAME_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=3600,
            **settings,
        )


class HttpConnection(HttpToolsProtocol):
    """One HTTP/1.1 connection. Its header, its body and the next request each have to arrive in time."""

    config: LimitedConfig

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self._open = self.config.open
        self._limits = self._open.limits
        self.logger = _uvicorn_log
        self.access_log = False  # whoever configures logging: paths and queries are nobody's business
        self._begun = self._whole = False
        self._in_header = True
        self._header_bytes = self._stage_bytes = 0
        self._stage = 0
        self._refusal = "invalid_request", "This is not HTTP/1.1 as this coordinator reads it."
        if self._open.join(self, self.client[0] if self.client else ""):
            self._open.wait(self, self._limits.header_timeout_s)
        else:
            self._open.turned_away(self.loop.time())
            self._refuse("too_many_connections", "There are too many connections; close some, or come back later.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.answer(self)
        self._open.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        stage = self._stage
        super().data_received(data)
        self._stage_bytes = self._stage_bytes + len(data) if stage == self._stage else 0
        if self._stage_bytes > (defaults.MAX_HEADER_BYTES if self._in_header else defaults.MAX_BODY_BYTES):
            self._too_large()
            self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun, self._whole, self._in_header = True, False, True
        self._header_bytes = 0
        self._stage += 1
        self._open.wait(self, self._limits.header_timeout_s)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count_header(len(name) + len(value))

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_header = False
        self._stage += 1
        self._open.wait(self, self._limits.body_timeout_s)

    def on_body(self, body: bytes) -> None:
        self._stage_bytes -= len(body)  # what is left is framing and trailers
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._begun, self._whole, self._in_header = False, True, True
        self._stage += 1
        super().on_message_complete()
        if self._under_way() is None:
            self._open.wait(self, self._limits.keep_alive_s)
        else:
            self._open.answer(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._whole and self._under_way() is None and not self.transport.is_closing():
            self._open.wait(self, self._limits.keep_alive_s)

    def handle_websocket_upgrade(self) -> None:
        self._open.answer(self)
        self._open.leave(self)
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """What cannot be read is answered as everything else, unless an answer is under way."""
        self._open.answer(self)
        self._refuse(*self._refusal)

    def time_out(self) -> None:
        """Too slow, or in the way of a newer connection."""
        if self._begun:
            self._refuse("request_timeout", "The request did not arrive in time; send it again in one go.")
        else:
            self.transport.close()

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > defaults.MAX_HEADER_BYTES or len(self.headers) > defaults.MAX_HEADERS:
            self._too_large()
            raise ValueError("header too large")

    def _too_large(self) -> None:
        most = f"{defaults.MAX_HEADERS} fields and {defaults.MAX_HEADER_BYTES} bytes"
        self._refusal = "header_too_large", f"A request's header may have {most}."

    def _refuse(self, code: str, detail: str) -> None:
        """Answers by hand where the application cannot, if no answer has begun, and closes."""
        cycle = self._under_way()
        if cycle is None if self._in_header else not self.cycle.response_started:
            self.transport.write(_by_hand(code, detail))
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()

    def _under_way(self) -> RequestResponseCycle | None:
        """The answer that is not complete."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return None if cycle is None or cycle.response_complete else cycle


class SocketConnection(WebSocketsSansIOProtocol):
    """One WebSocket. It counts among the connections; a message may not come in too many pieces, and before whoever
    serves it calls what `proven` gives, little may come at all: nobody strange fills the memory.
    """

    config: LimitedConfig
    _proven = False
    _read_bytes = 0

    def _prove(self) -> None:
        self._proven = True

    def handle_connect(self, event: WebSocketRequest) -> None:
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            cast("dict[str, Any]", self.scope["extensions"])[_PROVEN] = {"tell": self._prove}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.logger = self.conn.logger = _uvicorn_log
        self.conn.debug = False  # it would log frames
        self.config.open.join(self, self.client[0] if self.client else "")

    def connection_lost(self, exc: Exception | None) -> None:
        self.config.open.leave(self)
        super().connection_lost(exc)

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= defaults.MAX_FRAGMENTS:
            self.conn.fail(1009, "too many fragments")
            self.handle_parser_exception()
        else:
            super().handle_cont(event)

    def data_received(self, data: bytes) -> None:
        """The first data is the whole header: if that begins no handshake, websockets cannot read it."""
        self._read_bytes += len(data)
        if self.handshake_complete and not self._proven and self._read_bytes > defaults.MAX_UNPROVEN_BYTES:
            if not self.transport.is_closing():
                self.conn.fail(1009, "too much before the login")
                self.handle_parser_exception()
            return
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            self.handshake_initiated = self.handshake_complete = self.close_sent = True
            most = f"lines of {MAX_LINE_LENGTH} bytes and {MAX_NUM_HEADERS} fields"
            self.transport.write(_by_hand("header_too_large", f"The header of a WebSocket's request may have {most}."))
            self.transport.close()


def proven(scope: Scope) -> Callable[[], None]:
    """What to call when whoever is at the other end of this WebSocket has proven who he is."""
    extensions = cast("dict[str, Any]", scope.get("extensions") or {})
    tell: Callable[[], None] = extensions.get(_PROVEN, {}).get("tell", lambda: None)
    return tell


def _affordable(connections: int) -> int:
    """As many as the process may have open files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return connections
    return max(1, min(connections, files - defaults.FILES_RESERVED))


def _by_hand(code: str, detail: str) -> bytes:
    """The problem as HTTP/1.1."""
    answer = problem(code, detail)
    status = HTTPStatus(CODES[code][0])
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "content-type: application/problem+json",
        f"content-length: {len(answer.content)}",
        "connection: close",
    ]
    return "\r\n".join([*lines, "\r\n"]).encode() + answer.content
