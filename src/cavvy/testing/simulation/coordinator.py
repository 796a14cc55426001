"""The coordinator of a simulation: the real engine, sessions and hub over a store in memory, in processes that die."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from enum import Enum, auto
from random import Random
from typing import Any, TypeVar

from cavvy import defaults
from cavvy.coordinator.engine import CommandFailed, Engine, StoreUnavailable
from cavvy.coordinator.hub import Hub
from cavvy.coordinator.sessions import Sessions
from cavvy.core.canonical import canonical
from cavvy.core.commands import (
    CancelJob,
    Command,
    EndTrust,
    PairWorker,
    ReleaseStop,
    RunAgain,
    StopTenant,
    SubmitJob,
)
from cavvy.core.effects import Effect, Reply, ReplyCode
from cavvy.core.job import AttemptRef, JobStatus, JobType, Now, PrivacyClass, needs_of
from cavvy.core.receipt import Params
from cavvy.core.settings import Settings
from cavvy.core.writes import Idempotency, InsertJob, Write
from cavvy.errors import CommitUnknown, Refused, RolledBack
from cavvy.protocol import messages as wire
from cavvy.store.base import JobRecord, header_of
from cavvy.store.memory import MemoryStore
from cavvy.testing.simulation.history import History
from cavvy.testing.simulation.network import Link, Weather

__all__ = ["URL", "CommitFault", "NoAnswer", "SimulatedCoordinator"]

T = TypeVar("T")
URL = "ws://127.0.0.1:4010"


class NoAnswer(Exception):
    """The request or its answer was lost, or nobody listens."""


class CommitFault(Enum):
    """What may happen to one commit."""

    BUSY = auto()  # rolled back for sure
    UNKNOWN_WRITTEN = auto()  # it failed, and it is there
    UNKNOWN_LOST = auto()  # it failed, and it is not there
    KILLED_BEFORE = auto()
    KILLED_AFTER = auto()  # durable, and nobody heard of it
    KILLED_RELEASING = auto()  # some of its effects are out


class _Store:
    """What one coordinator process sees of the store: slow, sometimes failing, and gone when the process is."""

    def __init__(self, process: _Process) -> None:
        self._process = process
        self._inner = process.node.store

    async def commit(self, writes: Sequence[Write], *, term: int) -> None:
        process, node = self._process, self._process.node
        await asyncio.sleep(node.commit_s())
        await process.alive()
        fault = node.faults.pop(0) if node.faults else None
        if fault is not None:
            node.history.note(node.now_s, f"coordinator: commit of {len(writes)} writes: {fault.name}")
        match fault:
            case CommitFault.BUSY:
                raise RolledBack("the database is locked")
            case CommitFault.UNKNOWN_LOST:
                raise CommitUnknown("I/O error")
            case CommitFault.KILLED_BEFORE:
                await process.die()
        await self._write(writes, term)
        match fault:
            case CommitFault.UNKNOWN_WRITTEN:
                raise CommitUnknown("I/O error")
            case CommitFault.KILLED_AFTER:
                await process.die()
            case CommitFault.KILLED_RELEASING:
                process.effects_left = node.dice.randrange(4)
        await asyncio.sleep(node.commit_s())
        await process.alive()

    async def _write(self, writes: Sequence[Write], term: int) -> None:
        history = self._process.node.history
        try:
            await self._inner.commit(writes, term=term)
        except Refused as error:
            if not any(isinstance(write, InsertJob) for write in writes):
                history.refusals.append(str(error))
            raise
        history.committed(writes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Outlet:
    """The sessions, until the process dies in the middle of a batch's effects."""

    def __init__(self, process: _Process) -> None:
        self._process = process

    def release(self, effect: Effect) -> None:
        process = self._process
        if process.effects_left is not None:
            if process.effects_left <= 0:
                process.kill()
            process.effects_left -= 1
        if not process.dead:
            process.sessions.release(effect)

    def resume(self) -> Sequence[Command]:
        return self._process.sessions.resume()


class _Process:
    """One life of the coordinator."""

    def __init__(self, node: SimulatedCoordinator) -> None:
        self.node = node
        self.dead = False
        self.died = asyncio.Event()
        self.effects_left: int | None = None
        self.links: list[Link] = []
        self.hub = Hub()
        self.sessions = Sessions(self.hub, node.seed, node.clock)
        self.engine = Engine(
            _Store(self),
            node.settings,
            clock=node.clock,
            dice=node.dice.randbytes,
            outlet=_Outlet(self),
        )
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        await self.engine.open()
        self._main = self.spawn(self._run())

    async def _run(self) -> None:
        await self.engine.run()
        if self.engine.exit_code is not None:
            self.kill()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def alive(self) -> None:
        """Returns if the process lives; a dead one never goes on."""
        if self.dead:
            await self.node.never.wait()

    async def die(self) -> None:
        self.kill()
        await self.alive()

    def kill(self) -> None:
        """kill -9: nothing more comes out of it."""
        if self.dead:
            return
        self.dead = True
        self.died.set()
        for link in self.links:
            link.vanish(by_worker=False)
        for task in self._tasks:
            task.cancel()
        self.node.gone(self)

    async def serve(self, link: Link) -> None:
        self.links.append(link)
        with contextlib.suppress(OSError):
            await self.sessions.serve(self.engine, URL, link.receive, self._sender(link))

    def _sender(self, link: Link) -> Callable[[Any], Awaitable[None]]:
        async def send(message: dict[str, Any]) -> None:
            await self.alive()
            if message["type"] == "websocket.send":
                await self._watch(message["text"], link.worker)
            await link.transmit(message)

        return send

    async def _watch(self, text: str, worker: str) -> None:
        """What leaves is held against the store."""
        message = wire.decode_coordinator_message(text.encode())
        history = self.node.history
        if isinstance(message, wire.JobAssign):
            ref = AttemptRef(message.job_id, message.epoch)
            history.note(self.node.now_s, f"coordinator sends job_assign {ref.job_id} epoch {ref.epoch}")
            if self.node.process is self:  # one that was usurped cannot know yet; what its grants do is fenced
                history.assigned(ref, await self.node.record(message.job_id), worker)
        elif isinstance(message, wire.CompleteAck):
            ref = AttemptRef(message.job_id, message.epoch)
            history.note(self.node.now_s, f"coordinator: {message.verdict} {ref.job_id} epoch {ref.epoch}")
            history.acknowledged(ref, message.verdict, await self.node.record(message.job_id))


class SimulatedCoordinator:
    """The machine the coordinator runs on: its disk outlives its processes. It starts again by itself."""

    def __init__(self, history: History, dice: Random, weather: Weather, settings: Settings, seed: bytes) -> None:
        self.history = history
        self.dice = dice
        self.weather = weather
        self.settings = settings
        self.seed = seed
        self.store = MemoryStore()
        self.faults: list[CommitFault] = []
        self.never = asyncio.Event()  # what dead processes wait for
        self.commit_delay_s = (0.0001, 0.005)
        self.wall_offset_ms = 0
        self.down_s = (0.1, 5.0)
        self.process: _Process | None = None
        self._usurped: list[_Process] = []
        self._starting: asyncio.Task[None] | None = None

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def clock(self) -> Now:
        now_s = self.now_s
        return Now(now_s, 1_700_000_000_000 + round(now_s * 1000) + self.wall_offset_ms)

    def commit_s(self) -> float:
        return self.dice.uniform(*self.commit_delay_s)

    async def start(self) -> None:
        process = _Process(self)
        await process.start()
        self.process = process
        self.history.note(self.now_s, "coordinator starts")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def usurp(self) -> None:
        """Somebody starts a second process; the first one has to find out by itself that its term is over."""
        if self.process is not None:
            self._usurped.append(self.process)
            self._starting = asyncio.get_running_loop().create_task(self.start())

    def clean_up(self) -> None:
        """Somebody ends what runs besides the newest process: one that has nothing to write would never notice."""
        for process in self._usurped:
            process.kill()

    def gone(self, process: _Process) -> None:
        """A process has died; the next one comes after a while."""
        self.history.note(self.now_s, "coordinator is dead")
        if self.process is process:
            self.process = None
            self._starting = asyncio.get_running_loop().create_task(self._start_later())

    async def _start_later(self) -> None:
        await asyncio.sleep(self.dice.uniform(*self.down_s))
        if self.process is None:
            await self.start()

    # -- for workers

    async def dial(self) -> Link:
        """A new connection. Raises ConnectionRefusedError while no process runs."""
        await asyncio.sleep(self.weather.delay())
        process = self.process
        if process is None:
            raise ConnectionRefusedError("nobody listens")
        link = Link(self.weather)
        link.served_by = process.spawn(process.serve(link))
        return link

    # -- for clients

    async def submit(self, key: str, prompt: str, job_id: str, **fields: Any) -> str:
        """`POST /v1/jobs` with an Idempotency-Key; the job's id. Raises NoAnswer, also while everything is stopped."""
        return await self._request(lambda process: self._submit(process, key, prompt, job_id, fields))

    async def pair(self, trust_id: str, worker: str, user_id: str) -> str:
        """`POST /v1/trust/pair`; the trust's id. Raises NoAnswer, also while no such worker is enrolled."""
        return await self._request(lambda process: self._pair(process, trust_id, worker, user_id))

    async def unpair(self, trust_id: str, user_id: str) -> None:
        """`DELETE /v1/trust/{id}`. Raises NoAnswer."""
        await self._request(lambda process: self._unpair(process, trust_id, user_id))

    async def stop(self) -> int:
        """`POST /v1/stop`; the highest `seq` that it is for. Raises NoAnswer."""
        return await self._request(self._stop)

    async def release(self) -> None:
        """`DELETE /v1/stop`. Raises NoAnswer."""
        await self._request(self._release)

    async def cancel(self, job_id: str) -> JobRecord | None:
        """`POST /v1/jobs/{id}/cancel`; the job as answered. Raises NoAnswer."""
        return await self._request(lambda process: self._cancel(process, job_id))

    async def retry(self, job_id: str) -> JobRecord | None:
        """`POST /v1/jobs/{id}/retry`; the job as it is then. Raises NoAnswer."""
        return await self._request(lambda process: self._retry(process, job_id))

    async def look(self, job_id: str) -> JobRecord | None:
        """`GET /v1/jobs/{id}`. Raises NoAnswer."""
        return await self._request(lambda _: self.record(job_id))

    async def record(self, job_id: str) -> JobRecord | None:
        return await self.store.job(defaults.TENANT, job_id)

    async def _request(self, handler: Callable[[_Process], Coroutine[Any, Any, T]]) -> T:
        await self._cross()
        process = self.process
        if process is None:
            raise NoAnswer
        work, death = process.spawn(handler(process)), process.spawn(process.died.wait())
        await asyncio.wait((work, death), return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        if process.dead or work.cancelled():
            raise NoAnswer
        try:
            answer = work.result()
        except (StoreUnavailable, CommandFailed) as error:
            raise NoAnswer from error
        await self._cross()
        return answer

    async def _cross(self) -> None:
        await asyncio.sleep(self.weather.delay())
        if self.weather.dice.random() < self.weather.drop:
            raise NoAnswer

    async def _submit(self, process: _Process, key: str, prompt: str, job_id: str, fields: dict[str, Any]) -> str:
        fingerprint = hashlib.sha256(prompt.encode()).digest()
        known = (await self.store.idempotent(defaults.TENANT, [key], not_before_ms=0)).get(key)
        if known is not None:
            return known.job_id
        ref, user_id = process.engine.next_ref(), fields.pop("user_id")
        needs = needs_of(
            tenant=defaults.TENANT,
            user_id=user_id,
            job_type=JobType.LLM_INFER,
            privacy_class=fields.pop("privacy_class", PrivacyClass.PUBLIC),
            model=None,
        )
        command = SubmitJob(
            ref=ref,
            id=job_id,
            user_id=user_id,
            needs=needs,
            input=canonical({"prompt": prompt}),
            params=canonical(Params()),
            idempotency=Idempotency(key=key, fingerprint=fingerprint),
            **fields,
        )
        reply = await process.engine.ask(command, ref)
        assert isinstance(reply, Reply)
        if reply.code in (ReplyCode.STOPPED, ReplyCode.DEADLINE_PASSED):
            raise NoAnswer
        assert reply.job_id is not None
        return reply.job_id

    async def _pair(self, process: _Process, trust_id: str, worker: str, user_id: str) -> str:
        ref = process.engine.next_ref()
        command = PairWorker(ref=ref, id=trust_id, tenant=defaults.TENANT, user_id=user_id, worker=worker)
        reply = await process.engine.ask(command, ref)
        assert isinstance(reply, Reply)
        if reply.trust is None:
            raise NoAnswer
        return reply.trust.id

    async def _unpair(self, process: _Process, trust_id: str, user_id: str) -> None:
        ref = process.engine.next_ref()
        command = EndTrust(ref=ref, id=trust_id, tenant=defaults.TENANT, user_id=user_id)
        await process.engine.ask(command, ref)

    async def _stop(self, process: _Process) -> int:
        ref = process.engine.next_ref()
        reply = await process.engine.ask(StopTenant(ref=ref, tenant=defaults.TENANT, by="client"), ref)
        assert isinstance(reply, Reply)
        assert reply.stop is not None
        return reply.stop.stop_seq

    async def _release(self, process: _Process) -> None:
        ref = process.engine.next_ref()
        await process.engine.ask(ReleaseStop(ref=ref, tenant=defaults.TENANT), ref)

    async def _cancel(self, process: _Process, job_id: str) -> JobRecord | None:
        ref = process.engine.next_ref()
        await process.engine.ask(CancelJob(ref=ref, tenant=defaults.TENANT, job_id=job_id, by="client"), ref)
        return await self.record(job_id)

    async def _retry(self, process: _Process, job_id: str) -> JobRecord | None:
        found = await self.record(job_id)
        if found is not None and found.status is JobStatus.FAILED:
            ref = process.engine.next_ref()
            await process.engine.ask(RunAgain(ref=ref, job=header_of(found)), ref)
        return await self.record(job_id)

    async def jobs(self) -> AsyncIterator[JobRecord]:
        """All that is stored."""
        for short in await self.store.jobs(defaults.TENANT, before=None, limit=1_000_000):
            record = await self.record(short.id)
            assert record is not None
            yield record
