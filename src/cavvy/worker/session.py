"""One connection to the coordinator: the login, and the one ordered way out for frames."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection

from cavvy import defaults
from cavvy.core.job import AttemptRef
from cavvy.errors import CavvyError, WorkerRefused
from cavvy.protocol.handshake import Transcript
from cavvy.protocol.messages import (
    VERSION,
    ErrorMessage,
    Hello,
    Register,
    RegisterAck,
    decode_coordinator_message,
    encode,
)
from cavvy.worker.connecting import keep_alive
from cavvy.worker.identity import Identity, JoinLine

__all__ = ["LoginBroken", "LoginRequest", "OtherStore", "Outbox", "login"]


Wanted = TypeVar("Wanted", Hello, RegisterAck)


class OtherStore(CavvyError):
    """It is the coordinator that was joined, but restored from a backup: what this worker has of it counts no more."""


class LoginBroken(CavvyError):
    """What came instead of a login makes no sense; another try may go better."""


class LoginRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What this worker says of itself, and what it knows of the coordinator: its key, or else its join line."""

    url: str
    identity: Identity
    pinned_key: str | None
    join: JoinLine | None
    token: str | None
    capabilities: bytes
    instance: str
    time_ms: int
    held: tuple[AttemptRef, ...]
    finished: tuple[AttemptRef, ...]
    store_id: str = ""  # that `held` and `finished` are of; empty when there never was one


async def login(
    socket: ClientConnection, request: LoginRequest, heard: Callable[[], None]
) -> tuple[Hello, RegisterAck]:
    """Proves this worker to the coordinator and the other way round; what that said of itself, and its answer.

    The answer comes after a commit, which takes long on a slow disk; `heard` is called as often as the coordinator
    shows meanwhile that it lives.

    Raises WorkerRefused when the other end is not the coordinator that was joined, OtherStore before anything is said
    to one that was restored from a backup, LoginBroken when it speaks no sense.
    """
    hello = await _receive(socket, Hello, defaults.HANDSHAKE_TIMEOUT_S)
    _check_hello(hello, request)
    if request.store_id not in ("", hello.store_id):
        raise OtherStore(f"the coordinator at {request.url} was restored from a backup")
    transcript = Transcript(
        coordinator_key=bytes.fromhex(hello.coordinator_key),
        audience=request.url,
        worker_key=bytes.fromhex(request.identity.key),
        server_nonce=bytes.fromhex(hello.server_nonce),
        worker_nonce=secrets.token_bytes(32),
        capabilities=request.capabilities,
        token=request.token,
    )
    await socket.send(encode(_register(request, transcript)))
    ack = await _answer(socket, heard)
    if not transcript.coordinator_proven(ack.sig):
        raise WorkerRefused(
            f"What answers at {request.url} could not prove that it is the coordinator: its signature is wrong."
            " Check that nothing sits between this worker and the coordinator."
        )
    return hello, ack


def _register(request: LoginRequest, transcript: Transcript) -> Register:
    return Register(
        provider_pubkey=request.identity.key,
        worker_nonce=transcript.worker_nonce.hex(),
        instance=request.instance,
        capabilities=msgspec.Raw(request.capabilities),
        sig=transcript.sign_as_worker(request.identity.seed),
        time_ms=request.time_ms,
        token=request.token,
        held=request.held,
        finished=request.finished,
    )


def _check_hello(hello: Hello, request: LoginRequest) -> None:
    if hello.version != VERSION:
        raise WorkerRefused(
            f"The coordinator speaks version {hello.version} of the worker protocol, this worker version {VERSION}."
            " Upgrade the older one."
        )
    key = hello.coordinator_key
    if request.pinned_key is not None:
        known = key == request.pinned_key
    else:
        known = request.join is not None and request.join.names(key)
    if not known:
        raise WorkerRefused(
            f"The coordinator at {request.url} is not the one this worker was told to join: its key is {key[:16]}…"
            " If it was set up anew, join it with a new line from `cavvy workers token`."
        )


async def _answer(socket: ClientConnection, heard: Callable[[], None]) -> RegisterAck:
    pinger = asyncio.create_task(keep_alive(socket, heard))
    try:
        return await _receive(socket, RegisterAck, defaults.LOGIN_TIMEOUT_S)
    finally:
        pinger.cancel()
        await asyncio.gather(pinger, return_exceptions=True)


async def _receive(socket: ClientConnection, kind: type[Wanted], timeout_s: float) -> Wanted:
    async with asyncio.timeout(timeout_s):
        frame = await socket.recv(decode=False)
    try:
        message = decode_coordinator_message(frame)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LoginBroken(f"the coordinator's frame cannot be read: {error}") from error
    if isinstance(message, ErrorMessage):
        raise LoginBroken(f"{message.code}: {message.message}")
    if not isinstance(message, kind):
        raise LoginBroken(f"the coordinator sent {type(message).__name__}, not {kind.__name__}")
    return message


class Outbox:
    """The frames of one connection, sent in the order they were put."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._frames: deque[str] = deque()
        self._more = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, frame: str) -> None:
        self._frames.append(frame)
        self._more.set()
        self._empty.clear()

    async def pump(self) -> None:
        """Sends until it is cancelled; ConnectionClosed ends it too."""
        while True:
            await self._more.wait()
            while self._frames:
                await self._socket.send(self._frames.popleft())
            self._more.clear()
            self._empty.set()

    async def drained(self) -> None:
        """Returns when everything put so far was handed to the socket."""
        await self._empty.wait()
