"""Maintenance: what need not be kept goes, a slice at a time, while there is nothing better to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from cavvy import defaults, logs
from cavvy.coordinator.engine import CommandFailed, Engine, StoreUnavailable
from cavvy.core.commands import Retain
from cavvy.core.job import Now
from cavvy.core.retention import Policy, SteadyClock, horizons, must_wait, portion
from cavvy.errors import StoreError

__all__ = ["Maintenance"]

log = logs.get_logger()


class Maintenance:
    """Decides nothing: what is due is the policy's, whether it may go the core's."""

    def __init__(self, engine: Engine, policy: Policy, clock: Callable[[], Now]) -> None:
        self._engine = engine
        self._policy = policy
        self._clock = clock
        self._steady = SteadyClock()
        self._looked = self._waiting_since = clock()
        self._handled = 0
        self._to_scrub = asyncio.Event()

    def erased(self) -> None:
        """Something was erased: soon its bytes are to be gone from the files, too."""
        self._to_scrub.set()

    async def run(self) -> None:
        """Until it is cancelled, or this process must not go on."""
        retaining, scrubbing = asyncio.create_task(self._retain()), asyncio.create_task(self._scrub())
        try:
            await asyncio.gather(retaining, scrubbing)
        finally:
            retaining.cancel()
            scrubbing.cancel()

    async def look(self) -> bool:
        """Takes one slice of what is due, if it is time; whether there was any."""
        now = self._clock()
        believed = self._steady.believed(now)
        if not believed or self._engine.shut is not None or self._must_wait(now):
            return False
        kept = horizons(self._policy, now, idempotency_ttl_s=self._engine.settings.idempotency_ttl_s)
        due = portion(await self._engine.store.due(kept, limit=defaults.RETENTION_ROWS))
        self._waiting_since = now
        if not due:
            return False
        ref = self._engine.next_ref()
        await self._engine.ask(Retain(ref=ref, due=due, horizons=kept), ref)
        log.info("retention", erased=len(due.erase), deleted=len(due.drop), keys=due.idempotency)
        if due.erase or due.drop:
            self.erased()
        return True

    def _must_wait(self, now: Now) -> bool:
        handled, seconds = self._engine.handled - self._handled, now.mono_s - self._looked.mono_s
        self._handled, self._looked = self._engine.handled, now
        rate = handled / seconds if seconds > 0 else 0.0
        return must_wait(rate, now.mono_s - self._waiting_since.mono_s)

    async def _retain(self) -> None:
        found = False
        while True:
            await asyncio.sleep(defaults.RETENTION_PAUSE_S if found else defaults.RETENTION_EVERY_S)
            try:
                found = await self.look()
            except (StoreUnavailable, CommandFailed) as error:
                found = False
                log.warning("retention_put_off", error=str(error), hint="it is tried again")
            except Exception:
                found = False
                log.exception("retention_failed")

    async def _scrub(self) -> None:
        """One checkpoint for all that is erased within a few seconds. What fails is tried again."""
        while True:
            await self._to_scrub.wait()
            await asyncio.sleep(defaults.SCRUB_AFTER_S)
            self._to_scrub.clear()
            with contextlib.suppress(StoreError, RuntimeError):  # the engine's next commit meets what this one met
                if not await self._engine.scrub():
                    self._to_scrub.set()
