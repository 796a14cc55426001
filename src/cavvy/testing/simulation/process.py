"""One life of the coordinator in a simulation: the real engine, sessions and hub, which may be killed at any point."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar

from cavvy.coordinator.engine import Engine
from cavvy.coordinator.hub import Hub
from cavvy.coordinator.legacy import LegacySession
from cavvy.coordinator.native import NativeSession
from cavvy.coordinator.sessions import Sessions
from cavvy.core.commands import Command
from cavvy.core.effects import Effect
from cavvy.core.writes import InsertJob, Write
from cavvy.errors import CommitUnknown, Refused, RolledBack
from cavvy.testing.simulation.network import LegacyLink, Link
from cavvy.testing.simulation.watching import watch

if TYPE_CHECKING:
    from cavvy.testing.simulation.coordinator import SimulatedCoordinator

__all__ = ["URL", "CommitFault", "Process"]

T = TypeVar("T")
URL = "ws://127.0.0.1:4010"


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

    def __init__(self, process: Process) -> None:
        self._process = process
        self._inner = process.node.store

    async def commit(self, writes: Sequence[Write], *, term: int) -> None:
        process, node = self._process, self._process.node
        await asyncio.sleep(node.commit_s())
        await process.alive()
        fault = node.faults.pop(0) if node.faults else None
        if fault is not None:
            node.unsettle()
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

    def __init__(self, process: Process) -> None:
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


class Process:
    """One life of the coordinator."""

    def __init__(self, node: SimulatedCoordinator) -> None:
        self.node = node
        self.dead = False
        self.began_s = node.now_s
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
        kind = LegacySession if isinstance(link, LegacyLink) else NativeSession
        try:
            with contextlib.suppress(OSError):
                await self.sessions.serve(self.engine, URL, link.receive, self._sender(link), kind=kind)
        finally:
            if isinstance(link, LegacyLink):
                link.over_s = self.node.now_s

    def _sender(self, link: Link) -> Callable[[Any], Awaitable[None]]:
        async def send(message: dict[str, Any]) -> None:
            await self.alive()
            if message["type"] == "websocket.send":
                await watch(self, message["text"], link)
            await link.transmit(message)

        return send
