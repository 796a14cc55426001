"""A pinned connection says nothing at all to whoever has another key."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake

from cavvy import AsyncCavvy, Cavvy
from cavvy.api.certificates import self_signed
from cavvy.errors import CertificateRefused, ClientError
from cavvy.protocol.pinning import PinMismatch, pinned_context, valid_pin
from tests.certificates import NOW

KEY = "cav_adm_canary"
WRONG = "ab" * 32
BODY = b'{"status":"ok","version":"0"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class RecordingServer:
    """A TLS server that writes down whatever it is told, deciphered, and answers one thing to everything."""

    def __init__(self, directory: Path) -> None:
        served = self_signed(directory, ["127.0.0.1"], NOW)
        self.pin = served.pin
        self.heard = b""
        self.connections = 0
        self._context = served.context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            peer.settimeout(5)
            with contextlib.suppress(OSError), self._context.wrap_socket(peer, server_side=True) as stream:
                while piece := stream.recv(65536):
                    self.heard += piece
                    stream.sendall(ANSWER)

    def close(self) -> None:
        """Waits for what was under way: `heard` is complete then."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RecordingServer]:
    server = RecordingServer(tmp_path)
    yield server
    if server._thread.is_alive():
        server.close()


def ask(port: int, pin: str | None) -> None:
    with Cavvy(f"https://127.0.0.1:{port}", KEY, pin=pin) as client:
        client.health()


async def ask_async(port: int, pin: str | None) -> None:
    async with AsyncCavvy(f"https://127.0.0.1:{port}", KEY, pin=pin) as client:
        await client.health()


def ask_on_asyncio(port: int, pin: str | None) -> None:
    asyncio.run(ask_async(port, pin))


def ask_on_uvloop(port: int, pin: str | None) -> None:
    uvloop.run(ask_async(port, pin))


Ask = Callable[[int, str | None], None]
each_client = pytest.mark.parametrize("ask", [ask, ask_on_asyncio, ask_on_uvloop], ids=["sync", "asyncio", "uvloop"])


@each_client
def test_the_right_pin_lets_the_request_through(server: RecordingServer, ask: Ask) -> None:
    ask(server.port, server.pin)
    server.close()
    assert KEY.encode() in server.heard


@each_client
def test_a_wrong_pin_ends_it_before_a_byte_of_the_request_is_sent(server: RecordingServer, ask: Ask) -> None:
    with pytest.raises(CertificateRefused, match=server.pin[:16]):
        ask(server.port, WRONG)
    server.close()
    assert (server.connections, server.heard) == (1, b"")


@each_client
def test_without_a_pin_a_self_signed_certificate_gets_no_byte_either(server: RecordingServer, ask: Ask) -> None:
    with pytest.raises(CertificateRefused, match="cavvy login"):
        ask(server.port, None)
    server.close()
    assert (server.connections, server.heard) == (1, b"")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_websocket_with_a_wrong_pin_sends_nothing(server: RecordingServer, run: Callable[..., None]) -> None:
    async def come_in(pin: str) -> None:
        async with connect(f"wss://127.0.0.1:{server.port}/", ssl=pinned_context(pin), proxy=None):
            pass

    with pytest.raises(PinMismatch):
        run(come_in(WRONG))
    with pytest.raises(InvalidHandshake):  # the pin is right, and what answers is no WebSocket
        run(come_in(server.pin))
    server.close()
    assert server.heard.count(b"GET / HTTP/1.1") == 1


def test_a_pinned_client_speaks_no_old_tls() -> None:
    assert pinned_context(WRONG).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_pin_with_a_url_without_tls_is_refused() -> None:
    with pytest.raises(ClientError, match="a pin needs TLS"):
        Cavvy("http://127.0.0.1:4010", KEY, pin=WRONG)


def test_a_key_is_not_shown_to_another_machine_without_tls() -> None:
    with pytest.raises(ClientError, match="everyone on the way could read the key"):
        Cavvy("http://192.0.2.1:4010", KEY)


@pytest.mark.parametrize(
    ("text", "pin"), [(WRONG.upper(), WRONG), (f" {WRONG}\n", WRONG), (WRONG[:-1], None), ("x" * 64, None), ("", None)]
)
def test_a_pin_is_64_hex_digits(text: str, pin: str | None) -> None:
    assert valid_pin(text) == pin
