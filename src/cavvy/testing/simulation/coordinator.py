"""The coordinator of a simulation: the machine it runs on, where processes die and start again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import TypeVar

from cavvy import defaults
from cavvy.core.job import Now
from cavvy.core.settings import Settings
from cavvy.store.base import JobRecord
from cavvy.store.memory import MemoryStore
from cavvy.testing.simulation.history import History
from cavvy.testing.simulation.network import Link, Weather
from cavvy.testing.simulation.process import CommitFault, Process

__all__ = ["TENANTS", "SimulatedCoordinator"]

#: A commit longer than that is more than an ordinary one.
SLOW_S = 0.01
L = TypeVar("L", bound=Link)
TENANTS = (defaults.TENANT, defaults.DISPATCH_TENANT)


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
        self.process: Process | None = None
        self._unsettled_until_s = 0.0
        self._usurped: list[Process] = []
        self._starting: asyncio.Task[None] | None = None

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def clock(self) -> Now:
        now_s = self.now_s
        return Now(now_s, 1_700_000_000_000 + round(now_s * 1000) + self.wall_offset_ms)

    def commit_s(self) -> float:
        """How long half a commit takes."""
        seconds = self.dice.uniform(*self.commit_delay_s)
        if seconds > SLOW_S:
            self.unsettle(seconds)
        return seconds

    def unsettle(self, seconds: float = 0.0) -> None:
        """Something keeps it from deciding, for so long from now."""
        self._unsettled_until_s = max(self._unsettled_until_s, self.now_s + seconds)

    @property
    def settled_s(self) -> float:
        """For how long it has been able to decide whatever there was to decide; the grace after a start is not."""
        process = self.process
        if process is None:
            return 0.0
        return self.now_s - max(self._unsettled_until_s, process.began_s + self.settings.restart_grace_s)

    async def start(self) -> None:
        process = Process(self)
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

    def gone(self, process: Process) -> None:
        """A process has died; the next one comes after a while."""
        self.history.note(self.now_s, "coordinator is dead")
        if self.process is process:
            self.process = None
            self._starting = asyncio.get_running_loop().create_task(self._start_later())

    async def _start_later(self) -> None:
        await asyncio.sleep(self.dice.uniform(*self.down_s))
        if self.process is None:
            await self.start()

    async def dial(self, kind: type[L]) -> L:
        """A new connection. Raises ConnectionRefusedError while no process runs."""
        await asyncio.sleep(self.weather.delay())
        process = self.process
        if process is None:
            raise ConnectionRefusedError("nobody listens")
        link = kind(self.weather)
        link.served_by = process.spawn(process.serve(link))
        return link

    # -- what is stored

    async def record(self, job_id: str) -> JobRecord | None:
        for tenant in TENANTS:
            if (found := await self.store.job(tenant, job_id)) is not None:
                return found
        return None

    async def jobs(self) -> AsyncIterator[JobRecord]:
        """All that is stored."""
        for tenant in TENANTS:
            for short in await self.store.jobs(tenant, before=None, limit=1_000_000):
                record = await self.record(short.id)
                assert record is not None
                yield record
