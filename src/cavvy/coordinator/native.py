"""One worker that speaks Cavvy's own protocol: its frames become commands (text goes straight to the hub), effects
become its frames. The pump asks the core once more before a grant is sent.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import msgspec

from cavvy import defaults
from cavvy.coordinator.login import Closed, Login, Sent
from cavvy.coordinator.session import Receive, Send, Session
from cavvy.coordinator.trust_codes import claim_of, no_result, trust_result
from cavvy.core.canonical import sha256_hex
from cavvy.core.commands import (
    Heartbeat,
    JobCompleted,
    JobFailed,
    JobRejected,
    JobStarted,
    JobStopped,
    Progress,
    SessionDraining,
)
from cavvy.core.effects import (
    Assign,
    CompletionAnswered,
    Effect,
    FrameRefused,
    HeartbeatAnswered,
    StopAttempt,
    TrustAnswered,
    Verdict,
    WorkerChanged,
)
from cavvy.core.job import AttemptRef, RejectReason, WorkerStatus
from cavvy.core.receipt import input_hash
from cavvy.protocol import messages as wire
from cavvy.protocol.handshake import CloseCode

if TYPE_CHECKING:
    from cavvy.coordinator.engine import Engine
    from cavvy.coordinator.sessions import Sessions

__all__ = ["NativeSession"]


class NativeSession(Session):
    """One socket."""

    def __init__(
        self, sessions: Sessions, engine: Engine, session_id: int, receive: Receive, send: Send, address: str = ""
    ) -> None:
        super().__init__(sessions, engine, session_id, receive, send, address)
        self._heard = asyncio.Event()
        self._alive: dict[str, int] = {}
        self._report: asyncio.TimerHandle | None = None

    async def answers(self, timeout_s: float) -> bool:
        """Whether this socket says anything within `timeout_s` of being asked, or is still being listened to."""
        self._heard.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self.send(wire.Ping())
                await self._heard.wait()
        except TimeoutError:
            return self.busy
        except OSError:
            return False
        return True

    # -- the way in

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

    async def _stay(self, pump: asyncio.Task[None]) -> None:
        await (self._read(pump) if self.info is not None else self._be_visited(pump))

    async def _be_visited(self, pump: asyncio.Task[None]) -> None:
        try:
            async with asyncio.timeout(defaults.VISIT_S):
                await self._read(pump)
        except TimeoutError as error:
            raise Closed(CloseCode.SILENT, "the visit was too long") from error

    # -- frames in

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
        result = bytes(message.result)
        reading = await self.read_result(AttemptRef(message.job_id, message.epoch), result)
        self.engine.post(
            JobCompleted(
                session=self.id,
                job_id=message.job_id,
                epoch=message.epoch,
                result=result,
                receipt=bytes(message.receipt),
                input_hash=input_hashed,
                params_hash=params_hashed,
                reading=reading,
            )
        )

    async def _stored_hashes(self, job_id: str) -> tuple[str | None, str | None]:
        stored = (await self.engine.store.inputs([job_id])).get(job_id)
        if stored is None:
            return None, None
        return input_hash(stored.salt, stored.input), sha256_hex(stored.params)

    # -- frames out

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

    async def send(self, message: wire.CoordinatorMessage) -> None:
        await self._transmit({"type": "websocket.send", "text": wire.encode(message)})
