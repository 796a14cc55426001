from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

import pytest
import uvloop
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from cavvy.protocol.handshake import CloseCode
from cavvy.worker.connecting import is_refusal
from tests.ports import held_port


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_where_nobody_listens_is_a_refusal_whatever_the_loop_and_however_many_addresses(
    loop: Callable[[], asyncio.AbstractEventLoop], host: str
) -> None:
    async def connect(port: int) -> OSError | None:
        try:
            await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)
        except OSError as error:
            return error
        return None

    with held_port() as port, asyncio.Runner(loop_factory=loop) as runner:
        error = runner.run(connect(port))
    assert error is not None
    assert is_refusal(error)


def closed_with(code: int) -> ConnectionClosedError:
    return ConnectionClosedError(Close(code, "try again"), None)


def test_a_coordinator_that_can_write_nothing_down_can_give_nothing_away() -> None:
    assert is_refusal(closed_with(CloseCode.UNAVAILABLE))


@pytest.mark.parametrize(
    "error",
    [
        closed_with(CloseCode.FAILED),
        closed_with(CloseCode.RESTART),
        ConnectionClosedError(None, None),
        TimeoutError(),
        TimeoutError(errno.ETIMEDOUT, "timed out"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        OSError(errno.EHOSTUNREACH, "no route"),
        OSError(errno.ENETUNREACH, "no network"),
        socket.gaierror(socket.EAI_NONAME, "unknown name"),
        ssl.SSLError(1, "handshake failure"),
        OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 110] Connect call failed"),
        OSError("Multiple exceptions: [Errno 101] unreachable, [Errno 113] no route"),
        OSError("something else"),
        ValueError("[Errno 111]"),
    ],
    ids=repr,
)
def test_nothing_else_is_a_refusal(error: BaseException) -> None:
    assert not is_refusal(error)


def test_an_address_family_that_this_machine_does_not_have_does_not_hide_a_refusal() -> None:
    text = f"Multiple exceptions: [Errno {errno.EADDRNOTAVAIL}] no, [Errno {errno.ECONNREFUSED}] no"
    assert is_refusal(OSError(text))
