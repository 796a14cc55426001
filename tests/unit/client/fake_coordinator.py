"""A coordinator that says what it is told to, over real sockets, from a thread of its own."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from http import HTTPStatus
from itertools import islice
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

JOB_ID = "01990000-0000-7000-8000-000000000001"
WORKER_ID = "wkr_1"


Header = str | Callable[[], str]


class Answer(NamedTuple):
    """`cut`: the connection breaks behind `body`, before anything if there is none; `hold`: it stays open there.

    A header that can be called says what it holds when it is sent.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, Header] = {}
    cut: bool = False
    hold: bool = False


#: No answer, and the connection stays open.
SILENCE = Answer(cut=True, hold=True)


class Received(NamedTuple):
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


def json(value: Any, status: int = 200, **headers: Header) -> Answer:
    return Answer(msgspec.json.encode(value), status, {"Content-Type": "application/json", **headers})


def problem(status: int, code: str, detail: str, **headers: str) -> Answer:
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code, "error": code}
    return json(body, status, **headers)


def event(name: str, data: Any, event_id: str = "") -> bytes:
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {msgspec.json.encode(data).decode()}\n\n".encode()


def delta(attempt: int, offset: int, text: str) -> bytes:
    data = {"attempt": attempt, "offset": offset, "kind": "text", "text": text}
    return event("delta", data, f"{attempt}.{offset + len(text)}")


def end(attempt: int, length: int, output_hash: str | None = "00") -> bytes:
    return event("end", {"attempt": attempt, "length": length, "output_hash": output_hash}, f"{attempt}.end")


def stream(*events: bytes, cut: bool = False, hold: bool = False) -> Answer:
    return Answer(b"".join(events), headers={"Content-Type": "text/event-stream"}, cut=cut, hold=hold)


def job(status: str = "pending", **fields: Any) -> dict[str, Any]:
    return {
        "id": JOB_ID, "number": 1, "status": status, "job_type": "LLM_INFER", "privacy_class": "PUBLIC",
        "user_id": "owner", "created_at": "2026-01-01T00:00:00.000Z", **fields,
    }  # fmt: skip


def completed(text: str, **fields: Any) -> dict[str, Any]:
    result = {"text": text, "model": "m", "finish_reason": "stop"}
    return job("completed", output=text, result=result, attempt=1, **fields)


def failed(code: str, message: str, **fields: Any) -> dict[str, Any]:
    failure = {"code": code, "message": message, "at": "2026-01-01T00:00:01.000Z", **fields}
    return job("failed", failure=failure, result={"error": code})


class FakeCoordinator:
    """Answers each route with its answers in turn, the last one again and again; `requests` is what came."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self._tls = tls
        self._answers: dict[tuple[str, str], list[Answer]] = defaultdict(list)
        self._arrived = threading.Condition()
        self._never = asyncio.Event()  # kept here, for a task that waits for what nobody holds is collected
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def on(self, method: str, path: str, *answers: Answer) -> None:
        self._answers[method, path].extend(answers)

    def on_job(self, leaf: str, *answers: Answer) -> None:
        self.on("GET", f"/v1/jobs/{JOB_ID}{leaf}", *answers)

    def wait_for(self, method: str, path: str, number: int = 1) -> Received:
        """The request of that kind with this number, waited for."""

        def found() -> Received | None:
            these = (each for each in self.requests if (each.method, each.path) == (method, path))
            return next(islice(these, number - 1, None), None)

        with self._arrived:
            received = self._arrived.wait_for(found, timeout=30)
        assert received is not None, f"no {method} {path} came"
        return received

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next round

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        received = Received(method, target, headers, body)
        answers = self._answers[method, received.path] or [problem(404, "not_found", f"no {target}")]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        with self._arrived:
            self.requests.append(received)
            self._arrived.notify_all()
        if answer.body or not answer.cut:
            writer.write(_encoded(answer))
            await writer.drain()
        if answer.hold:
            await self._never.wait()
        if answer.cut:
            writer.close()
            await writer.wait_closed()
        return not answer.cut


def _encoded(answer: Answer) -> bytes:
    head = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    head += [f"{name}: {value() if callable(value) else value}" for name, value in answer.headers.items()]
    if answer.headers.get("Content-Type") != "text/event-stream":
        head.append(f"Content-Length: {len(answer.body)}")
        return "\r\n".join(head).encode() + b"\r\n\r\n" + answer.body
    head.append("Transfer-Encoding: chunked")
    chunk = b"%x\r\n%b\r\n" % (len(answer.body), answer.body) if answer.body else b""
    last = b"" if answer.cut or answer.hold else b"0\r\n\r\n"
    return "\r\n".join(head).encode() + b"\r\n\r\n" + chunk + last
