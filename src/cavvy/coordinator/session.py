"""One worker's WebSocket, whatever it speaks: effects are queued for it, and what it has is known.

Effects leave through one ordered, bounded queue. The dialects (native.py, legacy.py) turn frames into commands and
effects into frames.
"""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from cavvy import defaults, logs
from cavvy.coordinator.engine import Engine
from cavvy.coordinator.login import Closed, OnlineWorker, Sent
from cavvy.coordinator.stopping_slots import StoppingSlots
from cavvy.core.commands import Command, Heartbeat, JobStarted, SessionResumed, Undelivered
from cavvy.core.effects import Assign, CloseSession, Effect, StopAttempt, StopUnanswered, WorkerChanged, WorkerCooled
from cavvy.core.job import AttemptRef, WorkerStatus
from cavvy.core.reading import Reading, read
from cavvy.protocol.handshake import CloseCode

if TYPE_CHECKING:
    from cavvy.coordinator.sessions import Sessions

__all__ = ["Receive", "Send", "Session"]

log = logs.get_logger()

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
T = TypeVar("T")


class Session(ABC):
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
        self.busy = False  # with a frame that takes long to read
        self._stopping = StoppingSlots()
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

    # -- what it has

    def resume_commands(self) -> list[Command]:
        if self.info is None:
            return []
        self._queue = deque(one for one in self._queue if not isinstance(one, Assign))
        resumed = SessionResumed(
            session=self.id,
            worker=self.worker,
            instance=self.instance,
            profile=self.info.profile,
            slots=self.info.slots,
            held=self._known_held(),
            draining=self.info.leaving,
        )
        started = [
            JobStarted(session=self.id, job_id=job_id, epoch=one.epoch)
            for job_id, one in self._sent().items()
            if one.started
        ]
        return [resumed, *started]

    def _sent(self) -> dict[str, Sent]:
        return {job_id: one for job_id, one in self.all.sent.items() if one.session == self.id}

    def _known_held(self) -> tuple[AttemptRef, ...]:
        """What it said last that it holds, and what it was sent since."""
        sent = (AttemptRef(job_id, one.epoch) for job_id, one in self._sent().items())
        return tuple(dict.fromkeys([*self.held, *sent]))

    # -- life

    async def run(self, audience: str) -> None:
        pump: asyncio.Task[None] | None = None
        try:
            await self._log_in(audience)
            pump = asyncio.create_task(self._pump())
            await self._stay(pump)
        except Closed as closed:
            await self._close(closed)
        except OSError:
            log.debug("socket_lost", session=self.id)
        finally:
            if pump is not None:
                pump.cancel()
            self._stop_timers()
            self.show(None)

    @abstractmethod
    async def _log_in(self, audience: str) -> None:
        """Returns when it is proven whose it is. Raises Closed when it is refused."""

    @abstractmethod
    async def answers(self, timeout_s: float) -> bool:
        """Whether it is still there; to know takes `timeout_s` at most."""

    @abstractmethod
    def _stop_timers(self) -> None:
        """It has ended: nothing comes of it any more."""

    # -- frames in

    async def _stay(self, pump: asyncio.Task[None]) -> None:
        """Until it goes, is to go, or cannot be reached."""
        await self._read(pump)

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

    @abstractmethod
    async def _read_frames(self) -> None:
        """Takes one frame after the other, for ever."""

    async def next_frame(self) -> str:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            raise Closed(0, "the worker closed")
        text = event.get("text")
        if text is None:
            raise Closed(CloseCode.BAD_FRAME, "frames are JSON text, not binary")
        return str(text)

    async def _beside(self, size: int, work: Callable[[], T]) -> T:
        """What pure `work` on so much (bytes or characters) gives. Of much, only this socket waits for it, so that its
        frames stay in order; and its worker, whose heartbeats wait behind this one, loses nothing by it.
        """
        if size <= defaults.ASIDE_BYTES:
            return work()
        working = self.all.aside.begin(work)
        self.busy = True
        try:
            while not (await asyncio.wait((working,), timeout=self._until_stand_in_s()))[0]:
                self._stand_in()
            return working.result()
        finally:
            self.busy = False
            working.cancel()

    def _until_stand_in_s(self) -> float:
        return max(0.0, self.heard_s + defaults.HEARTBEAT_S - self.all.clock().mono_s)

    def _stand_in(self) -> None:
        """Says for the worker what it has."""
        self.heard_s = self.all.clock().mono_s
        if self.info is not None:
            self.engine.post(Heartbeat(session=self.id, held=self._known_held(), free=self.info.free))

    async def read_result(self, ref: AttemptRef, result: bytes) -> Reading | None:
        """What a result of this attempt is by itself; None if nobody wants it."""
        form = self.engine.form_of(self.id, *ref)
        return None if form is None else await self._beside(len(result), functools.partial(read, result, form))

    # -- frames out

    async def _pump(self) -> None:
        while True:
            while self._queue:
                await self._deliver(self._queue.popleft())
            self._queued.clear()
            await self._queued.wait()

    @abstractmethod
    async def _deliver(self, effect: Effect) -> None:
        """Sends what the worker is to hear of it."""

    async def _texts(self, effect: Assign) -> tuple[bytes, bytes, bytes] | None:
        """Input, params and salt of what was granted, loaded if they did not come with it."""
        if effect.input is not None and effect.params is not None and effect.salt:
            return effect.input, effect.params, effect.salt
        stored = (await self.engine.store.inputs([effect.job_id])).get(effect.job_id)
        return None if stored is None else (stored.input, stored.params, stored.salt)

    def _undelivered(self, effect: Assign, code: str | None = None) -> None:
        command = Undelivered(session=self.id, job_id=effect.job_id, epoch=effect.epoch, code=code)
        self.engine.post(command)

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
