"""A minimal HTTP/1.1 client for one keep-alive connection: nothing between the clock and the socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

__all__ = ["Connection", "Event"]


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    id: str | None
    data: Any


class Connection:
    """One connection, one request at a time; without a key none is sent."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        self._host, self._port, self._netloc = address.hostname or "", address.port or 80, address.netloc
        self.url, self.key = url, key

    async def open(self) -> Connection:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        return self

    def close(self) -> None:
        self._writer.close()

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Sends and reads one JSON answer."""
        await self.begin(method, path, body, **headers)
        return json.loads(await self._body())

    async def begin(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        """Sends, and reads the answer's head."""
        data = json.dumps(body).encode() if body is not None else b""
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self._netloc}",
            *([f"Authorization: Bearer {self.key}"] if self.key else []),
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = int(head.split(" ", 2)[1])
        self._length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), None)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {(await self._body())[:300]!r}")

    async def events(self) -> AsyncIterator[Event]:
        """The server-sent events of the answer whose head was read (chunked)."""
        buffer = b""
        while True:
            size = int((await self._reader.readuntil(b"\r\n"))[:-2], 16)
            buffer += (await self._reader.readexactly(size + 2))[:-2]
            *whole, buffer = buffer.split(b"\n\n")
            for block in whole:
                if (event := _event(block)) is not None:
                    yield event
            if size == 0:
                return

    async def _body(self) -> bytes:
        return await self._reader.readexactly(self._length or 0)


def _event(block: bytes) -> Event | None:
    name, event_id, data = "message", None, None
    for line in block.split(b"\n"):
        field, _, value = line.partition(b": ")
        if field == b"event":
            name = value.decode()
        elif field == b"id":
            event_id = value.decode()
        elif field == b"data" and value != b"[DONE]":
            data = json.loads(value)
    return Event(name, event_id, data) if data is not None else None
