"""An HTTP/1.1 server whose answers a test scripts down to the bytes on the wire; it counts what it is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

__all__ = ["Exchange", "Handler", "HttpServer", "Request", "serving"]


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """One connection with its one request, and the ways to answer it."""

    def __init__(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self._reader = reader
        self._writer = writer

    async def answer(self, status: int, body: Any, **headers: str) -> None:
        data = json.dumps(body).encode()
        await self.begin(status, "application/json", Content_Length=str(len(data)), **headers)
        await self.send(data)

    async def begin(self, status: int, kind: str, **headers: str) -> None:
        """The head; a body without `Content_Length` is sent with `chunk`."""
        if "Content_Length" not in headers:
            headers["Transfer_Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {status} As Told", f"Content-Type: {kind}", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, data: Any, name: str | None = None) -> None:
        """A server-sent event."""
        text = data if isinstance(data, str) else json.dumps(data)
        head = f"event: {name}\n" if name else ""
        await self.chunk(f"{head}data: {text}\n\n".encode())

    async def line(self, data: Any) -> None:
        """A line of NDJSON."""
        await self.chunk(json.dumps(data).encode() + b"\n")

    async def end(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def hung_up(self) -> None:
        """Returns when the other side has closed the connection."""
        while await self._reader.read(65536):
            pass


Handler = Callable[[Exchange], Awaitable[None]]


class HttpServer:
    """`posts` counts the calls that cost something; `requests` is all that came."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[Request] = []
        self.failures: list[Exception] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    @property
    def posts(self) -> int:
        return sum(request.method == "POST" and request.path != "/api/show" for request in self.requests)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            request = await _read(reader)
            self.requests.append(request)
            await self.handler(Exchange(request, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:  # noqa: BLE001 - told when the server is closed
            self.failures.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

    def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[HttpServer]:
    """A server on a free port of the loopback. Raises what its handler raised."""
    server = HttpServer(handler)
    listener = await asyncio.start_server(server._serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        server.stop()
        await listener.wait_closed()
    if server.failures:
        raise server.failures[0]


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        return Request(method, path, headers, await _chunks(reader))
    return Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body
