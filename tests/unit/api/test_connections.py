"""Connections that are slow, many or malformed cost the next honest request nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import uvloop
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cavvy import defaults
from cavvy.api.connections import ConnectionLimits, Connections
from cavvy.api.listening import Listen
from cavvy.protocol.pinning import pinned_context
from cavvy.store.memory import MemoryStore
from cavvy.testing import LiveStack, live_stack

SHORT_S = 1.0  # longer than this machine may have no time for a client that is quick
PATIENCE_S = 60.0
CLIENT_HELLO = "\x16\x03\x01\x02\x00\x01"  # how one begins
SHORT = {"header_timeout_s": SHORT_S, "body_timeout_s": SHORT_S, "keep_alive_s": SHORT_S}
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(tmp_path, MemoryStore()) as stack:
        yield stack


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[LiveStack]:
    """Whoever is slow is cut off after `SHORT_S`."""
    async with live_stack(tmp_path, MemoryStore(), limits=SHORT) as stack:
        yield stack


async def opened(stack: LiveStack, sent: str = "") -> Streams:
    """A connection over which `sent` went, with HOST and KEY filled in."""
    place = urlsplit(stack.server.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(sent.replace("HOST", place.netloc).replace("KEY", stack.key).encode("latin-1"))
    return reader, writer


async def answered(streams: Streams) -> tuple[int, str]:
    """Everything until the other end closes: the last status (0: none), and the code if it is a problem."""
    reader, writer = streams
    whole = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(PATIENCE_S):
            whole = await reader.read()
    writer.close()
    head, _, body = whole.decode().rpartition("\r\n\r\n")
    if not head:
        return 0, ""
    status = int(head.rpartition("HTTP/1.1 ")[2][:3])
    return status, json.loads(body)["code"] if body.startswith('{"type"') else ""


async def honest(stack: LiveStack) -> int:
    """The status a new client gets."""
    async with httpx.AsyncClient(base_url=stack.server.url, trust_env=False, timeout=PATIENCE_S) as http:
        key = {"Authorization": f"Bearer {stack.key}"}
        return (await http.post("/v1/jobs", json={"prompt": "honest"}, headers=key)).status_code


POST = "POST /v1/jobs HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer KEY\r\nContent-Type: application/json\r\n"
GET = "GET /v1/health HTTP/1.1\r\nHost: HOST\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        pytest.param("", 0, "", id="nothing"),
        pytest.param("\r\n\r\n", 0, "", id="empty lines"),
        pytest.param("GET /v1/hea", 408, "request_timeout", id="half a request line"),
        pytest.param(GET + "X-Half: ", 408, "request_timeout", id="half a header"),
        pytest.param(POST + "Content-Length: 20\r\n\r\n{", 408, "request_timeout", id="half a body"),
        pytest.param(
            POST + "Transfer-Encoding: chunked\r\n\r\n5\r\n{", 408, "request_timeout", id="half a chunk"
        ),
        pytest.param(
            "POST /v1/jobs HTTP/1.1\r\nHost: HOST\r\nContent-Length: 20\r\n\r\n{", 401, "unauthorized",
            id="half a body after the answer",
        ),
        pytest.param(GET + "\r\n", 200, "", id="idle after an answer"),
        pytest.param(GET + "\r\nGET /v1/hea", 408, "request_timeout", id="half a second request"),
    ],
)  # fmt: skip
async def test_what_does_not_arrive_in_time_is_cut_off(hasty: LiveStack, sent: str, status: int, code: str) -> None:
    assert await answered(await opened(hasty, sent)) == (status, code)


async def test_200_connections_that_drip_do_not_stop_the_next_honest_request(hasty: LiveStack) -> None:
    dripping = [await opened(hasty, GET + "X-Slow: ") for _ in range(200)]

    async def drip(streams: Streams) -> tuple[int, str]:
        _, writer = streams
        ended = asyncio.create_task(answered(streams))
        while not ended.done():
            writer.write(b"x")
            await asyncio.wait((ended,), timeout=SHORT_S / 10)
        return ended.result()

    drips = [asyncio.create_task(drip(one)) for one in dripping]
    assert await honest(hasty) == 201, "while they drip"
    ends = await asyncio.gather(*drips)
    assert {status for status, _ in ends} <= {0, 408}, "each was cut off, though bytes kept coming"
    assert await honest(hasty) == 201


async def test_a_stream_outlives_every_deadline(hasty: LiveStack) -> None:
    job = (await hasty.http.post("/v1/jobs", json={"prompt": "nobody runs this"})).json()
    follow = f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer KEY\r\n\r\n"
    reader, writer = await opened(hasty, follow)
    await reader.readuntil(b"event: job\n")
    assert await answered(await opened(hasty)) == (0, ""), "the deadlines have passed for others"
    assert await answered(await opened(hasty)) == (0, "")
    await hasty.http.post(f"/v1/jobs/{job['id']}/cancel")
    async with asyncio.timeout(PATIENCE_S):
        await reader.readuntil(b"event: end\n")
    writer.close()


async def test_a_wait_outlives_every_deadline(hasty: LiveStack) -> None:
    job = (await hasty.http.post("/v1/jobs", json={"prompt": "nobody runs this"})).json()
    waiting = asyncio.create_task(hasty.http.get(f"/v1/jobs/{job['id']}?wait=60"))
    assert await answered(await opened(hasty)) == (0, "")
    assert not waiting.done()
    await hasty.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (await waiting).json()["status"] == "failed"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        pytest.param("nonsense\r\n\r\n", 400, "invalid_request", id="no HTTP"),
        pytest.param("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "invalid_request", id="TLS"),
        pytest.param("GET /\xff HTTP/1.1\r\nHost: HOST\r\n\r\n", 400, "invalid_request", id="a path that is not ASCII"),
        pytest.param("CONNECT evil:80 HTTP/1.1\r\nHost: HOST\r\n\r\n", 400, "invalid_request", id="a proxy's request"),
        pytest.param("GET http://HOST HTTP/1.1\r\nHost: HOST\r\n\r\n", 400, "invalid_request", id="no path"),
        pytest.param(
            POST + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "invalid_request",
            id="two lengths",
        ),
        pytest.param(POST + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400, "invalid_request", id="lengths"),
        pytest.param("GET /" + "x" * 2**16, 431, "header_too_large", id="a path without an end"),
        pytest.param(GET + "X: y\r\n" * 200 + "\r\n", 431, "header_too_large", id="many headers"),
        pytest.param(GET + f"X: {'y' * 2**15}\r\n\r\n", 431, "header_too_large", id="a long header"),
    ],
)  # fmt: skip
async def test_what_cannot_be_read_is_answered_and_closed(stack: LiveStack, sent: str, status: int, code: str) -> None:
    assert await answered(await opened(stack, sent)) == (status, code)
    assert await honest(stack) == 201


@pytest.mark.parametrize("begun", [POST + "Transfer-Encoding: chunked\r\n\r\n", GET + "X: ", "GET /"])
async def test_what_has_no_end_is_cut_off(hasty: LiveStack, begun: str) -> None:
    reader, writer = await opened(hasty, begun)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_S):
            while not reader.at_eof():
                writer.write(b"10000\r\n" + b"x" * 2**16 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)
    assert await honest(hasty) == 201


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault(
    stack: LiveStack, capfd: pytest.CaptureFixture[str]
) -> None:
    _, writer = await opened(stack, POST + "Content-Length: 20\r\n\r\n{")
    await writer.drain()
    writer.close()
    assert await honest(stack) == 201
    assert "request_failed" not in "".join(capfd.readouterr())


async def test_when_all_connections_are_taken_the_one_that_waited_longest_makes_room(tmp_path: Path) -> None:
    async with live_stack(tmp_path, MemoryStore(), limits={"max_connections": 20}) as stack:
        idle = [await opened(stack, GET + "X-Slow: ") for _ in range(30)]
        assert await honest(stack) == 201
        assert await answered(idle[0]) == (408, "request_timeout")
        for _, writer in idle:
            writer.close()


async def test_one_address_cannot_take_every_connection(tmp_path: Path) -> None:
    async with live_stack(tmp_path, MemoryStore(), limits={"max_connections_per_address": 3}) as stack:
        job = (await stack.http.post("/v1/jobs", json={"prompt": "nobody runs this"})).json()
        follow = f"GET /v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer KEY\r\n\r\n"
        readers = [await opened(stack, follow) for _ in range(3)]
        for reader, _ in readers:
            await reader.readuntil(b"event: job\n")
        assert await answered(await opened(stack, GET)) == (503, "too_many_connections")
        for _, writer in readers:
            writer.close()


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[LiveStack]:
    """With TLS and few connections; whoever is slow is cut off after `SHORT_S`."""
    limits = {**SHORT, "max_connections": 20}
    async with live_stack(tmp_path, MemoryStore(), limits=limits, listen=Listen(port=0, lan=True)) as stack:
        yield stack


async def test_a_tls_handshake_has_to_end_in_time(secured: LiveStack) -> None:
    assert await answered(await opened(secured, CLIENT_HELLO)) == (0, "")


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_tls_handshakes_that_were_begun_make_room_for_honest_requests(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def check() -> None:
        few = {"max_connections": 20}
        async with live_stack(tmp_path, MemoryStore(), limits=few, listen=Listen(port=0, lan=True)) as stack:
            begun = [await opened(stack, CLIENT_HELLO) for _ in range(30)]
            assert await answered(begun[0]) == (0, ""), "the one that has waited longest"
            for _ in range(10):
                async with httpx.AsyncClient(
                    verify=pinned_context(stack.server.pin or ""), trust_env=False, timeout=90
                ) as http:
                    assert (await http.get(f"{stack.server.url}/v1/health")).status_code == 200
            for _, writer in begun:
                writer.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(check())


async def test_a_tls_connection_that_does_not_say_goodbye_is_closed_all_the_same(secured: LiveStack) -> None:
    place = urlsplit(secured.server.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = pinned_context(secured.server.pin or "").wrap_bio(received, sent)
    while not talk.cipher():
        with contextlib.suppress(ssl.SSLWantReadError):
            talk.do_handshake()
        writer.write(sent.read())
        received.write(await reader.read(2**16))
    async with asyncio.timeout(PATIENCE_S):
        while await reader.read(2**16):
            pass
    writer.close()


async def test_too_many_workers_logging_in_are_asked_to_come_back(tmp_path: Path) -> None:
    async with live_stack(tmp_path, MemoryStore(), limits={"max_unproven_sockets": 2}) as stack:
        url = stack.server.url.replace("http", "ws") + "/v1/workers/connect"
        async with connect(url) as one, connect(url) as two, connect(url) as three:
            await one.recv()
            await two.recv()
            with pytest.raises(ConnectionClosed) as closed:
                await three.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013


async def test_a_message_in_countless_pieces_is_refused(stack: LiveStack) -> None:
    url = stack.server.url.replace("http", "ws") + "/v1/workers/connect"

    async def pieces() -> AsyncIterator[str]:
        for _ in range(defaults.MAX_FRAGMENTS + 2):
            yield ""

    async with connect(url) as socket:
        await socket.recv()
        with contextlib.suppress(ConnectionClosed):
            await socket.send(pieces())
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_who_has_not_logged_in_fills_no_memory_with_a_message_that_does_not_end(stack: LiveStack) -> None:
    url = stack.server.url.replace("http", "ws") + "/v1/workers/connect"

    async def pieces() -> AsyncIterator[str]:
        for _ in range(2 * defaults.MAX_UNPROVEN_BYTES // 65536):
            yield "x" * 65536

    async with connect(url) as socket:
        await socket.recv()
        with contextlib.suppress(ConnectionClosed):
            await socket.send(pieces())
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (1009, "too much before the login")


async def test_a_workers_request_with_a_long_header_is_answered(stack: LiveStack) -> None:
    upgrade = "GET /v1/workers/connect HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    sent = f"{upgrade}{key}X: {'y' * 10_000}\r\n\r\n"
    assert await answered(await opened(stack, sent)) == (431, "header_too_large")


async def test_nothing_is_compressed_on_the_workers_socket(stack: LiveStack) -> None:
    async with connect(stack.server.url.replace("http", "ws") + "/v1/workers/connect", compression="deflate") as socket:
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


def test_a_flood_of_connections_does_not_fill_the_log() -> None:
    connections = Connections(ConnectionLimits())
    with capture_logs() as logged:
        for tenths in range(1001):
            connections.turned_away(tenths / 10)
    assert [one["turned_away"] for one in logged] == [1, *[100] * 10]
    assert {one["event"] for one in logged} == {"too_many_connections"}
