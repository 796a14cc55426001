"""A TCP proxy on loopback that cuts connections where a test says: between two bytes, a request and its answer, frames.

A Conversation looks at what passes and says how much of a piece still gets through. Requests are sent on to the name
that the coordinator goes by.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

__all__ = ["Conversation", "Proxy", "proxied", "text_of"]

PIECE_BYTES = 1 << 16
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing tells the other end that it was cut off


class Conversation:
    """One connection: both methods say how many bytes of a piece pass before the connection is cut, None for all."""

    def request(self, piece: bytes) -> int | None:
        return None

    def answer(self, piece: bytes) -> int | None:
        return None


class Proxy:
    """Listens on `port` for what is meant for `upstream`, another port of this machine."""

    def __init__(self, upstream: int, converse: Callable[[], Conversation]) -> None:
        self._upstream = upstream
        self._converse = converse
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listening.close()
        for one in self._sockets:
            _cut(one)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        self.connections += 1
        try:
            server = socket.create_connection(("127.0.0.1", self._upstream))
        except OSError:
            _cut(client)  # nobody listens there
            return
        self._sockets += [client, server]
        conversation = self._converse()
        for way in (
            (client, server, conversation.request, self._addressed),
            (server, client, conversation.answer, bytes),
        ):
            thread = threading.Thread(target=_pump, args=way)
            self._threads.append(thread)
            thread.start()

    def _addressed(self, piece: bytes) -> bytes:
        return piece.replace(b"Host: 127.0.0.1:%d\r\n" % self.port, b"Host: 127.0.0.1:%d\r\n" % self._upstream)


def _pump(
    source: socket.socket,
    sink: socket.socket,
    judge: Callable[[bytes], int | None],
    addressed: Callable[[bytes], bytes],
) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            passes = judge(piece)
            sink.sendall(addressed(piece[:passes]))
            if passes is not None:
                break
    _cut(source)
    _cut(sink)


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextlib.contextmanager
def proxied(upstream: int, converse: Callable[[], Conversation]) -> Iterator[Proxy]:
    """A proxy that is gone at the end."""
    proxy = Proxy(upstream, converse)
    try:
        yield proxy
    finally:
        proxy.close()


def text_of(piece: bytes) -> bytes:
    """What the WebSocket frames say that a piece holds, one after the other; a client's frames are masked."""
    said = b""
    while len(piece) >= 2:
        size, begin = piece[1] & 0x7F, 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, begin = int.from_bytes(piece[begin : begin + width]), begin + width
        mask = b""
        if piece[1] & 0x80:
            mask, begin = piece[begin : begin + 4], begin + 4
        body, piece = piece[begin : begin + size], piece[begin + size :]
        said += bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)) if len(mask) == 4 else body
    return said
