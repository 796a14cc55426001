"""Login: a socket proves its key, becomes a session of the core, and learns what becomes of what it holds."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cavvy import defaults, logs
from cavvy.coordinator.engine import CommandFailed, StoreUnavailable
from cavvy.core.canonical import sha256_hex
from cavvy.core.commands import RegisterWorker
from cavvy.core.effects import Registered, ReplyCode, Resume, Verdict
from cavvy.core.job import JobType, WorkerStatus
from cavvy.core.matching import Profile
from cavvy.core.worker_status import REVOKED_REASON
from cavvy.protocol import messages as wire
from cavvy.protocol.handshake import CloseCode, Transcript

if TYPE_CHECKING:
    from cavvy.coordinator.native import NativeSession

__all__ = ["Closed", "Login", "OnlineWorker", "Sent", "worker_id"]

log = logs.get_logger()

_REFUSALS = {
    ReplyCode.TOKEN_REFUSED: "its token is unknown, used up or expired; join with a new `cavvy workers token` line",
    ReplyCode.WORKER_UNKNOWN: "its key is not enrolled; join with a `cavvy workers token` line",
    ReplyCode.WORKER_REVOKED: REVOKED_REASON,
}


class Closed(Exception):
    """This socket shall be closed with `code`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Sent(NamedTuple):
    """An attempt this coordinator sent out, and its own hashes of what it sent (None after a restart)."""

    session: int
    epoch: int
    started: bool
    input_hash: str | None
    params_hash: str | None


class OnlineWorker(msgspec.Struct, frozen=True, kw_only=True):
    """What a connected worker says of itself, and its status. `leaving`: it said that it is about to go.
    Before `cooling_until_ms` it gets no work. `stopping` slots still end what was stopped; `unanswered_stops` were not
    answered in time since it connected.
    """

    profile: Profile
    status: WorkerStatus
    slots: int
    free: int
    version: str
    skew_ms: int
    leaving: bool = False
    cooling_until_ms: int = 0
    stopping: int = 0
    unanswered_stops: int = 0


class Login:
    """One login. Raises Closed when the socket is to be refused."""

    def __init__(self, session: NativeSession) -> None:
        self._session = session

    async def run(self, audience: str) -> wire.RegisterAck:
        nonce = os.urandom(32)
        hello = wire.Hello(
            version=wire.VERSION,
            coordinator_key=self._session.all.key.hex(),
            server_nonce=nonce.hex(),
            store_id=self._session.engine.store_id,
        )
        await self._session.send(hello)
        register = await self._first_frame()
        transcript = Transcript(
            coordinator_key=self._session.all.key,
            audience=audience,
            worker_key=bytes.fromhex(register.provider_pubkey),
            server_nonce=nonce,
            worker_nonce=bytes.fromhex(register.worker_nonce),
            capabilities=bytes(register.capabilities),
            token=register.token,
        )
        if not transcript.worker_proven(register.sig):
            raise Closed(CloseCode.UNPROVEN, "the signature does not prove this key to this coordinator")
        try:
            capabilities = wire.decode_capabilities(register.capabilities)
        except msgspec.DecodeError as error:
            raise Closed(CloseCode.BAD_FRAME, f"capabilities: {error}") from error
        if capabilities.visits:
            return self._welcome(register, transcript)
        await self._make_room(register)
        registered = await self._register(register, capabilities)
        resume = [await self._resume_entry(entry) for entry in registered.resume]
        log.info(
            "worker_online", worker=register.provider_pubkey[:16], name=capabilities.name, session=self._session.id
        )
        return wire.RegisterAck(
            worker_id=worker_id(register.provider_pubkey),
            sig=transcript.sign_as_coordinator(self._session.all.seed),
            limits=wire.Limits(),
            skew_ms=self._session.info.skew_ms if self._session.info else 0,
            status=registered.status,
            resume=tuple(resume),
        )

    def _welcome(self, register: wire.Register, transcript: Transcript) -> wire.RegisterAck:
        """A visit: its key is proven, and nothing else comes of it."""
        self._session.worker = register.provider_pubkey
        return wire.RegisterAck(
            worker_id=worker_id(register.provider_pubkey),
            sig=transcript.sign_as_coordinator(self._session.all.seed),
            limits=wire.Limits(),
            skew_ms=register.time_ms - self._session.all.clock().wall_ms,
        )

    async def _first_frame(self) -> wire.Register:
        try:
            async with asyncio.timeout(defaults.HANDSHAKE_TIMEOUT_S):
                message = wire.decode_worker_message(await self._session.next_frame())
        except TimeoutError as error:
            raise Closed(CloseCode.SILENT, "no register frame came") from error
        except msgspec.DecodeError as error:
            raise Closed(CloseCode.BAD_FRAME, f"the first frame must be a register frame: {error}") from error
        if not isinstance(message, wire.Register):
            raise Closed(CloseCode.BAD_FRAME, "the first frame must be a register frame")
        return message

    async def _make_room(self, register: wire.Register) -> None:
        """The same process takes over its own socket; another one only if the old one is silent."""
        old = self._session.all.of_worker(register.provider_pubkey)
        if old is None or old.instance == register.instance:
            return
        if await old.answers(defaults.DISPLACE_PING_S):
            reason = "another process with this key is connected; give this one its own --data-dir"
            raise Closed(CloseCode.OTHER_INSTANCE, reason)

    async def _register(self, register: wire.Register, capabilities: wire.Capabilities) -> Registered:
        profile = Profile(
            tenant="",
            job_types=frozenset(JobType(one) for one in capabilities.job_types),
            models=frozenset(capabilities.models),
            kind=capabilities.kind,
            commands=capabilities.commands,
        )
        self._session.worker, self._session.instance = register.provider_pubkey, register.instance
        self._session.held = register.held
        ref = self._session.engine.next_ref()
        command = RegisterWorker(
            ref=ref,
            session=self._session.id,
            worker=self._session.worker,
            worker_id=worker_id(self._session.worker),
            name=capabilities.name,
            instance=self._session.instance,
            profile=profile,
            slots=capabilities.slots,
            held=register.held,
            finished=register.finished,
            token_hash=hashlib.sha256(register.token.encode()).digest() if register.token else None,
        )
        skew_ms = register.time_ms - self._session.all.clock().wall_ms
        try:
            registered = await self._session.engine.ask(command, ref)
        except StoreUnavailable as error:
            raise Closed(CloseCode.UNAVAILABLE, "the coordinator cannot take workers now; try again") from error
        except CommandFailed as error:
            raise Closed(CloseCode.FAILED, "this login failed at the coordinator; try again") from error
        assert isinstance(registered, Registered)
        if registered.code is not ReplyCode.OK:
            raise Closed(CloseCode.NOT_ALLOWED, _REFUSALS[registered.code])
        self._session.show(
            OnlineWorker(
                profile=msgspec.structs.replace(profile, tenant=registered.tenant),
                status=self._session.status or registered.status,
                slots=capabilities.slots,
                free=max(0, capabilities.slots - len(register.held)),
                version=capabilities.version,
                skew_ms=skew_ms,
            )
        )
        return registered

    async def _resume_entry(self, entry: Resume) -> wire.ResumeEntry:
        verdict, offset = entry.verdict, 0
        if verdict is Verdict.UNKNOWN:
            verdict = await self._session.stored_verdict(entry.job_id, entry.epoch)
        if verdict is Verdict.GO_ON and self._session.engine.stands(self._session.id, entry.job_id, entry.epoch):
            self._session.all.sent[entry.job_id] = Sent(self._session.id, entry.epoch, False, None, None)
            offset = self._session.all.hub.resume_offset(entry.job_id, entry.epoch)
        return wire.ResumeEntry(
            job_id=entry.job_id,
            epoch=entry.epoch,
            verdict=verdict.value,  # type: ignore[arg-type]  # it is not UNKNOWN any more
            offset=offset,
        )


def worker_id(worker_key: str) -> str:
    """A worker's short public id: the first 20 hex digits of SHA-256 of its key."""
    return "wrk_" + sha256_hex(bytes.fromhex(worker_key))[:20]
