"""How one of Dispatch's workers comes in: it says which key is its own, and a challenge shows whether that is so."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import msgspec

from cavvy import defaults, logs
from cavvy.coordinator.engine import CommandFailed, StoreUnavailable
from cavvy.coordinator.legacy_task import LegacyTask
from cavvy.coordinator.login import Closed, OnlineWorker, worker_id
from cavvy.core.canonical import sha256_hex
from cavvy.core.commands import RegisterWorker
from cavvy.core.ed25519 import is_valid_key
from cavvy.core.effects import Registered, ReplyCode
from cavvy.core.job import JobType
from cavvy.core.legacy_receipt import check_legacy, open_legacy
from cavvy.core.matching import Profile
from cavvy.core.worker_status import REVOKED_REASON
from cavvy.errors import ReceiptInvalid
from cavvy.protocol import legacy as wire
from cavvy.protocol.handshake import CloseCode

if TYPE_CHECKING:
    from cavvy.coordinator.legacy import LegacySession

__all__ = ["LegacyLogin"]

log = logs.get_logger()

_REFUSALS = {
    ReplyCode.WORKER_NATIVE: "this key joined with a token; start it with `cavvy worker`",
    ReplyCode.WORKER_REVOKED: REVOKED_REASON,
    ReplyCode.TOO_MANY_WORKERS: "too many keys have enrolled themselves here; join it with a token as `cavvy worker`",
}


class LegacyLogin:
    """One login. Raises Closed when the socket is to be refused."""

    def __init__(self, session: LegacySession) -> None:
        self._session = session

    async def run(self) -> None:
        register = await self._registration()
        ack = wire.LegacyRegisterAck(status="ok", worker_id=worker_id(register.provider_pubkey))
        await self._session.send(ack)
        await self._prove(register)
        await self._register(register)

    async def _registration(self) -> wire.LegacyRegister:
        try:
            async with asyncio.timeout(defaults.HANDSHAKE_TIMEOUT_S):
                while True:
                    frame = await self._session.frame(defaults.LEGACY_FIRST_FRAME_BYTES)
                    if isinstance(frame, wire.LegacyRegister):
                        if is_valid_key(bytes.fromhex(frame.provider_pubkey)):
                            return frame
                        await self._session.refuse_registration("provider_pubkey is not a sound Ed25519 key")
                    elif frame is not None:
                        await self._session.refuse("NOT_REGISTERED", "Register first.")
        except TimeoutError as error:
            raise Closed(CloseCode.SILENT, "no register frame came") from error

    async def _prove(self, register: wire.LegacyRegister) -> None:
        """Returns when this socket has shown that it speaks for the key."""
        challenge = LegacyTask(str(uuid.uuid4()))
        try:
            async with asyncio.timeout(defaults.LEGACY_PROOF_S):
                await self._session.send(challenge.as_challenge())
                while challenge.result is None or challenge.receipt is None:
                    frame = await self._session.frame(defaults.LEGACY_FIRST_FRAME_BYTES)
                    await self._take_of_stranger(frame, challenge, register.provider_pubkey)
        except TimeoutError as error:
            raise Closed(CloseCode.UNPROVEN, "the key was not proven in time") from error
        try:
            check_legacy(
                open_legacy(challenge.vouched),
                sha256_hex(challenge.result),
                job_id=challenge.ref.job_id,
                worker=register.provider_pubkey,
            )
        except ReceiptInvalid as error:
            raise Closed(CloseCode.UNPROVEN, "the receipt does not prove this key") from error

    async def _take_of_stranger(self, frame: wire.LegacyFrame | None, challenge: LegacyTask, key: str) -> None:
        """A frame of somebody who says that it speaks for `key`."""
        match frame:
            case wire.LegacyHeartbeat(provider_pubkey=said) if said == key:
                await self._session.send(wire.LegacyHeartbeatAck())
            case wire.LegacyComplete(job_id=job_id) if job_id == challenge.ref.job_id:
                challenge.take(frame)
            case wire.LegacyReceiptSubmit(job_id=job_id, receipt=receipt) if job_id == challenge.ref.job_id:
                challenge.take_receipt(receipt)
            case None:
                pass
            case wire.LegacyRegister():
                await self._session.refuse_registration("this socket has registered before")
            case _:
                await self._session.refuse("NOT_YOURS", "This socket has not proven its key: it was given no job.")

    async def _register(self, register: wire.LegacyRegister) -> None:
        profile = Profile(
            tenant="",
            job_types=frozenset(JobType(one) for one in register.capabilities),
            models=frozenset(),
            kind=register.provider_type,
            legacy=True,
        )
        self._session.worker, self._session.instance = register.provider_pubkey, uuid.uuid4().hex
        command = RegisterWorker(
            ref=self._session.engine.next_ref(),
            session=self._session.id,
            worker=self._session.worker,
            worker_id=worker_id(self._session.worker),
            name=f"dispatch-{self._session.worker[:8]}",
            instance=self._session.instance,
            profile=profile,
            slots=1,
        )
        try:
            registered = await self._session.engine.ask(command, command.ref)
        except (StoreUnavailable, CommandFailed) as error:
            raise Closed(CloseCode.UNAVAILABLE, "the coordinator cannot take workers now; try again") from error
        assert isinstance(registered, Registered)
        if registered.code is not ReplyCode.OK:
            raise Closed(CloseCode.NOT_ALLOWED, _REFUSALS[registered.code])
        self._session.heard_s = self._session.all.clock().mono_s
        self._session.show(
            OnlineWorker(
                profile=msgspec.structs.replace(profile, tenant=registered.tenant),
                status=self._session.status or registered.status,
                slots=1,
                free=1,
                version="dispatch",
                skew_ms=0,
            )
        )
        log.info("worker_online", worker=self._session.worker[:16], dialect="dispatch", session=self._session.id)
