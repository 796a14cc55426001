"""A coordinator is told to stop while everybody is connected in every way: nobody can hold it up."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests import troubled_coordinator as trouble
from tests.processes import PATIENCE_S, Ended, Installation, installed, until

pytestmark = pytest.mark.crash
STREAMS = 50


class Caller:
    """One connection by hand; what comes over it is read until its end, unless it is `deaf`."""

    def __init__(self, here: Installation, request: str, *, deaf: bool = False) -> None:
        self.heard = b""
        self._socket = socket.create_connection(("127.0.0.1", here.port))
        self._socket.sendall(request.replace("\n", "\r\n").format(key=here.key, port=here.port).encode())
        self._reading = threading.Thread(target=self._read, daemon=True)
        if not deaf:
            self._reading.start()

    def _read(self) -> None:
        try:
            while chunk := self._socket.recv(65536):
                self.heard += chunk
        except OSError:
            pass

    def finish(self) -> bytes:
        """All it heard, once the other end has closed."""
        self._reading.join(PATIENCE_S)
        assert not self._reading.is_alive(), "the connection is still open"
        return self.heard

    def close(self) -> None:
        self._socket.close()


HEAD = "Host: 127.0.0.1:{port}\nAuthorization: Bearer {key}\n"
IDLE = f"GET /v1/workers HTTP/1.1\n{HEAD}Connection: keep-alive\n\n"
UPLOAD = f"POST /v1/jobs HTTP/1.1\n{HEAD}Content-Type: application/json\nContent-Length: 1000\n\n" + '{{"prompt": '
SUBMIT = f"POST /v1/jobs HTTP/1.1\n{HEAD}Content-Type: application/json\nContent-Length: 16\n\n" + '{{"prompt": "hi"}}'
HALF_A_HEADER = "GET /v1/workers HTTP/1.1\nHost: 127.0"
WEBSOCKET = (
    "GET /v1/workers/connect HTTP/1.1\nHost: 127.0.0.1:{port}\nConnection: Upgrade\nUpgrade: websocket\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n\n"
)


def stream(path: str) -> str:
    return f"GET {path} HTTP/1.1\n{HEAD}Accept: text/event-stream\n\n"


class Told(NamedTuple):
    ended: Ended
    streams: list[bytes]
    tenant: bytes
    idle: bytes
    upload: bytes


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with installed(tmp_path_factory.mktemp("told")) as here, ExitStack() as open_ones:

        def call(request: str, *, deaf: bool = False) -> Caller:
            caller = Caller(here, request, deaf=deaf)
            open_ones.callback(caller.close)
            return caller

        here.environment["CAVVY_TEST_SHUTDOWN_S"] = "3600"  # whoever can hold it up, does
        coordinator = here.start_coordinator(module="tests.troubled_coordinator")
        job_id = here.submit()
        streams = [call(stream(f"/v1/jobs/{job_id}/events")) for _ in range(STREAMS)]
        for _ in range(5):
            call(stream(f"/v1/jobs/{job_id}/events"), deaf=True)
        large = here.submit("x" * 900_000)
        call(f"GET /v1/jobs/{large} HTTP/1.1\n{HEAD}\n" * 30, deaf=True)
        tenant, idle, upload = call(stream("/v1/events")), call(IDLE), call(UPLOAD)
        call(HALF_A_HEADER)
        worker = call(WEBSOCKET)
        until("every stream has begun", lambda: all(b"event: job" in one.heard for one in streams))
        until("the others have, too", lambda: all(one.heard for one in (tenant, idle, worker)))
        ended = coordinator.terminate()
        yield Told(ended, [one.finish() for one in streams], tenant.finish(), idle.finish(), upload.finish())


def test_nobody_who_is_connected_holds_up_the_end(told: Told) -> None:
    assert told.ended.code == 0, told.ended.err


def test_every_stream_hears_bye_and_is_closed_whole(told: Told) -> None:
    assert [b"event: bye" in one for one in (*told.streams, told.tenant)] == [True] * (STREAMS + 1)
    assert all(one.endswith(b"0\r\n\r\n") for one in told.streams)


def test_an_idle_connection_is_closed(told: Told) -> None:
    assert told.idle.startswith(b"HTTP/1.1 200")


def test_an_upload_that_never_ends_is_given_up_without_a_word_of_success(told: Told) -> None:
    assert not told.upload.startswith(b"HTTP/1.1 2")


def test_it_ends_without_a_complaint(told: Told) -> None:
    assert "Traceback" not in told.ended.err
    assert "stopped_with_error" not in told.ended.err


def test_a_second_signal_ends_it_at_once_whatever_it_waits_for(installation: Installation) -> None:
    """It waits for a commit without an end."""
    coordinator = installation.start_coordinator(module="tests.troubled_coordinator")
    installation.orders.write_text(f"{trouble.HANG} any")
    submitting = Caller(installation, SUBMIT)
    until("its commit hangs", installation.orders.with_suffix(".hangs").exists)
    coordinator.signal(signal.SIGTERM)
    until("it takes no connections any more", lambda: refused(installation))
    assert coordinator.alive
    coordinator.signal(signal.SIGTERM)
    assert coordinator.ended().code == -signal.SIGTERM
    submitting.close()


def refused(here: Installation) -> bool:
    try:
        socket.create_connection(("127.0.0.1", here.port)).close()
    except ConnectionRefusedError:
        return True
    return False
