"""A worker made of hand-made frames over one WebSocket: honest by itself, and as wrong as a test asks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import Any, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cavvy.core.canonical import canonical_flat, sha256_hex
from cavvy.core.ed25519 import public_key
from cavvy.core.job import AttemptRef
from cavvy.core.receipt import ReceiptPayload, input_hash, seal
from cavvy.core.results import Result
from cavvy.core.writes import Usage
from cavvy.protocol.handshake import Transcript
from cavvy.protocol.messages import (
    Capabilities,
    CompleteAck,
    ErrorMessage,
    HeartbeatAck,
    HeartbeatMessage,
    Hello,
    JobAssign,
    JobComplete,
    JobDelta,
    JobStartedMessage,
    Ping,
    Register,
    RegisterAck,
    TrustClaim,
    TrustResult,
    WorkerMessage,
    decode_coordinator_message,
    encode,
)
from cavvy.testing import LiveStack

__all__ = ["RawWorker"]

PATIENCE_S = 60.0
NONCE = b"\x17" * 32

Wanted = TypeVar("Wanted")


class RawWorker:
    """One key, at most one socket at a time. It serves one model, by default one nobody else serves.

    Nothing is sent by itself, not even a heartbeat.
    """

    def __init__(self, stack: LiveStack, name: str, *, model: str | None = None, instance: str = "1") -> None:
        self.stack = stack
        self.name = name
        self.model = model or name
        self.seed = hashlib.sha256(name.encode()).digest()
        self.key = public_key(self.seed).hex()
        self.instance = instance
        self.capabilities = msgspec.json.encode(
            Capabilities(name=name, slots=1, job_types=("LLM_INFER",), models=(self.model,), version="raw")
        )
        self._hello: Hello | None = None
        self._socket: ClientConnection | None = None

    @property
    def url(self) -> str:
        """The audience an honest worker signs for."""
        return self.stack.server.url.replace("http", "ws")

    @property
    def coordinator_key(self) -> str:
        assert self._hello is not None
        return self._hello.coordinator_key

    # -- coming in

    async def open(self, path: str = "/v1/workers/connect", **how: Any) -> Hello:
        """A new socket and the coordinator's first frame; `how` goes to `connect`."""
        self._socket = await connect(
            f"{self.url}{path}", compression=None, proxy=None, max_size=None, close_timeout=1, **how
        )
        self._hello = await self.receive(Hello)
        return self._hello

    async def token(self, key: str | None = None, **options: bool) -> str:
        """A fresh enrolment token, made with this key or the admin's."""
        headers = {"Authorization": f"Bearer {key or self.stack.key}"}
        token = (await self.stack.http.post("/v1/worker-tokens", json=options, headers=headers)).json()["token"]
        assert isinstance(token, str)
        return token

    def registration(
        self,
        *,
        token: str | None = None,
        held: tuple[AttemptRef, ...] = (),
        finished: tuple[AttemptRef, ...] = (),
        signed_for: dict[str, Any] | None = None,
    ) -> Register:
        """The right answer to this socket's hello; `signed_for` replaces parts of the transcript that is signed."""
        assert self._hello is not None
        parts: dict[str, Any] = {
            "coordinator_key": bytes.fromhex(self._hello.coordinator_key),
            "audience": self.url,
            "worker_key": bytes.fromhex(self.key),
            "server_nonce": bytes.fromhex(self._hello.server_nonce),
            "worker_nonce": NONCE,
            "capabilities": self.capabilities,
            "token": token,
        }
        return Register(
            provider_pubkey=self.key,
            worker_nonce=NONCE.hex(),
            instance=self.instance,
            capabilities=msgspec.Raw(self.capabilities),
            sig=Transcript(**(parts | (signed_for or {}))).sign_as_worker(self.seed),
            time_ms=0,
            token=token,
            held=held,
            finished=finished,
        )

    def changed_registration(self, **fields: Any) -> str:
        """The right registration with fields replaced after it was signed."""
        return msgspec.json.encode(msgspec.json.decode(encode(self.registration())) | fields).decode()

    async def join(self, key: str | None = None, **options: bool) -> RegisterAck:
        """Comes in for the first time, with a fresh token; see `token`."""
        token = await self.token(key, **options)
        await self.open()
        await self.send(self.registration(token=token))
        return await self.receive(RegisterAck)

    async def come_back(self, **what: Any) -> RegisterAck:
        """Comes in again on a new socket; see `registration`."""
        await self.open()
        await self.send(self.registration(**what))
        return await self.receive(RegisterAck)

    async def visit(self) -> RegisterAck:
        """Comes in only to say something."""
        offer = msgspec.json.decode(self.capabilities, type=Capabilities)
        self.capabilities = msgspec.json.encode(msgspec.structs.replace(offer, visits=True))
        return await self.come_back()

    async def claim(self, code: str) -> TrustResult:
        """Claims a code on its socket; what became of it."""
        await self.send(TrustClaim(code=code))
        return await self.receive(TrustResult)

    # -- frames

    async def send(self, frame: WorkerMessage | str | bytes, *, text: bool | None = None) -> None:
        """A message; or exactly these characters or bytes (`text=True` sends bytes as a text frame)."""
        assert self._socket is not None
        await self._socket.send(frame if isinstance(frame, str | bytes) else encode(frame), text=text)

    async def receive(self, kind: type[Wanted]) -> Wanted:
        """The next frame, which must be of this kind."""
        assert self._socket is not None
        async with asyncio.timeout(PATIENCE_S):
            message = decode_coordinator_message(await self._socket.recv())
        assert isinstance(message, kind), message
        return message

    async def close_code(self) -> int | None:
        """The code the coordinator closes with (1006: none); frames before it are passed over, see `close_reason`."""
        assert self._socket is not None
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self._socket.recv()
        return self._socket.close_code

    @property
    def close_reason(self) -> str:
        assert self._socket is not None
        return self._socket.close_reason or ""

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def beat(self, *held: AttemptRef, free: int = 1) -> HeartbeatAck:
        """A heartbeat and its answer."""
        await self.send(HeartbeatMessage(held=held, free=free))
        return await self.receive(HeartbeatAck)

    async def refusal(self) -> str:
        """The code of the `error` frame that comes next."""
        return (await self.receive(ErrorMessage)).code

    async def pinged(self) -> None:
        await self.receive(Ping)

    # -- jobs

    async def submit(self, prompt: str = "hi") -> str:
        """A job only this worker can run; its id."""
        answer = await self.stack.http.post("/v1/jobs", json={"prompt": prompt, "model": self.model})
        return str(answer.json()["id"])

    async def granted(self, prompt: str = "hi") -> JobAssign:
        """A new job, assigned to this worker."""
        job_id = await self.submit(prompt)
        grant = await self.receive(JobAssign)
        assert grant.job_id == job_id
        return grant

    async def assigned_next(self, job_id: str) -> JobAssign:
        """The next assignment of this job; answers to heartbeats before it are passed over."""
        assert self._socket is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = decode_coordinator_message(await self._socket.recv())
                if isinstance(message, JobAssign) and message.job_id == job_id:
                    return message
                assert isinstance(message, HeartbeatAck), message

    async def start(self, grant: JobAssign, *pieces: str) -> None:
        """Says that it has begun, and sends the text of `pieces`."""
        await self.send(JobStartedMessage(job_id=grant.job_id, epoch=grant.epoch))
        offset = 0
        for piece in pieces:
            await self.send(JobDelta(job_id=grant.job_id, epoch=grant.epoch, offset=offset, text=piece))
            offset += len(piece)

    async def think(self, grant: JobAssign, text: str) -> None:
        await self.send(JobDelta(job_id=grant.job_id, epoch=grant.epoch, offset=0, text=text, kind="reasoning"))

    def ref(self, grant: JobAssign) -> AttemptRef:
        return AttemptRef(grant.job_id, grant.epoch)

    def completion(self, grant: JobAssign, text: str = "done", **wrong: Any) -> JobComplete:
        """A result with its receipt; `wrong` replaces fields of the payload before it is signed."""
        result = canonical_flat(Result(text=text, model=self.model, finish_reason="stop"))
        right: dict[str, Any] = {
            "v": 2,
            "coordinator": self.coordinator_key,
            "job_id": grant.job_id,
            "provider_pubkey": self.key,
            "attempt": grant.epoch,
            "status": "completed",
            "input_hash": input_hash(bytes.fromhex(grant.salt), bytes(grant.input)),
            "output_hash": sha256_hex(result),
            "params_hash": sha256_hex(bytes(grant.params)),
            "model": self.model,
            "privacy_class": grant.privacy_class,
            "started_at": "2026-01-01T00:00:00.000Z",
            "completed_at": "2026-01-01T00:00:01.000Z",
            "usage": Usage(input_tokens=1, output_tokens=1),
            "payment_ref": None,
        }
        receipt = seal(ReceiptPayload(**(right | wrong)), self.seed)
        return JobComplete(
            job_id=grant.job_id, epoch=grant.epoch, result=msgspec.Raw(result), receipt=msgspec.Raw(receipt)
        )

    async def complete(self, grant: JobAssign, text: str = "done") -> str:
        """Delivers an honest result; the coordinator's verdict."""
        await self.send(self.completion(grant, text))
        return (await self.receive(CompleteAck)).verdict

    async def job(self, job_id: str) -> dict[str, Any]:
        """The job as the API shows it."""
        shown = (await self.stack.http.get(f"/v1/jobs/{job_id}")).json()
        assert isinstance(shown, dict)
        return shown
