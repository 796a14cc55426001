"""A coordinator of one session, for a worker to talk to, and a provider that does what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from cavvy.core import ed25519
from cavvy.core.job import WorkerStatus
from cavvy.core.writes import Usage
from cavvy.errors import ProviderError
from cavvy.protocol.handshake import Transcript, key_fingerprint
from cavvy.protocol.messages import (
    VERSION,
    CoordinatorMessage,
    Hello,
    JobAssign,
    JobDelta,
    JobStartedMessage,
    Limits,
    Register,
    RegisterAck,
    ResumeEntry,
    WorkerMessage,
    decode_worker_message,
    encode,
)
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, StartChunk, TextChunk
from cavvy.worker.identity import JoinLine, parse_join

MODEL = "fake-1"
SEED = bytes(range(32))

Wanted = TypeVar("Wanted")


class FakeCoordinator:
    """Tests read what the worker sent with `receive` and answer with `send`; heartbeats are kept apart."""

    def __init__(self, port: int, seed: bytes = SEED) -> None:
        self.seed = seed
        self.key = ed25519.public_key(seed)
        self.limits = Limits()
        self.verdicts: Callable[[Register], tuple[ResumeEntry, ...]] = lambda _: ()
        self.shown_key = self.key
        self.forge_ack = False
        self.status = WorkerStatus.APPROVED
        self.refuse_logins: list[int] = []
        self.registers: list[Register] = []
        self.heartbeats: asyncio.Queue[Any] = asyncio.Queue()
        self.logins: asyncio.Queue[Register] = asyncio.Queue()
        self.frames: asyncio.Queue[WorkerMessage] = asyncio.Queue()
        self.closed: asyncio.Queue[int | None] = asyncio.Queue()
        self.port = port
        self.store_id = "first-store"
        self._socket: ServerConnection | None = None
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def join(self) -> JoinLine:
        return parse_join(f"cavvy://127.0.0.1:{self.port}/cav_wrk_secret_{key_fingerprint(self.key)}")

    async def open(self) -> None:
        self._server = await serve(self._serve, "127.0.0.1", self.port, compression=None, max_size=1 << 24)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def send(self, message: CoordinatorMessage) -> None:
        assert self._socket is not None
        await self._socket.send(encode(message))

    async def send_text(self, frame: str) -> None:
        assert self._socket is not None
        await self._socket.send(frame)

    async def drop(self, code: int = 1012) -> None:
        assert self._socket is not None
        await self._socket.close(code)

    async def receive(self, kind: type[Wanted]) -> Wanted:
        async with asyncio.timeout(60):
            message = await self.frames.get()
        assert isinstance(message, kind), message
        return message

    async def begin(self, assignment: JobAssign) -> None:
        """Has an attempt started, up to its first text."""
        await self.send(assignment)
        await self.receive(JobStartedMessage)
        await self.receive(JobDelta)

    async def login(self) -> Register:
        async with asyncio.timeout(60):
            return await self.logins.get()

    async def _serve(self, socket: ServerConnection) -> None:
        nonce = secrets.token_bytes(32)
        hello = Hello(
            version=VERSION, coordinator_key=self.shown_key.hex(), server_nonce=nonce.hex(), store_id=self.store_id
        )
        await socket.send(encode(hello))
        try:
            register = decode_worker_message(await socket.recv())
        except ConnectionClosed:
            self.closed.put_nowait(socket.close_code)
            return
        assert isinstance(register, Register)
        self.registers.append(register)
        if self.refuse_logins:
            await socket.close(self.refuse_logins.pop(0), "token used" if register.token else "not today")
            return
        await socket.send(encode(self._ack(register, nonce)))
        self._socket = socket
        self.logins.put_nowait(register)
        await self._read(socket)

    def _ack(self, register: Register, nonce: bytes) -> RegisterAck:
        transcript = Transcript(
            coordinator_key=self.key,
            audience=self.url,
            worker_key=bytes.fromhex(register.provider_pubkey),
            server_nonce=nonce,
            worker_nonce=bytes.fromhex(register.worker_nonce),
            capabilities=bytes(register.capabilities),
            token=register.token,
        )
        assert transcript.worker_proven(register.sig)
        seed = hashlib.sha256(b"somebody else").digest() if self.forge_ack else self.seed
        return RegisterAck(
            worker_id="w1",
            sig=transcript.sign_as_coordinator(seed),
            limits=self.limits,
            skew_ms=0,
            status=self.status,
            resume=self.verdicts(register),
        )

    async def _read(self, socket: ServerConnection) -> None:
        try:
            async for frame in socket:
                message = decode_worker_message(frame)
                if type(message).__name__ == "HeartbeatMessage":
                    self.heartbeats.put_nowait(message)
                else:
                    self.frames.put_nowait(message)
        except ConnectionClosed:
            pass
        self.closed.put_nowait(socket.close_code)


@asynccontextmanager
async def running_coordinator(coordinator: FakeCoordinator) -> AsyncIterator[FakeCoordinator]:
    await coordinator.open()
    try:
        yield coordinator
    finally:
        await coordinator.close()


def job_id(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012d}"


def assign(number: int, prompt: str = "hi", *, epoch: int = 1, **params: Any) -> JobAssign:
    return JobAssign(
        job_id=job_id(number),
        epoch=epoch,
        job_type="LLM_INFER",
        privacy_class="PUBLIC",
        salt="5a" * 32,
        input=msgspec.Raw(msgspec.json.encode({"prompt": prompt})),
        params=msgspec.Raw(msgspec.json.encode(params)),
    )


class FakeProvider:
    """Answers with the words of the prompt. `turns`, if given, is what its streams have to wait for.

    After the word `hold` at its beginning it waits for `release`. It takes until `may_stop` to be idle.
    """

    def __init__(self, *, model: str = MODEL) -> None:
        self.name = "fake"
        self.models = (model,)
        self.job_types = ("LLM_INFER",)
        self.slots = 1024
        self.release = asyncio.Event()
        self.holding = asyncio.Event()
        self.stopping = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.requests: list[InferenceRequest] = []
        self.idle = 0
        self.closed = False
        self.turns: asyncio.Semaphore | None = None

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        async with self.turns or contextlib.nullcontext(), contextlib.aclosing(self._answer(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _answer(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        self.requests.append(request)
        yield StartChunk()
        words = request.messages[-1].content.split(" ")
        try:
            for number, word in enumerate(words):
                yield TextChunk(word, 1)
                if words[0] == "hold" and number == 0:
                    self.holding.set()
                    await self.release.wait()
            if words[0] == "fail":
                raise ProviderError("out of memory")
            if words[0] == "explode":
                raise ZeroDivisionError("boom")
            if words[0] != "break":
                usage = Usage(input_tokens=3, output_tokens=len(words))
                yield FinalChunk(finish_reason="stop", usage=usage, model=self.models[0])
        finally:
            self.stopping.set()
            await self.may_stop.wait()
            self.idle += 1
