"""What changes for a tenant, for those who listen to its events. While nobody listens nothing is made or kept.

A tenant that is listened to has one channel. Changes gather in it, of each job the newest alone, and leave as one block
that is encoded once for everybody. The newest blocks are kept; who reads so slowly that theirs is gone has fallen
behind: they are told so and list again. So neither a slow reader nor many of them hold anything up or fill the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from cavvy import defaults, logs
from cavvy.api import sse
from cavvy.api.views import job_change, stop_view
from cavvy.coordinator.news import News
from cavvy.core.effects import JobEffect
from cavvy.core.job import Now
from cavvy.core.latch import StopLatch
from cavvy.protocol.rest_workers import WorkerView

__all__ = ["Feed", "Listener"]

log = logs.get_logger()

#: A tenant's workers by id, as its keys see them.
WorkersOf = Callable[[str], Awaitable[Mapping[str, WorkerView]]]


class _Channel:
    """One tenant's changes. `first` is the number of the oldest block that is kept."""

    def __init__(self, tenant: str, workers_of: WorkersOf, clock: Callable[[], Now]) -> None:
        self.listeners = 0
        self.news = News()
        self.first = 0
        self.blocks: deque[bytes] = deque()
        self._tenant = tenant
        self._workers_of = workers_of
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._bytes = 0
        self._jobs: dict[str, JobEffect] = {}
        self._latch: StopLatch | None = None
        self._next_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._shown: Mapping[str, WorkerView] = {}
        self._workers_stale = False
        self._look: asyncio.Task[None] | None = None
        self.ready = asyncio.create_task(self._first_look())

    @property
    def end(self) -> int:
        """The number of the block to come."""
        return self.first + len(self.blocks)

    def job(self, effect: JobEffect) -> None:
        self._jobs[effect.job.id] = effect
        if self._timer is None:
            self._timer = self._loop.call_at(self._next_s, self._flush)

    def latch(self, latch: StopLatch) -> None:
        self._latch = latch
        if self._timer is None:
            self._timer = self._loop.call_at(self._next_s, self._flush)

    def workers(self) -> None:
        """Some worker may look different now; workers are looked at as a whole, and not often."""
        self._workers_stale = True
        if self._look is None:
            self._look = asyncio.create_task(self._look_at_workers())

    def close(self) -> None:
        """Nobody listens any more."""
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._look, self.ready):
            if task is not None:
                task.cancel()

    def _flush(self) -> None:
        self._timer, self._next_s = None, self._loop.time() + defaults.FEED_WINDOW_S
        effects, self._jobs = self._jobs.values(), {}
        latch, self._latch = self._latch, None
        now_ms = self._clock().wall_ms
        told = [sse.event("stop", stop_view(latch))] if latch is not None else []
        self._add(b"".join([*told, *(sse.event("job", job_change(effect, now_ms)) for effect in effects)]))

    def _add(self, block: bytes) -> None:
        self.blocks.append(block)
        self._bytes += len(block)
        while self._bytes > defaults.FEED_BYTES and len(self.blocks) > 1:
            self._bytes -= len(self.blocks.popleft())
            self.first += 1
        self.news.tell()

    async def _first_look(self) -> None:
        self._shown = await self._workers_of(self._tenant)

    async def _look_at_workers(self) -> None:
        """Tells of each worker that looks different from when it was shown last."""
        try:
            while self._workers_stale:
                self._workers_stale = False
                found = await self._workers_of(self._tenant)
                before, self._shown = self._shown, found
                changed = [one for one in found.values() if before.get(one.id) != one]
                if changed:
                    self._add(b"".join(sse.event("worker", one) for one in changed))
                await asyncio.sleep(defaults.FEED_WORKERS_S)
        finally:
            self._look = None


class Listener:
    """One reader's place in a channel."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel
        self._next = channel.end

    @property
    def behind(self) -> bool:
        """Whether something it has not read is gone."""
        return self._next < self._channel.first

    def take(self) -> bytes | None:
        """The next block, if there is one."""
        if self._next == self._channel.end:
            return None
        self._next += 1
        return self._channel.blocks[self._next - 1 - self._channel.first]

    async def news(self, timeout_s: float) -> bool:
        """Waits for anything new; False when `timeout_s` went by without."""
        return await self._channel.news.within(timeout_s)


class Feed:
    """Every tenant's channel."""

    def __init__(self, workers_of: WorkersOf, clock: Callable[[], Now]) -> None:
        self.stopping = False
        self._workers_of = workers_of
        self._clock = clock
        self._channels: dict[str, _Channel] = {}

    def job(self, effect: JobEffect) -> None:
        """A job has changed."""
        channel = self._channels.get(effect.job.needs.tenant)
        if channel is not None:
            channel.job(effect)

    def stop_changed(self, latch: StopLatch) -> None:
        """A tenant's stop holds, or no longer."""
        channel = self._channels.get(latch.tenant)
        if channel is not None:
            channel.latch(latch)

    def workers(self, owner: str) -> None:
        """A worker of this tenant, or a shared one, may look different now."""
        if not self._channels:
            return
        for tenant, channel in self._channels.items():
            if owner in (tenant, defaults.SHARED):
                channel.workers()

    @property
    def listeners(self) -> int:
        return sum(channel.listeners for channel in self._channels.values())

    def stop(self) -> None:
        """The coordinator stops: every listener looks up and says goodbye."""
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """Every listener looks whether it may go on."""
        for channel in self._channels.values():
            channel.news.tell()

    @contextlib.asynccontextmanager
    async def listen(self, tenant: str) -> AsyncIterator[Listener]:
        """A listener that misses nothing from here on."""
        channel = self._channels.get(tenant)
        if channel is None:
            channel = self._channels[tenant] = _Channel(tenant, self._workers_of, self._clock)
        channel.listeners += 1
        try:
            await asyncio.shield(channel.ready)
            yield Listener(channel)
        finally:
            channel.listeners -= 1
            if not channel.listeners and self._channels.get(tenant) is channel:
                del self._channels[tenant]
                channel.close()
