"""One worker that speaks Dispatch's dialect: its frames become commands, effects become its frames.

Such a worker cannot answer a handshake. What it can do is sign a receipt over the id of a task it was given, so the
first thing it gets is a task whose id is fresh and random; its receipt over that id is the proof of its key. Before it
the socket is nobody's: it gets no work and displaces nobody. Afterwards identity is the socket, and of what it says
only what it was given over this very socket counts.

It does one job at a time, says nothing between taking and answering it, and cannot be told to stop: the coordinator
says for it that it has begun and that it goes on, for as long as anything is heard of it. One that does not answer soon
after its job has ended is disconnected: it comes back, free.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import msgspec

from cavvy import defaults
from cavvy.coordinator.legacy_login import LegacyLogin
from cavvy.coordinator.legacy_task import LegacyTask, pseudonym
from cavvy.coordinator.login import Closed, Sent
from cavvy.coordinator.session import Receive, Send, Session
from cavvy.core import javascript
from cavvy.core.commands import Heartbeat, JobCompleted, JobFailed, JobRejected, JobStarted
from cavvy.core.effects import Assign, Effect, FrameRefused, HeartbeatAnswered, StopAttempt, WorkerChanged
from cavvy.core.job import AttemptRef, FailureCode, RejectReason, WorkerStatus
from cavvy.protocol import legacy as wire
from cavvy.protocol.handshake import CloseCode

if TYPE_CHECKING:
    from cavvy.coordinator.engine import Engine
    from cavvy.coordinator.sessions import Sessions

__all__ = ["LegacySession"]


class LegacySession(Session):
    """One socket."""

    def __init__(
        self, sessions: Sessions, engine: Engine, session_id: int, receive: Receive, send: Send, address: str
    ) -> None:
        super().__init__(sessions, engine, session_id, receive, send, address)
        self._task: LegacyTask | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._overdue: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None

    async def answers(self, timeout_s: float) -> bool:
        """Whether it is there: it cannot be asked, so what counts is whether it was heard."""
        return self.all.clock().mono_s - self.heard_s <= defaults.LEGACY_SILENCE_S

    # -- the way in

    async def _log_in(self, audience: str) -> None:
        await LegacyLogin(self).run()
        self.proven()
        self._renew()
        self._leave_if_drained()

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
        for timer in (self._renewal, self._overdue, self._ending):
            if timer is not None:
                timer.cancel()

    # -- frames in

    async def frame(self, limit: int) -> wire.LegacyFrame | None:
        """The next frame; None for one that is none, which its sender is told."""
        text = await self.next_frame()
        if len(text) > limit:
            raise Closed(CloseCode.BAD_FRAME, "the frame is too long")
        return await self._decoded(text)

    async def _decoded(self, text: str) -> wire.LegacyFrame | None:
        self.heard_s = self.all.clock().mono_s
        try:
            return await self._beside(len(text), functools.partial(wire.decode_legacy_frame, text))
        except wire.RegistrationError as error:
            await self.refuse_registration(str(error))
        except wire.UnknownFrameError as error:
            await self.refuse("UNKNOWN_MSG", str(error))
        except ValueError as error:
            await self.refuse("PARSE_ERROR", str(error))
        return None

    async def _read_frames(self) -> None:
        while True:
            match await self._frame_of_worker():
                case wire.LegacyHeartbeat(provider_pubkey=key) if key == self.worker:
                    await self.send(wire.LegacyHeartbeatAck())
                case wire.LegacyHeartbeat():
                    await self.refuse("NOT_YOURS", "This socket speaks for another key.")
                case wire.LegacyComplete(job_id=job_id) as frame:
                    await self._take_output(self._own(job_id), frame)
                case wire.LegacyReceiptSubmit(job_id=job_id, receipt=receipt):
                    await self._take_receipt(self._own(job_id), receipt)
                case wire.LegacyReject(job_id=job_id, reason=reason):
                    await self._take_rejection(self._own(job_id), reason)
                case wire.LegacyRegister():
                    await self.refuse_registration("this socket has registered before")

    async def _frame_of_worker(self) -> wire.LegacyFrame | None:
        """As `frame`. What is longer than any good answer is not read: the job it can only be about has failed."""
        text = await self.next_frame()
        if len(text) <= defaults.MAX_LEGACY_FRAME_CHARS:
            return await self._decoded(text)
        if self._task is None:
            raise Closed(CloseCode.BAD_FRAME, "the frame is too long")
        self._fail_too_large(self._task)
        return None

    def _own(self, job_id: Any) -> LegacyTask | None:
        """What this socket was given, if that is what the frame is about."""
        return self._task if self._task is not None and self._task.ref.job_id == job_id else None

    async def _take_output(self, task: LegacyTask | None, frame: wire.LegacyComplete) -> None:
        if task is None:
            await self._refuse_foreign()
            return
        task.take(frame)
        if task.reading is None and task.result is not None:
            task.reading = await self.read_result(task.ref, task.result)
        if task.receipt is not None or task.reading is None or task.reading.failure is not None:
            self._complete(task)
        elif self._overdue is None:
            wait = asyncio.get_running_loop().call_later
            self._overdue = wait(defaults.LEGACY_RECEIPT_S, self._complete, task)

    async def _take_receipt(self, task: LegacyTask | None, receipt: bytes) -> None:
        if task is None:
            await self._refuse_foreign()
            return
        task.take_receipt(receipt)
        if task.result is not None:
            self._complete(task)

    async def _take_rejection(self, task: LegacyTask | None, reason: str) -> None:
        if task is None:
            await self._refuse_foreign()
            return
        self._done(task)
        said = javascript.mended(reason[: defaults.MAX_FAILURE_CHARS])
        self.engine.post(
            JobRejected(
                session=self.id,
                job_id=task.ref.job_id,
                epoch=task.ref.epoch,
                reason=RejectReason.UNSUPPORTED,
                message=f"Its worker did not take it: {said}" if said else "",
            )
        )

    def _complete(self, task: LegacyTask) -> None:
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
                reading=task.reading,
            )
        )

    def _fail_too_large(self, task: LegacyTask) -> None:
        self._done(task)
        self.engine.post(
            JobFailed(
                session=self.id,
                job_id=task.ref.job_id,
                epoch=task.ref.epoch,
                code=FailureCode.OUTPUT_TOO_LARGE,
                message=f"The output is longer than {defaults.MAX_OUTPUT_BYTES} bytes.",
                retryable=False,
            )
        )

    def _done(self, task: LegacyTask) -> None:
        """The worker has answered: it is free."""
        for timer in (self._overdue, self._ending):
            if timer is not None:
                timer.cancel()
        self._overdue = self._ending = None
        self._task, self.held = None, ()
        self._note_end(task.ref.job_id, task.ref.epoch)
        self._note(free=1)
        self._leave_if_drained()

    async def refuse_registration(self, why: str) -> None:
        await self.send(wire.LegacyRegisterAck(status="error", error=_said(why)))

    async def _refuse_foreign(self) -> None:
        await self.refuse("NOT_YOURS", "This socket was not given this job, or has answered it.")

    async def refuse(self, code: str, message: str) -> None:
        await self.send(wire.LegacyError(code=code, message=_said(message)))

    # -- frames out

    async def _deliver(self, effect: Effect) -> None:
        """Its dialect has words for little of what a worker is told."""
        match effect:
            case Assign():
                await self._deliver_assign(effect)
            case FrameRefused(code=code, message=text):
                await self.refuse(code, text)
            case WorkerChanged():
                self._leave_if_drained()
            case StopAttempt():
                self._end_soon(AttemptRef(effect.job_id, effect.epoch))
            case HeartbeatAnswered(lost=lost):
                for ref in lost:
                    self._end_soon(ref)

    def _end_soon(self, ref: AttemptRef) -> None:
        """Nobody waits for its answer any more; until it comes, the worker can be given nothing else."""
        if self._task is not None and self._task.ref == ref and self._ending is None:
            closed = Closed(CloseCode.SILENT, "it did not answer a job that had ended")
            self._ending = asyncio.get_running_loop().call_later(defaults.LEGACY_STOP_S, self._condemn, closed)

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
        self._task, self.held = LegacyTask(*ref), (ref,)
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


def _said(message: str) -> str:
    """A message that may hold what its reader sent, as text that can be sent."""
    said: str = javascript.mended(message[: defaults.MAX_NAME_CHARS])
    return said
