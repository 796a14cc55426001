"""The workers of a simulation: the real agent and core, a provider that takes its time, in processes that can die."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextvars import ContextVar
from pathlib import Path
from random import Random
from typing import Any

import structlog

from cavvy import defaults
from cavvy.core.job import AttemptRef, JobType
from cavvy.core.worker_messages import Assignment
from cavvy.core.writes import Usage
from cavvy.errors import ProviderError, WorkerRefused
from cavvy.providers.base import (
    Chunk,
    FinalChunk,
    InferenceRequest,
    StartChunk,
    TaskAnswer,
    TaskRequest,
    TextChunk,
)
from cavvy.tasks.built_in import run_task
from cavvy.testing.simulation.coordinator import SimulatedCoordinator
from cavvy.testing.simulation.dispatched import Hand
from cavvy.testing.simulation.history import Call, History
from cavvy.testing.simulation.network import Link
from cavvy.worker.agent import Worker
from cavvy.worker.identity import Identity, Membership, parse_join
from cavvy.worker.runner import Ended, Runner

__all__ = ["SimulatedRunner", "SimulatedWorker", "dialling"]

#: How late the watchdog may be seen to act; how long one try to connect may take.
SLACK_S = 1.0
TRY_S = defaults.RECONNECT_CAP_S + 2 * defaults.HANDSHAKE_TIMEOUT_S

_attempt: ContextVar[AttemptRef] = ContextVar("attempt")
_dialler: ContextVar[SimulatedWorker] = ContextVar("dialler")


class SimulatedRunner(Runner):
    """The runner, and the provider is told for which attempt it is called."""

    async def run(self, assignment: Assignment, *given: Any, **more: Any) -> Ended:
        _attempt.set(assignment.ref)
        return await super().run(assignment, *given, **more)


class _Provider:
    """Answers with a text of its own for each call, in a few pieces with pauses; fails and dawdles by chance."""

    name = "simulated"
    models = ("m",)
    job_types = ("LLM_INFER",)
    slots = 1024

    def __init__(self, worker: SimulatedWorker, process: int) -> None:
        self.slots = worker.slots
        self._worker = worker
        self._process = process
        self._calls = 0

    async def open(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to end."""

    async def stream(self, _: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        worker, dice = self._worker, self._worker.dice
        self._calls += 1
        text = f"{worker.name}.{self._process}.{self._calls}"
        async with self._called(text):
            yield StartChunk()
            pieces = dice.randint(1, 4)
            for index in range(pieces):
                await self._work()
                yield TextChunk(text[index * len(text) // pieces : (index + 1) * len(text) // pieces], 1)
            yield FinalChunk(finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=pieces), model="m")

    async def run_task(self, request: TaskRequest) -> TaskAnswer:
        """The built-in ones, without their threads."""
        async with self._called(""):
            await self._work()
            done = run_task(request.task_type, request.input)
            return TaskAnswer(result=done.result, model=done.model, usage=Usage())

    async def _work(self) -> None:
        worker, dice = self._worker, self._worker.dice
        await asyncio.sleep(dice.expovariate(1 / worker.piece_s))
        if dice.random() < worker.hangs:
            await asyncio.Future()
        if dice.random() < worker.fails:
            raise ProviderError("the model broke")

    @contextlib.asynccontextmanager
    async def _called(self, text: str) -> AsyncIterator[None]:
        worker, dice = self._worker, self._worker.dice
        call = Call(_attempt.get(), worker.key, self._process, text)
        worker.history.note(worker.now_s, f"{worker.name} calls its provider for {call.ref.job_id} {call.ref.epoch}")
        worker.history.call_began(call, worker.slots)
        try:
            yield
        finally:
            worker.history.call_stopping(call)
            await _uninterrupted(asyncio.sleep(dice.choice((0.0, 0.01, worker.stops_within_s))))
            worker.history.call_ended(call)


async def _uninterrupted(work: Any) -> None:
    """A provider that is stopping is not stopped faster by being asked again."""
    with contextlib.suppress(asyncio.CancelledError):
        await work


class _Home:
    """A worker's directory, kept in memory: it outlives the worker's processes."""

    key_path = Path("worker.key")

    def __init__(self, seed: bytes) -> None:
        self._identity = Identity.from_seed(seed)
        self._membership: Membership | None = None

    def identity(self) -> Identity:
        return self._identity

    def membership(self) -> Membership | None:
        return self._membership

    def remember(self, membership: Membership) -> None:
        self._membership = membership


class SimulatedWorker:
    """One machine with a worker on it, which starts again by itself."""

    def __init__(
        self,
        name: str,
        slots: int,
        history: History,
        dice: Random,
        coordinator: SimulatedCoordinator,
        join: str,
        *,
        tasks: bool = False,
    ) -> None:
        self.name = name
        self._tasks = tasks
        self.slots = slots
        self.history = history
        self.dice = dice
        self.piece_s = 0.5
        self.fails = 0.0
        self.hangs = 0.0
        self.heard_s = -math.inf
        self.refused_s = -math.inf
        self.stops_within_s = 0.5
        self.down_s = (0.1, 20.0)
        self.unreachable_until_s = 0.0
        self.link: Link | None = None
        self._coordinator = coordinator
        self._join = join
        self._home = _Home(dice.randbytes(32))
        job_types = {JobType.LLM_INFER, JobType.TASK} if tasks else {JobType.LLM_INFER}
        history.enlisted(self.key, Hand(job_types=frozenset(job_types)))
        self._processes = 0
        self._agent: Worker | None = None
        self._life: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        return self._home.identity().key

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def start(self) -> None:
        self._life = asyncio.get_running_loop().create_task(self._live())

    async def _live(self) -> None:
        _dialler.set(self)
        while True:
            self._processes += 1
            self.history.note(self.now_s, f"{self.name} starts, process {self._processes}")
            self._agent = Worker(
                home=self._home,  # type: ignore[arg-type]
                providers=[provider := _Provider(self, self._processes)],
                tasks=provider if self._tasks else None,
                slots=self.slots,
                name=self.name,
                join=parse_join(self._join) if self._home.membership() is None else None,
                log=structlog.get_logger(),
                clock=asyncio.get_running_loop().time,
            )
            self._running = asyncio.get_running_loop().create_task(self._agent.run())
            try:
                await asyncio.wait((self._running,))
                if not self._running.cancelled() and (error := self._running.exception()) is not None:
                    self.history.note(self.now_s, f"{self.name} ended: {error}")
                    if not isinstance(error, WorkerRefused):
                        self.history.broken("worker", f"{self.name} died of {error!r}")
            finally:
                self.link = None
            await asyncio.sleep(self.dice.uniform(*self.down_s))

    def kill(self) -> None:
        """kill -9: what it ran is gone, and its kernel closes the connection."""
        if self._running is not None and not self._running.done() and self._agent is not None:
            self.history.note(self.now_s, f"{self.name} is killed")
            if self.link is not None:
                self.link.vanish(by_worker=True)
            self._running.cancel()

    def drain(self, within_s: float) -> None:
        """TERM."""
        if self._running is not None and not self._running.done() and self._agent is not None:
            self.history.note(self.now_s, f"{self.name} is told to leave within {within_s} s")
            self._agent.leave(within_s)

    async def dial(self) -> Link:
        if self.now_s < self.unreachable_until_s:
            await asyncio.sleep(self.dice.uniform(0.1, 5.0))
            raise TimeoutError("no route")
        try:
            self.link = await self._coordinator.dial(Link)
        except ConnectionRefusedError:
            self.refused_s = self.now_s
            raise
        self.link.hear, self.link.worker = self._hear, self.key
        return self.link

    def _hear(self) -> None:
        self.heard_s = self.now_s

    def clear_up(self) -> None:
        """From now on it does what it should."""
        self.fails = self.hangs = 0.0
        self.piece_s = min(self.piece_s, 0.5)
        self.unreachable_until_s = 0.0

    def must_have_stopped(self) -> bool:
        """P5: it has heard nothing for a lease, and nobody has told it lately that no coordinator runs."""
        silent_s, unrefused_s = self.now_s - self.heard_s, self.now_s - self.refused_s
        return silent_s > defaults.ORPHAN_AFTER_S + SLACK_S or (
            silent_s > defaults.LEASE_TTL_S + SLACK_S and unrefused_s > TRY_S + SLACK_S
        )


@contextlib.asynccontextmanager
async def dialling(*_: Any, **__: Any) -> AsyncIterator[Link]:
    """Stands in for `websockets.connect` in the agent: whoever calls it is connected through the simulation."""
    link = await _dialler.get().dial()
    try:
        yield link
    finally:
        await link.close()
