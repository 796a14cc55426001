"""One worker that speaks Dispatch's dialect: its frames become commands, effects become its frames.

Such a worker cannot answer a handshake. What it can do is sign a receipt over the id of a task it was given, so the
first thing it gets is a task whose id is fresh and random; its receipt over that id is the proof of its key. Before it
the socket is nobody's: it gets no work and displaces nobody. Afterwards identity is the socket, and of what it says
only what it was given over this very socket counts.

It does one job at a time, says nothing between taking and answering it, and cannot be told to stop: the coordinator
says for it that it has begun and that it goes on, for as long as anything is heard of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from cavvy import defaults, logs
from cavvy.coordinator.engine import CommandFailed, StoreUnavailable
from cavvy.coordinator.login import Closed, OnlineWorker, Sent, worker_id
from cavvy.coordinator.session import Receive, Send, Session
from cavvy.core import javascript, legacy_output
from cavvy.core.canonical import sha256_hex
from cavvy.core.commands import Heartbeat, JobCompleted, JobRejected, JobStarted, RegisterWorker
from cavvy.core.ed25519 import is_valid_key
from cavvy.core.effects import Assign, Effect, FrameRefused, Registered, ReplyCode, WorkerChanged
from cavvy.core.job import AttemptRef, JobType, PrivacyClass, RejectReason, WorkerStatus
from cavvy.core.legacy_receipt import check_legacy, open_legacy, seal_as_sent
from cavvy.core.matching import Profile
from cavvy.core.worker_status import REVOKED_REASON
from cavvy.errors import ReceiptInvalid
from cavvy.protocol import legacy as wire
from cavvy.protocol.handshake import CloseCode

if TYPE_CHECKING:
    from cavvy.coordinator.engine import Engine
    from cavvy.coordinator.sessions import Sessions

__all__ = ["LegacySession", "pseudonym"]

log = logs.get_logger()

_REFUSALS = {
    ReplyCode.WORKER_NATIVE: "this key joined with a token; start it with `cavvy worker`",
    ReplyCode.WORKER_REVOKED: REVOKED_REASON,
}
#: Stands for a receipt that is none, or does not belong to its output: it is refused like any that does not verify.
_NO_RECEIPT = b""


class _Task:
    """What this socket was given last and has not answered: a job's attempt, or the challenge.

    Its output and its receipt may come in two frames, in any order.
    """

    def __init__(self, job_id: str, epoch: int = 0) -> None:
        self.ref = AttemptRef(job_id, epoch)
        self.result: bytes | None = None
        self.receipt: bytes | None = None
        self.hash_said: Any = None

    def take(self, frame: wire.LegacyComplete) -> None:
        """Notes the first output; whatever comes after it is not asked for."""
        if self.result is not None:
            return
        self.result, self.hash_said = _written(frame.output), frame.output_hash
        if frame.receipt is not None or frame.receipt_signature is not None:
            self.receipt = _sealed(frame.receipt, frame.receipt_signature)

    @property
    def vouched(self) -> bytes:
        """The receipt of the output; none that could count if the output was said to have another hash."""
        said = self.result is not None and self.hash_said == sha256_hex(self.result)
        return self.receipt if self.receipt is not None and said else _NO_RECEIPT


class LegacySession(Session):
    """One socket."""

    def __init__(
        self, sessions: Sessions, engine: Engine, session_id: int, receive: Receive, send: Send, address: str
    ) -> None:
        super().__init__(sessions, engine, session_id, receive, send, address)
        self._task: _Task | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._overdue: asyncio.TimerHandle | None = None

    async def answers(self, timeout_s: float) -> bool:
        """Whether it is there: it cannot be asked, so what counts is whether it was heard."""
        return self.all.clock().mono_s - self.heard_s <= defaults.LEGACY_SILENCE_S

    # -- the way in

    async def _log_in(self, audience: str) -> None:
        register = await self._registration()
        await self.send(wire.LegacyRegisterAck(status="ok", worker_id=worker_id(register.provider_pubkey)))
        await self._prove(register)
        await self._register(register)
        self._renew()
        self._leave_if_drained()

    async def _registration(self) -> wire.LegacyRegister:
        try:
            async with asyncio.timeout(defaults.HANDSHAKE_TIMEOUT_S):
                while True:
                    frame = await self._frame(defaults.LEGACY_FIRST_FRAME_BYTES)
                    if isinstance(frame, wire.LegacyRegister):
                        if is_valid_key(bytes.fromhex(frame.provider_pubkey)):
                            return frame
                        await self._refuse_registration("provider_pubkey is not a sound Ed25519 key")
                    elif frame is not None:
                        await self._refuse("NOT_REGISTERED", "Register first.")
        except TimeoutError as error:
            raise Closed(CloseCode.SILENT, "no register frame came") from error

    async def _prove(self, register: wire.LegacyRegister) -> None:
        """Returns when this socket has shown that it speaks for the key."""
        challenge = _Task(str(uuid.uuid4()))
        try:
            async with asyncio.timeout(defaults.LEGACY_PROOF_S):
                await self.send(_challenge(challenge))
                while challenge.result is None or challenge.receipt is None:
                    frame = await self._frame(defaults.LEGACY_FIRST_FRAME_BYTES)
                    await self._take_of_stranger(frame, challenge, register.provider_pubkey)
        except TimeoutError as error:
            raise Closed(CloseCode.UNPROVEN, "the key was not proven in time") from error
        try:
            check_legacy(
                open_legacy(challenge.vouched),
                challenge.result,
                job_id=challenge.ref.job_id,
                worker=register.provider_pubkey,
            )
        except ReceiptInvalid as error:
            raise Closed(CloseCode.UNPROVEN, "the receipt does not prove this key") from error

    async def _take_of_stranger(self, frame: wire.LegacyFrame | None, challenge: _Task, key: str) -> None:
        """A frame of somebody who says that it speaks for `key`."""
        match frame:
            case wire.LegacyHeartbeat(provider_pubkey=said) if said == key:
                await self.send(wire.LegacyHeartbeatAck())
            case wire.LegacyComplete(job_id=job_id) if job_id == challenge.ref.job_id:
                challenge.take(frame)
            case wire.LegacyReceiptSubmit(receipt=receipt) if receipt.get("job_id") == challenge.ref.job_id:
                challenge.receipt = _sealed(receipt, frame.signature)
            case None:
                pass
            case wire.LegacyRegister():
                await self._refuse_registration("this socket has registered before")
            case _:
                await self._refuse("NOT_YOURS", "This socket has not proven its key: it was given no job.")

    async def _register(self, register: wire.LegacyRegister) -> None:
        profile = Profile(
            tenant="",
            job_types=frozenset(JobType(one) for one in register.capabilities),
            models=frozenset(),
            kind=register.provider_type,
            legacy=True,
        )
        self.worker, self.instance = register.provider_pubkey, uuid.uuid4().hex
        command = RegisterWorker(
            ref=self.engine.next_ref(),
            session=self.id,
            worker=self.worker,
            worker_id=worker_id(self.worker),
            name=f"dispatch-{self.worker[:8]}",
            instance=self.instance,
            profile=profile,
            slots=1,
        )
        try:
            registered = await self.engine.ask(command, command.ref)
        except (StoreUnavailable, CommandFailed) as error:
            raise Closed(CloseCode.UNAVAILABLE, "the coordinator cannot take workers now; try again") from error
        assert isinstance(registered, Registered)
        if registered.code is not ReplyCode.OK:
            raise Closed(CloseCode.NOT_ALLOWED, _REFUSALS[registered.code])
        self.heard_s = self.all.clock().mono_s
        self.show(
            OnlineWorker(
                profile=msgspec.structs.replace(profile, tenant=registered.tenant),
                status=self.status or registered.status,
                slots=1,
                free=1,
                version="dispatch",
                skew_ms=0,
            )
        )
        log.info("worker_online", worker=self.worker[:16], dialect="dispatch", session=self.id)

    # -- while it is here

    def _renew(self) -> None:
        """Says for the worker what it has, while it is heard of; closes the socket when it is not."""
        if self.all.clock().mono_s - self.heard_s > defaults.LEGACY_SILENCE_S:
            self._condemn(Closed(CloseCode.SILENT, "nothing was heard of it"))
            return
        self._beat()
        self._renewal = asyncio.get_running_loop().call_later(defaults.HEARTBEAT_S, self._renew)

    def _beat(self) -> None:
        free = 1 - len(self.held)
        self._stopping.beat(self.held, len(self.held))
        self._note(free=free, stopping=self._stopping.count)
        self.engine.post(Heartbeat(session=self.id, held=self.held, free=free))

    def _leave_if_drained(self) -> None:
        """It cannot be told to leave, but it ends when its socket does."""
        if self.info is not None and self.info.status is WorkerStatus.DRAINING and self._task is None:
            self._condemn(Closed(CloseCode.RESTART, "it was drained"))

    def _stop_timers(self) -> None:
        super()._stop_timers()
        for timer in (self._renewal, self._overdue):
            if timer is not None:
                timer.cancel()

    # -- frames in

    async def _frame(self, limit: int) -> wire.LegacyFrame | None:
        """The next frame; None for one that is none, which its sender is told."""
        text = await self.next_frame()
        if len(text) > limit:
            raise Closed(CloseCode.BAD_FRAME, "the frame is too long")
        self.heard_s = self.all.clock().mono_s
        try:
            return wire.decode_legacy_frame(text)
        except wire.RegistrationError as error:
            await self._refuse_registration(str(error))
        except wire.UnknownFrameError as error:
            await self._refuse("UNKNOWN_MSG", str(error))
        except ValueError as error:
            await self._refuse("PARSE_ERROR", str(error))
        return None

    async def _read_frames(self) -> None:
        while True:
            match await self._frame(defaults.MAX_FRAME_BYTES):
                case wire.LegacyHeartbeat(provider_pubkey=key) if key == self.worker:
                    await self.send(wire.LegacyHeartbeatAck())
                case wire.LegacyHeartbeat():
                    await self._refuse("NOT_YOURS", "This socket speaks for another key.")
                case wire.LegacyComplete(job_id=job_id) as frame:
                    await self._take_output(self._own(job_id), frame)
                case wire.LegacyReceiptSubmit(receipt=receipt, signature=signature):
                    await self._take_receipt(self._own(receipt.get("job_id")), receipt, signature)
                case wire.LegacyReject(job_id=job_id, reason=reason):
                    await self._take_rejection(self._own(job_id), reason)
                case wire.LegacyRegister():
                    await self._refuse_registration("this socket has registered before")

    def _own(self, job_id: Any) -> _Task | None:
        """What this socket was given, if that is what the frame is about."""
        return self._task if self._task is not None and self._task.ref.job_id == job_id else None

    async def _take_output(self, task: _Task | None, frame: wire.LegacyComplete) -> None:
        if task is None:
            await self._refuse_foreign()
            return
        task.take(frame)
        if task.receipt is not None or self._is_failure(task):
            self._complete(task)
        elif self._overdue is None:
            wait = asyncio.get_running_loop().call_later
            self._overdue = wait(defaults.LEGACY_RECEIPT_S, self._complete, task)

    async def _take_receipt(self, task: _Task | None, receipt: dict[str, Any], signature: Any) -> None:
        if task is None:
            await self._refuse_foreign()
            return
        if task.receipt is None:
            task.receipt = _sealed(receipt, signature)
        if task.result is not None:
            self._complete(task)

    async def _take_rejection(self, task: _Task | None, reason: str) -> None:
        if task is None:
            await self._refuse_foreign()
            return
        self._done(task)
        said = javascript.mended(reason)[: defaults.MAX_FAILURE_CHARS]
        self.engine.post(
            JobRejected(
                session=self.id,
                job_id=task.ref.job_id,
                epoch=task.ref.epoch,
                reason=RejectReason.UNSUPPORTED,
                message=f"Its worker did not take it: {said}" if said else "",
            )
        )

    def _is_failure(self, task: _Task) -> bool:
        """Whether the output says that there is none: that needs no receipt."""
        return legacy_output.judge(JobType.TASK, task.result or b"").failure is not None

    def _complete(self, task: _Task) -> None:
        """Hands over what came of the task, as it is; the core judges it."""
        self._done(task)
        self.engine.post(
            JobCompleted(
                session=self.id,
                job_id=task.ref.job_id,
                epoch=task.ref.epoch,
                result=task.result or b"",
                receipt=task.vouched,
                input_hash=None,
                params_hash=None,
            )
        )

    def _done(self, task: _Task) -> None:
        """The worker has answered: it is free."""
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        self._task, self.held = None, ()
        self._note_end(task.ref.job_id, task.ref.epoch)
        self._note(free=1)
        self._leave_if_drained()

    async def _refuse_registration(self, why: str) -> None:
        await self.send(wire.LegacyRegisterAck(status="error", error=why))

    async def _refuse_foreign(self) -> None:
        await self._refuse("NOT_YOURS", "This socket was not given this job, or has answered it.")

    async def _refuse(self, code: str, message: str) -> None:
        await self.send(wire.LegacyError(code=code, message=message))

    # -- frames out

    async def _deliver(self, effect: Effect) -> None:
        """Its dialect has words for little of what a worker is told."""
        match effect:
            case Assign():
                await self._deliver_assign(effect)
            case FrameRefused(code=code, message=text):
                await self._refuse(code, text)
            case WorkerChanged():
                self._leave_if_drained()

    async def _deliver_assign(self, effect: Assign) -> None:
        ref = AttemptRef(effect.job_id, effect.epoch)
        if self._task is not None:
            if self._task.ref != ref:  # else it has it already, which a core that was built anew did not know
                self._beat()
                self._undelivered(effect)
            return
        texts = await self._texts(effect)
        if texts is None or effect.policy is None or not self.engine.stands(self.id, *ref):
            self._undelivered(effect)
            return
        self._task, self.held = _Task(*ref), (ref,)
        self.all.sent[effect.job_id] = Sent(self.id, effect.epoch, True, None, None)
        self._note(free=0)
        await self.send(
            wire.LegacyAssign(
                job_id=effect.job_id,
                job_type=effect.job_type,
                payload=wire.payload_of(effect.job_type, texts[0], texts[1]),
                policy=effect.policy.value,
                privacy_class=effect.privacy_class,
                user_id=pseudonym(self.all.seed, self.worker, effect.tenant, effect.user_id),
            )
        )
        self.engine.post(JobStarted(session=self.id, job_id=effect.job_id, epoch=effect.epoch))

    async def send(self, message: Any) -> None:
        await self._transmit({"type": "websocket.send", "text": msgspec.json.encode(message).decode()})


def pseudonym(seed: bytes, worker: str, tenant: str, user_id: str) -> str:
    """What this worker is told of who asks: the same name for the same user, and another one than any other worker
    gets. Nobody without the coordinator's seed can tell whose it is.
    """
    named = msgspec.json.encode(["cavvy/pseudonym/v1", worker, tenant, user_id])
    return "user_" + hmac.new(seed, named, hashlib.sha256).hexdigest()[:20]


def _challenge(challenge: _Task) -> wire.LegacyAssign:
    return wire.LegacyAssign(
        job_id=challenge.ref.job_id,
        job_type=JobType.TASK.value,
        payload=wire.challenge_payload(),
        policy="CHEAP",
        privacy_class=PrivacyClass.PUBLIC.value,
        user_id=f"user_{uuid.uuid4().hex[:20]}",
    )


def _written(output: Any) -> bytes:
    """JSON.stringify(output); nothing for what is nested deeper than any reader likes."""
    try:
        return javascript.stringify(output)
    except ValueError:
        return b""


def _sealed(receipt: Any, signature: Any) -> bytes:
    try:
        return seal_as_sent(receipt, signature)
    except ValueError:
        return _NO_RECEIPT
