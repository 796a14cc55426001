"""One worker's WebSocket: frames become commands (text goes straight to the hub), effects become frames.

Effects leave through one ordered, bounded queue, whose pump asks the core once more before a grant is sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cavvy import defaults, logs
from cavvy.coordinator.engine import Engine
from cavvy.coordinator.login import Closed, Login, OnlineWorker, Sent
from cavvy.coordinator.stopping_slots import StoppingSlots
from cavvy.coordinator.trust_codes import claim_of, no_result, trust_result
from cavvy.core.canonical import sha256_hex
from cavvy.core.commands import (
    Command,
    Heartbeat,
    JobCompleted,
    JobFailed,
    JobRejected,
    JobStarted,
    JobStopped,
    Progress,
    SessionDraining,
    SessionResumed,
    Undelivered,
)
from cavvy.core.effects import (
    Assign,
    CloseSession,
    CompletionAnswered,
    Effect,
    FrameRefused,
    HeartbeatAnswered,
    StopAttempt,
    StopUnanswered,
    TrustAnswered,
    Verdict,
    WorkerChanged,
    WorkerCooled,
)
from cavvy.core.job import AttemptRef, RejectReason, WorkerStatus
from cavvy.core.receipt import input_hash
from cavvy.protocol import messages as wire
from cavvy.protocol.handshake import CloseCode

if TYPE_CHECKING:
    from cavvy.coordinator.sessions import Sessions

__all__ = ["Receive", "Send", "Session"]

log = logs.get_logger()

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class Session:
    """One socket."""

    def __init__(
        self, sessions: Sessions, engine: Engine, session_id: int, receive: Receive, send: Send, address: str = ""
    ) -> None:
        self.id = session_id
        self.address = address
        self.proven: Callable[[], None] = lambda: None
        self.worker = ""
        self.instance = ""
        self.info: OnlineWorker | None = None
        self.status: WorkerStatus | None = None
        self.all = sessions
        self.engine = engine
        self._receive = receive
        self._transmit = send
        self._queue: deque[Effect] = deque()
        self._queued = asyncio.Event()
        self.held: tuple[AttemptRef, ...] = ()
        self.heard_s = sessions.clock().mono_s
        self._alive: dict[str, int] = {}
        self._report: asyncio.TimerHandle | None = None
        self._stopping = StoppingSlots()
        self._heard = asyncio.Event()
        self._condemned: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()

    # -- effects in

    def put(self, effect: Effect) -> None:
        """Queues one effect; a socket that lets too many pile up is closed. A close overtakes whatever waits."""
        if isinstance(effect, CloseSession):
            self._condemn(Closed(effect.code, effect.reason))
        elif len(self._queue) >= defaults.SESSION_QUEUE:
            self._condemn(Closed(CloseCode.SLOW, "frames piled up"))
        elif isinstance(effect, WorkerCooled):
            self._note(cooling_until_ms=effect.until_ms)
        elif isinstance(effect, StopUnanswered):
            log.warning("stop_unanswered", worker=self.worker[:16], session=self.id, job_id=effect.job_id)
            self._note(unanswered_stops=self.info.unanswered_stops + 1 if self.info else 0)
        else:
            if isinstance(effect, WorkerChanged):
                self._note_status(effect.status)
            elif isinstance(effect, StopAttempt):
                self._stopping.told(AttemptRef(effect.job_id, effect.epoch))
                self._note(stopping=self._stopping.count)
            self._queue.append(effect)
            self._queued.set()

    def _note_status(self, status: WorkerStatus) -> None:
        """Its status may change before its login has made `info`."""
        self.status = status
        self._note(status=status)

    def show(self, info: OnlineWorker | None) -> None:
        """What is known of the worker from now on; None: it is not here."""
        before, self.info = self.info, info
        known = info or before
        if known is not None and info != before:
            self.all.watch.workers(known.profile.tenant)

    def _note(self, **what: Any) -> None:
        if self.info is not None:
            self.show(msgspec.structs.replace(self.info, **what))

    def _note_end(self, job_id: str, epoch: int) -> None:
        self._stopping.ended(AttemptRef(job_id, epoch))
        if self.info is not None and self.info.stopping != self._stopping.count:
            self._note(stopping=self._stopping.count)

    def _condemn(self, closed: Closed) -> None:
        if not self._condemned.done():
            self._condemned.set_result(closed)

    def resume_commands(self) -> list[Command]:
        if self.info is None:
            return []
        self._queue = deque(one for one in self._queue if not isinstance(one, Assign))
        mine = {job_id: one for job_id, one in self.all.sent.items() if one.session == self.id}
        held = dict.fromkeys([*self.held, *(AttemptRef(job_id, one.epoch) for job_id, one in mine.items())])
        resumed = SessionResumed(
            session=self.id,
            worker=self.worker,
            instance=self.instance,
            profile=self.info.profile,
            slots=self.info.slots,
            held=tuple(held),
            draining=self.info.leaving,
        )
        started = [
            JobStarted(session=self.id, job_id=job_id, epoch=one.epoch) for job_id, one in mine.items() if one.started
        ]
        return [resumed, *started]

    async def answers(self, timeout_s: float) -> bool:
        """Whether this socket says anything within `timeout_s` of being asked."""
        self._heard.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self.send(wire.Ping())
                await self._heard.wait()
        except (TimeoutError, OSError):
            return False
        return True

    # -- life

    async def run(self, audience: str) -> None:
        pump: asyncio.Task[None] | None = None
        try:
            await self._log_in(audience)
            pump = asyncio.create_task(self._pump())
            await (self._read(pump) if self.info is not None else self._be_visited(pump))
        except Closed as closed:
            await self._close(closed)
        except OSError:
            log.debug("socket_lost", session=self.id)
        finally:
            if pump is not None:
                pump.cancel()
            self._stop_timers()
            self.show(None)

    async def _log_in(self, audience: str) -> None:
        """Returns when it may be given work. Raises Closed when it is refused."""
        ack = await Login(self).run(audience)
        self.proven()
        async with asyncio.timeout(defaults.HANDSHAKE_TIMEOUT_S):
            await self.send(ack)

    def _stop_timers(self) -> None:
        if self._report is not None:
            self._report.cancel()

    async def stored_verdict(self, job_id: str, epoch: int) -> Verdict:
        """What became of a job that is not live: accepted if it was this very completion, else stale."""
        stored = await self.engine.store.accepted(job_id, epoch)
        accepted = stored is not None and stored[0] == self.worker and stored[1]
        return Verdict.ACCEPTED if accepted else Verdict.STALE

    # -- frames in

    async def _be_visited(self, pump: asyncio.Task[None]) -> None:
        try:
            async with asyncio.timeout(defaults.VISIT_S):
                await self._read(pump)
        except TimeoutError as error:
            raise Closed(CloseCode.SILENT, "the visit was too long") from error

    async def _read(self, pump: asyncio.Task[None]) -> None:
        reader = asyncio.create_task(self._read_frames())
        try:
            await asyncio.wait((reader, pump, self._condemned), return_when=asyncio.FIRST_COMPLETED)
            if self._condemned.done():
                raise self._condemned.result()
            for task in (reader, pump):
                if task.done():
                    task.result()
        finally:
            reader.cancel()

    async def _read_frames(self) -> None:
        while True:
            frame = await self.next_frame()
            self._heard.set()
            try:
                message = wire.decode_worker_message(frame)
            except msgspec.DecodeError as error:
                await self.send(wire.ErrorMessage(code="invalid_frame", message=str(error)))
            else:
                await self._take(message)

    async def next_frame(self) -> str:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise Closed(0, "the worker closed")
        text = event.get("text")
        if text is None:
            raise Closed(CloseCode.BAD_FRAME, "frames are JSON text, not binary")
        return str(text)

    async def _take(self, message: wire.WorkerMessage) -> None:
        match message:
            case wire.TrustClaim(code=code) if self.engine.shut is None:
                self.engine.post(claim_of(self, code))
            case wire.TrustClaim():
                await self.send(no_result())
            case _ if self.info is None:
                await self.send(wire.ErrorMessage(code="visiting", message="who visits takes no work"))
            case wire.JobDelta():
                await self._take_delta(message)
            case wire.JobStartedMessage(job_id=job_id, epoch=epoch):
                sent = self.all.sent.get(job_id)
                if sent is not None and sent.session == self.id and sent.epoch == epoch:
                    self.all.sent[job_id] = sent._replace(started=True)
                self.engine.post(JobStarted(session=self.id, job_id=job_id, epoch=epoch))
            case wire.JobComplete():
                self._note_end(message.job_id, message.epoch)
                await self._take_completion(message)
            case wire.HeartbeatMessage(held=held, free=free):
                self.held, self.heard_s = held, self.all.clock().mono_s
                self._stopping.beat(held, self.info.slots - free)
                self._note(free=free, stopping=self._stopping.count)
                self.engine.post(Heartbeat(session=self.id, held=held, free=free))
            case wire.JobFailedMessage():
                self._note_end(message.job_id, message.epoch)
                self.engine.post(
                    JobFailed(
                        session=self.id,
                        job_id=message.job_id,
                        epoch=message.epoch,
                        code=message.code,
                        message=message.message[: defaults.MAX_FAILURE_CHARS],
                        retryable=message.retryable,
                        usage=message.usage,
                    )
                )
            case wire.JobStoppedMessage():
                self._note_end(message.job_id, message.epoch)
                self.engine.post(
                    JobStopped(
                        session=self.id,
                        job_id=message.job_id,
                        epoch=message.epoch,
                        usage=message.usage,
                        stopped_ms=message.stopped_ms,
                    )
                )
            case wire.JobReject(job_id=job_id, epoch=epoch, reason=reason):
                if reason is RejectReason.DRAINING:
                    self._note(leaving=True)
                text = message.message[: defaults.MAX_FAILURE_CHARS]
                self.engine.post(JobRejected(session=self.id, job_id=job_id, epoch=epoch, reason=reason, message=text))
            case wire.Draining():
                self._note(leaving=True)
                self.engine.post(SessionDraining(session=self.id))
            case wire.Register():
                await self.send(wire.ErrorMessage(code="already_registered", message="register comes once"))

    async def _take_delta(self, message: wire.JobDelta) -> None:
        sent = self.all.sent.get(message.job_id)
        if sent is None or sent.session != self.id or sent.epoch != message.epoch:
            return
        self._note_life(message.job_id, message.epoch)
        if message.kind == "reasoning":
            self.all.hub.thought(message.job_id, message.epoch, message.text)
            return
        refusal = self.all.hub.delta(message.job_id, message.epoch, message.offset, message.text)
        if refusal is not None:
            error = wire.ErrorMessage(code="delta_refused", message=refusal, job_id=message.job_id, epoch=message.epoch)
            await self.send(error)

    def _note_life(self, job_id: str, epoch: int) -> None:
        """Text, reasoning or a delta of nothing: the core hears of it once a second, not of each."""
        self._alive[job_id] = epoch
        if self._report is None:
            self._report = asyncio.get_running_loop().call_later(defaults.PROGRESS_S, self._report_life)

    def _report_life(self) -> None:
        refs = tuple(AttemptRef(job_id, epoch) for job_id, epoch in self._alive.items())
        self._alive, self._report = {}, None
        self.engine.post(Progress(session=self.id, refs=refs))

    async def _take_completion(self, message: wire.JobComplete) -> None:
        sent = self.all.sent.get(message.job_id)
        if sent is None or sent.epoch != message.epoch or sent.input_hash is None:
            input_hashed, params_hashed = await self._stored_hashes(message.job_id)
        else:
            input_hashed, params_hashed = sent.input_hash, sent.params_hash
        self.engine.post(
            JobCompleted(
                session=self.id,
                job_id=message.job_id,
                epoch=message.epoch,
                result=bytes(message.result),
                receipt=bytes(message.receipt),
                input_hash=input_hashed,
                params_hash=params_hashed,
            )
        )

    async def _stored_hashes(self, job_id: str) -> tuple[str | None, str | None]:
        stored = (await self.engine.store.inputs([job_id])).get(job_id)
        if stored is None:
            return None, None
        return input_hash(stored.salt, stored.input), sha256_hex(stored.params)

    # -- frames out

    async def _pump(self) -> None:
        while True:
            while self._queue:
                await self._deliver(self._queue.popleft())
            self._queued.clear()
            await self._queued.wait()

    async def _deliver(self, effect: Effect) -> None:
        match effect:
            case Assign():
                await self._deliver_assign(effect)
            case CompletionAnswered(job_id=job_id, epoch=epoch, verdict=verdict):
                if verdict is Verdict.UNKNOWN:
                    verdict = await self.stored_verdict(job_id, epoch)
                word: Literal["accepted", "stale"] = "accepted" if verdict is Verdict.ACCEPTED else "stale"
                await self.send(wire.CompleteAck(job_id=job_id, epoch=epoch, verdict=word))
            case HeartbeatAnswered(lost=lost):
                await self.send(wire.HeartbeatAck(lost=lost))
            case StopAttempt(job_id=job_id, epoch=epoch, reason=reason):
                await self.send(wire.JobCancel(job_id=job_id, epoch=epoch, reason=reason))
            case WorkerChanged(status=status):
                await self.send(wire.Drain() if status is WorkerStatus.DRAINING else wire.StatusMessage(status=status))
            case FrameRefused(code=code, message=text, job_id=job_id, epoch=epoch):
                error = wire.ErrorMessage(code=code, message=text, job_id=job_id, epoch=epoch)
                await self.send(error)
            case TrustAnswered():
                await self.send(trust_result(effect))
            case _:
                raise AssertionError(f"no frame for {type(effect).__name__}")

    async def _deliver_assign(self, effect: Assign) -> None:
        """Loads what is missing, asks the core once more, sends. What cannot be sent goes back."""
        texts = await self._texts(effect)
        if texts is None:
            return self._undelivered(effect)
        body, params, salt = texts
        frame = wire.encode(
            wire.JobAssign(
                job_id=effect.job_id,
                epoch=effect.epoch,
                job_type=effect.job_type,
                privacy_class=effect.privacy_class,
                payment_ref=effect.payment_ref,
                salt=salt.hex(),
                input=msgspec.Raw(body),
                params=msgspec.Raw(params),
            )
        )
        if not self.engine.stands(self.id, effect.job_id, effect.epoch):
            return self._undelivered(effect)
        if len(frame) > defaults.MAX_FRAME_BYTES // 4 and len(frame.encode()) > defaults.MAX_FRAME_BYTES:
            return self._undelivered(effect, code="input_too_large")
        hashes = input_hash(salt, body), sha256_hex(params)
        self.all.sent[effect.job_id] = Sent(self.id, effect.epoch, False, *hashes)
        await self._transmit({"type": "websocket.send", "text": frame})
        return None

    async def _texts(self, effect: Assign) -> tuple[bytes, bytes, bytes] | None:
        """Input, params and salt of what was granted, loaded if they did not come with it."""
        if effect.input is not None and effect.params is not None and effect.salt:
            return effect.input, effect.params, effect.salt
        stored = (await self.engine.store.inputs([effect.job_id])).get(effect.job_id)
        return None if stored is None else (stored.input, stored.params, stored.salt)

    def _undelivered(self, effect: Assign, code: str | None = None) -> None:
        command = Undelivered(session=self.id, job_id=effect.job_id, epoch=effect.epoch, code=code)
        self.engine.post(command)

    async def send(self, message: wire.CoordinatorMessage) -> None:
        await self._transmit({"type": "websocket.send", "text": wire.encode(message)})

    async def _close(self, closed: Closed) -> None:
        if closed.code:
            reason = "a frame that cannot be one" if closed.code == CloseCode.BAD_FRAME else closed.reason
            log.info("worker_closed", worker=self.worker[:16], session=self.id, code=closed.code, reason=reason)
            try:
                async with asyncio.timeout(defaults.SOCKET_CLOSE_S):
                    message = {"type": "websocket.close", "code": closed.code, "reason": closed.reason[:120]}
                    await self._transmit(message)
            except (OSError, RuntimeError):
                log.debug("socket_was_gone", session=self.id)
