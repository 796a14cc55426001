"""A worker where it lives: its home, its provider, and itself while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cavvy.protocol.messages import HeartbeatMessage, Register, ResumeEntry
from cavvy.worker.agent import Worker
from cavvy.worker.identity import JoinLine, WorkerHome
from tests.unit.worker.support import FakeCoordinator, FakeProvider


class Site:
    """A worker's home and provider, and the worker while it runs."""

    def __init__(self, directory: Path) -> None:
        self.home = WorkerHome(directory)
        self.provider = FakeProvider()

    def worker(self, join: JoinLine | None, *, slots: int = 2) -> Worker:
        return Worker(home=self.home, providers=[self.provider], slots=slots, name="box", join=join)

    @asynccontextmanager
    async def running(self, join: JoinLine | None, *, slots: int = 2) -> AsyncIterator[Worker]:
        worker = self.worker(join, slots=slots)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            await worker.stop()
            async with asyncio.timeout(60):
                await task

    @asynccontextmanager
    async def serving(self, coordinator: FakeCoordinator, *, slots: int = 2) -> AsyncIterator[Worker]:
        """It has joined and logged in."""
        async with self.running(coordinator.join, slots=slots) as worker:
            await coordinator.login()
            yield worker


async def until_heartbeat(coordinator: FakeCoordinator, wanted: Callable[[HeartbeatMessage], bool]) -> None:
    async with asyncio.timeout(60):
        while not wanted(await coordinator.heartbeats.get()):
            pass


def go_on(offset: int = 0) -> Callable[[Register], tuple[ResumeEntry, ...]]:
    return lambda register: tuple(
        ResumeEntry(job_id=ref.job_id, epoch=ref.epoch, verdict="go_on", offset=offset)
        for ref in (*register.held, *register.finished)
    )
