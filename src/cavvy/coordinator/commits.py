"""Writes become durable, however long the store takes none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter

from cavvy import defaults
from cavvy.coordinator.door import Door, StoreUnavailable
from cavvy.core.commands import Command
from cavvy.core.effects import Effect, HeartbeatAnswered
from cavvy.core.writes import Write
from cavvy.errors import Refused, RolledBack
from cavvy.store.base import Store

__all__ = ["Commits"]


class Commits:
    """`committed` hears what each took that went through at once, and how many writes it had."""

    def __init__(
        self, store: Store, door: Door, release: Callable[[Effect], None], committed: Callable[[float, int], None]
    ) -> None:
        self.term = 0
        self._store = store
        self._door = door
        self._release = release
        self._committed = committed

    async def commit(self, writes: Sequence[Write], commands: Sequence[Command]) -> None:
        """Raises RolledBack if the coordinator stops before they go through, and what Store.commit raises besides."""
        began_s = perf_counter()  # the loop's own clock stands still during a turn
        try:
            await self._store.commit(writes, term=self.term)
        except RolledBack as error:
            await self._outlast(writes, commands, error)
        else:
            self._committed(perf_counter() - began_s, len(writes))

    async def _outlast(self, writes: Sequence[Write], commands: Sequence[Command], error: RolledBack) -> None:
        """Tries the same writes, the door shut, until they go through; heartbeats are answered meanwhile."""
        self._door.begin_failing(error)
        began_s = asyncio.get_running_loop().time()
        while True:
            waited_s = asyncio.get_running_loop().time() - began_s
            patient = waited_s >= defaults.COMMIT_RETRY_S
            if patient:
                reason = f"The store takes no writes now ({error}); this is tried again until it does."
                self._door.asked.fail(commands, StoreUnavailable(reason, accepted=None))
            await self._pause(defaults.COMMIT_PROBE_S if patient else defaults.COMMIT_RETRY_PAUSE_S)
            try:
                await self._store.commit(writes, term=self.term)
            except RolledBack:
                if self._door.stopping:
                    raise
                continue
            except Refused:
                self._door.end_failing(waited_s)
                raise
            self._door.end_failing(waited_s)
            return

    async def _pause(self, seconds: float) -> None:
        """Waits, unless told to stop, and answers heartbeats; no lease can lapse meanwhile, since gaps are forgiven."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        while (left_s := end_s - loop.time()) > 0 and not self._door.stopping:
            for beat in self._door.inbox.take_heartbeats():
                self._release(HeartbeatAnswered(session=beat.session))
            await self._door.inbox.sleep(left_s)
