"""Every attempt of this worker: the core that decides, and the tasks, texts and frames that do what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from cavvy import defaults
from cavvy.core.job import AttemptRef, WorkerStatus
from cavvy.core.worker import WorkerCore
from cavvy.core.worker_messages import (
    AbortAttempt,
    Assignment,
    AttemptFailed,
    AttemptFinished,
    AttemptRefused,
    AttemptStarted,
    AttemptStopped,
    Connected,
    ConnectFailed,
    Disconnected,
    DrainReceived,
    GaveUp,
    Heard,
    Leave,
    LeaveRequested,
    ResendText,
    RunAttempt,
    SendComplete,
    StoreChanged,
    Tick,
    WorkerCommand,
)
from cavvy.logs import Logger, place
from cavvy.protocol.messages import (
    CoordinatorMessage,
    Drain,
    Limits,
    RegisterAck,
    StatusMessage,
    WorkerMessage,
    decode_coordinator_message,
    encode,
)
from cavvy.worker.clock import Clock
from cavvy.worker.frames import FRAMES, command_of, verdict_of
from cavvy.worker.runner import Ended, Runner
from cavvy.worker.text import AttemptText, TextFlusher

__all__ = ["Attempts"]


class _Running:
    __slots__ = ("aborted", "started_s", "task", "text")

    def __init__(self, task: asyncio.Task[None], text: AttemptText, started_s: float) -> None:
        self.task = task
        self.text = text
        self.started_s = started_s
        self.aborted = False

    def abort(self) -> None:
        """Asks it to stop; asking twice would interrupt the stopping."""
        if not self.aborted:
            self.aborted = True
            self.task.cancel()


class Attempts:
    """To be made inside a running loop. Between `connected` and `disconnected` frames go to `put`.

    `leave` is called once, when the worker was told to drain and nothing is left.
    """

    def __init__(self, slots: int, log: Logger, leave: Callable[[], None], clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._leave = leave
        self._loop = asyncio.get_running_loop()
        self._core = WorkerCore(slots)
        self._running: dict[AttemptRef, _Running] = {}
        self._flusher = TextFlusher(self._send)
        self._put: Callable[[str], None] | None = None
        self._runner: Runner | None = None
        self._limits = Limits()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0  # by the clock that goes on while the machine sleeps
        self._closed = False
        self._performers: dict[type, Callable[[Any], None]] = {
            RunAttempt: self._run,
            AbortAttempt: self._abort,
            GaveUp: self._tell_giving_up,
            ResendText: self._resend_text,
            **dict.fromkeys(FRAMES, self._send_frame),
            SendComplete: self._send_complete,
            Leave: lambda _: self._leave(),
        }

    @property
    def held(self) -> tuple[AttemptRef, ...]:
        return self._core.held

    @property
    def finished(self) -> tuple[AttemptRef, ...]:
        return self._core.finished

    def connected(self, ack: RegisterAck, runner: Runner, put: Callable[[str], None]) -> None:
        self._limits, self._runner, self._put = ack.limits, runner, put
        self._flusher.resume(ack.limits.max_frame_bytes)
        resume = tuple(verdict_of(entry) for entry in ack.resume)
        self._feed(Connected(heartbeat_s=ack.limits.heartbeat_s, lease_ttl_s=ack.limits.lease_ttl_s, resume=resume))
        if ack.status is WorkerStatus.DRAINING:
            self._drain()

    def disconnected(self) -> None:
        self._put = None
        self._flusher.pause()
        self._feed(Disconnected())

    def connect_failed(self, *, refused: bool) -> None:
        """`refused`: the machine answered that nobody listens there."""
        self._feed(ConnectFailed(refused=refused))

    @property
    def idle(self) -> bool:
        """Whether it holds nothing, and every provider that was told to stop has stopped."""
        return self._core.idle

    def store_changed(self) -> None:
        """The coordinator was restored from a backup: all that is held, and known of what ended, is void."""
        self._feed(StoreChanged())

    def heard(self) -> None:
        """The coordinator has given a sign of life that is no frame."""
        self._feed(Heard())

    def receive(self, frame: bytes) -> None:
        """One frame from the coordinator. Whatever is in it, this returns."""
        try:
            self._take(decode_coordinator_message(frame))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._log.warning("frame ignored", error=type(error).__name__, at=place(error))
        except Exception as error:  # noqa: BLE001 - one frame must not end the others' attempts
            self._log.error("frame failed", error=type(error).__name__)

    def _take(self, message: CoordinatorMessage) -> None:
        match message:
            case Drain():
                self._drain()
            case StatusMessage(status=status):
                self._log.info("status changed", status=status.value)
            case _:
                command = command_of(message)
                if command is not None:
                    self._feed(command)

    def _drain(self) -> None:
        self._log.info("draining", hint="it takes nothing new, and ends when what it runs has ended")
        self._feed(DrainReceived())

    def leave(self, within_s: float) -> None:
        """Takes nothing new; what runs has `within_s` to end, the rest is given back. May come again, with less."""
        self._feed(LeaveRequested(within_s=within_s))

    async def close(self) -> None:
        """Aborts what runs and waits for it, SHUTDOWN_S at most; unreported, so the coordinator grants it again."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [running.task for running in self._running.values()]
        for running in self._running.values():
            running.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=defaults.SHUTDOWN_S)

    def _feed(self, command: WorkerCommand) -> None:
        if self._closed:
            return
        for effect in self._core.handle(command, self._clock()):
            self._performers[type(effect)](effect)
        if self._timer is None or (self._core.wake_s is not None and self._core.wake_s < self._timer_s):
            self._arm()

    def _arm(self) -> None:
        """The timer is let come too early, which costs one tick, rather than set anew for each frame."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._core.wake_s is not None and not self._closed:
            self._timer_s = self._core.wake_s
            self._timer = self._loop.call_later(max(0.0, self._timer_s - self._clock()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._feed(Tick())

    # Attempts

    def _run(self, effect: RunAttempt) -> None:
        assignment = effect.assignment
        ref = assignment.ref
        text = AttemptText(ref, self._flusher)
        if self._runner is None:
            raise RuntimeError("assigned before the first login")
        task = self._loop.create_task(self._attempt(self._runner, assignment, text))
        self._running[ref] = _Running(task, text, self._loop.time())
        task.add_done_callback(partial(self._check_end, ref))

    async def _attempt(self, runner: Runner, assignment: Assignment, text: AttemptText) -> None:
        started = partial(self._started, assignment.ref)
        limit = self._limits.max_output_bytes
        self._ended(await runner.run(assignment, text.append, limit, text.think, started=started, alive=text.alive))

    def _started(self, ref: AttemptRef) -> None:
        """Only now: before it may have waited for its turn at the provider."""
        self._log.debug("job started", job_id=ref.job_id, epoch=ref.epoch)
        self._feed(AttemptStarted(ref=ref))

    def _check_end(self, ref: AttemptRef, task: asyncio.Task[None]) -> None:
        """The net under `_attempt`: it was cancelled before its first step, or has a bug."""
        if task.cancelled():
            self._ended(AttemptStopped(ref=ref))
        elif (error := task.exception()) is not None:
            self._log.error("attempt failed inside the worker", error=type(error).__name__)
            self._ended(AttemptFailed(ref=ref, code="worker_error", message=type(error).__name__, retryable=True))

    def _ended(self, ended: Ended) -> None:
        running = self._running.pop(ended.ref, None)
        if running is None:
            return
        self._flusher.flush(running.text)
        self._flusher.forget(running.text)
        self._feed(ended)
        self._log.info(
            "job ended",
            job_id=ended.ref.job_id,
            epoch=ended.ref.epoch,
            outcome=_outcome(ended),
            ms=round(1000 * (self._loop.time() - running.started_s), 1),
        )

    def _tell_giving_up(self, effect: GaveUp) -> None:
        hint = "the coordinator gives them to others; results that are ready are kept for it"
        self._log.warning("attempts stopped", unheard_s=round(effect.unheard_s, 1), jobs=len(effect.refs), hint=hint)

    def _abort(self, effect: AbortAttempt) -> None:
        running = self._running.get(effect.ref)
        if running is not None:
            running.abort()

    def _resend_text(self, effect: ResendText) -> None:
        running = self._running.get(effect.ref)
        if running is not None:
            running.text.rewind(effect.offset)

    # Frames

    def _send(self, message: WorkerMessage) -> None:
        if self._put is not None:
            self._put(encode(message))

    def _send_frame(self, effect: Any) -> None:
        self._send(FRAMES[type(effect)](effect))

    def _send_complete(self, effect: SendComplete) -> None:
        frame = encode(FRAMES[SendComplete](effect))
        size = len(frame) if frame.isascii() else len(frame.encode())
        if size > self._limits.max_frame_bytes:
            message = f"the result takes {size} bytes, a frame may have {self._limits.max_frame_bytes}"
            self._feed(AttemptFailed(ref=effect.ref, code="output_too_large", message=message, retryable=False))
        elif self._put is not None:
            self._put(frame)


def _outcome(ended: Ended) -> str:
    match ended:
        case AttemptFailed():
            return ended.code
        case AttemptFinished():
            return "completed"
        case AttemptRefused():
            return "rejected"
        case _:
            return "stopped"
