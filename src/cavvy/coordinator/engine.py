"""The engine loop: every waiting command into the core, one tick, one commit, then the effects.

A failed commit is one of five. Rolled back: the door is shut and the same writes are tried until they go through.
Refused, or an exception in the core: rebuild, and replay the batch one command a transaction. Unknown or Fenced:
`exit_code` 75. Damaged: 6.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Protocol

from cavvy import defaults, logs
from cavvy.coordinator.ahead import Ahead
from cavvy.coordinator.asked import Answer
from cavvy.coordinator.commits import Commits
from cavvy.coordinator.door import CommandFailed, Door, StoreUnavailable
from cavvy.coordinator.known import known
from cavvy.core.census import Census
from cavvy.core.commands import Command, SubmitJob
from cavvy.core.coordinator import Batch, Coordinator, Settings
from cavvy.core.effects import Effect, Registered, Reply, StopChanged
from cavvy.core.foresight import StopCommand
from cavvy.core.job import Now
from cavvy.core.latch import StopLatch
from cavvy.core.matching import Offer
from cavvy.core.queued import Queued
from cavvy.core.reading import ResultForm
from cavvy.core.writes import Write
from cavvy.errors import CommitUnknown, Fenced, Refused, RolledBack, StoreDamaged, StoreError
from cavvy.store.base import Opened, Store

__all__ = ["CommandFailed", "Engine", "Outlet", "StoreUnavailable"]

log = logs.get_logger()

EXIT_UNDECIDED = 75
EXIT_DAMAGED = 6
_FINAL = (CommitUnknown, Fenced, StoreDamaged)


class Outlet(Protocol):
    """Where effects go. Nothing here waits."""

    def release(self, effect: Effect) -> None:
        """Takes one effect of a committed batch."""

    def resume(self) -> Sequence[Command]:
        """After a rebuild: what to tell the core of every socket that is still open; queued grants are void."""


class Engine:
    """Owns the core, its clock and its commits. `committed` hears what each took, and how many writes it had."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        clock: Callable[[], Now],
        dice: Callable[[int], bytes],
        outlet: Outlet,
        committed: Callable[[float, int], None] = lambda seconds, writes: None,
    ) -> None:
        self.store = store
        self.exit_code: int | None = None
        self.handled = 0  # commands so far: how busy it is
        self.settings = settings
        self._clock = clock
        self._dice = dice
        self._outlet = outlet
        self._core = Coordinator(settings, dice)
        self._opened: Opened | None = None
        self._door = Door()
        self._commits = Commits(store, self._door, outlet.release, committed)
        self._refs = count(1)
        self._ahead = Ahead()
        self._committing: Sequence[Effect] = ()  # of the batch that is being committed

    # -- for the shells

    def next_ref(self) -> int:
        return next(self._refs)

    def post(self, command: Command) -> None:
        """Hands over a command nobody waits for."""
        self._door.inbox.put(command)

    async def ask(self, command: Command, ref: int) -> Answer:
        """Hands over the command that carries `ref` and waits until its answer is durable.

        Raises StoreUnavailable (at the door, or after an outage) and CommandFailed.
        """
        return await self._door.ask(command, ref)

    async def ask_all(self, commands: Sequence[SubmitJob]) -> list[Answer | CommandFailed]:
        """Hands over commands that are decided together and in one commit; the answers in their order.

        Raises StoreUnavailable.
        """
        return await self._door.ask_all(commands)

    async def stop_work(self, command: StopCommand) -> tuple[Reply, bool]:
        """Carries out a stop, whatever the store does: what it said, and whether it is durable.

        If it is not within `defaults.STOP_AHEAD_S`, it holds all the same from then on, and is written as soon as the
        store allows. Raises StoreUnavailable when the coordinator starts or stops, and CommandFailed.
        """
        failing = self._door.failing and not self._door.stopping and self.exit_code is None
        if self.shut is not None and not failing:
            raise StoreUnavailable(self.shut, accepted=False)
        if (before := self._ahead.answered(command)) is not None:
            return before, False
        future = self._door.asked.expect(command.ref)
        self.post(command)
        try:
            await asyncio.wait([future], timeout=0 if failing else defaults.STOP_AHEAD_S)
        finally:
            self._door.asked.forget(command.ref)
        if not future.done():
            return self._go_ahead(command), False
        reply = future.result()
        assert isinstance(reply, Reply)
        return reply, True

    def _go_ahead(self, command: StopCommand) -> Reply:
        """Tells the workers before the store knows, and sends no grant any more of what is to stop."""
        reply, told = self._core.foresee(command, self._clock())
        decided = (one for one in self._committing if isinstance(one, Reply) and one.ref == command.ref)
        reply = next(decided, reply)  # what this very commit is about to end is live no more to the core
        self._ahead.hold(command, reply)
        if reply.stop is not None:
            self._outlet.release(StopChanged(latch=reply.stop))
        for effect in told:
            self._outlet.release(effect)
        return reply

    def stands(self, session: int, job_id: str, epoch: int) -> bool:
        """Whether this grant may still be sent; see Coordinator.stands."""
        return self._core.stands(session, job_id, epoch) and not self._ahead.stops(self._core, job_id)

    def form_of(self, session: int, job_id: str, epoch: int) -> ResultForm | None:
        """What a result of this attempt, from this session, has to be; None if none is wanted."""
        return self._core.form_of(session, job_id, epoch)

    def offers(self) -> list[Offer]:
        """What the workers online offer."""
        return self._core.offers()

    def queued(self, job_id: str, online: Sequence[Offer]) -> Queued | None:
        """What to tell of a job that waits; see Coordinator.queued."""
        return self._core.queued(job_id, online, self._clock())

    def stop_of(self, tenant: str) -> StopLatch | None:
        """The stop that keeps this tenant's new work out, durable or not yet; None when nothing does."""
        return self._core.stop_of(tenant) or self._ahead.latch_of(tenant)

    @property
    def store_id(self) -> str:
        """Which store this coordinator speaks for."""
        assert self._opened is not None
        return self._opened.store_id

    async def scrub(self) -> bool:
        """Leaves nothing of what was erased in the store's files; see Store.scrub."""
        return self._opened is not None and await self.store.scrub(term=self._opened.term)

    @property
    def census(self) -> Census:
        """How many live jobs there are, by status and effort."""
        return self._core.census

    @property
    def shut(self) -> str | None:
        """Why nobody may ask for anything now; None: everybody may."""
        return self._door.shut

    @property
    def failing(self) -> bool:
        """Whether the store takes no writes now."""
        return self._door.failing

    # -- life

    async def open(self) -> Opened:
        """Opens the store and takes up what it holds. Raises SchemaTooNew or DataHeld."""
        self._opened = await self.store.open()
        self._commits.term = self._opened.term
        grace_until_s = self._clock().mono_s + self.settings.restart_grace_s
        await self._load(self._opened.last_seq, self._opened.last_number, grace_until_s)
        return self._opened

    async def bootstrap(self, writes: Sequence[Write]) -> None:
        """Commits the first keys and takes them up, before the loop runs."""
        assert self._opened is not None
        await self.store.commit(writes, term=self._opened.term)
        await self._load(*self._core.counters, grace_until_s=self._core.grace_until_s)

    async def run(self) -> None:
        """Runs until `stop`, or until `exit_code` says that this process must not go on."""
        self._door.open()
        try:
            await self._rounds()
        except RolledBack as error:
            log.error("stopped_without_the_last_writes", error=str(error), hint="nothing accepted is lost")
            self._ahead.tell_lost()
        finally:
            self._door.end()

    def stop(self) -> None:
        """Takes no new asks; what waits is still decided and committed."""
        self._door.close()

    async def _rounds(self) -> None:
        """Raises RolledBack when told to stop while the store takes no writes."""
        while self.exit_code is None and not (self._door.stopping and not self._door.inbox):
            await self._wait()
            await self._door.inbox.gather()
            await self._round(self._door.inbox.take())
        if self.exit_code is None:
            await self._settle(self._core.take(self._clock(), final=True), [])

    async def _wait(self) -> None:
        if not self._door.inbox and not self._door.stopping:
            due_s = self._core.due_s - self._clock().mono_s
            await self._door.inbox.sleep(min(self.settings.sweep_s / 2, due_s))

    async def _round(self, commands: list[Command]) -> None:
        self.handled += len(commands)
        now = self._clock()
        try:
            for command in commands:
                self._core.handle(command, now)
            self._core.tick(now)
            batch = self._core.take(now)
        except Exception:
            log.exception("deciding_failed", commands=len(commands))
            await self._replay(commands)
        else:
            await self._settle(batch, commands)

    async def _settle(self, batch: Batch, commands: list[Command]) -> None:
        """Commits, then releases; a failure takes its one way."""
        self._committing = batch.effects
        try:
            if batch.writes:
                await self._commits.commit(batch.writes, commands)
        except Refused as error:
            log.warning("commit_refused", error=str(error), commands=len(commands))
            await self._replay(commands)
        except _FINAL as error:
            self._give_up(error)
        else:
            self._release(batch.effects)
        finally:
            self._committing = ()

    def _release(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, (Reply, Registered)):
                self._ahead.settle(effect.ref)
                self._door.asked.answer(effect)
            else:
                self._outlet.release(effect)

    # -- what did not go through

    async def _replay(self, commands: list[Command]) -> None:
        """Rebuilds, then decides each command in a transaction of its own: only the guilty one fails."""
        try:
            await self._rebuild()
            for command in commands:
                await self._replay_one(command)
        except _FINAL as error:
            self._give_up(error)

    async def _replay_one(self, command: Command) -> None:
        now = self._clock()
        try:
            self._core.handle(command, now)
            self._core.tick(now)
            batch = self._core.take(now)
            if batch.writes:
                await self._commits.commit(batch.writes, [command])
        except (RolledBack, *_FINAL):
            raise
        except Exception as error:
            log.exception("command_failed", command=type(command).__name__)
            self._door.asked.fail([command], CommandFailed(type(error).__name__))
            self._ahead.settle(getattr(command, "ref", 0))
            await self._rebuild()
        else:
            self._release(batch.effects)

    async def _rebuild(self) -> None:
        """The one way to come back: load, then every live socket says what it holds.

        Raises CommitUnknown when the store refuses even that: only a new start can tell what is there.
        """
        await self._load(*self._core.counters, grace_until_s=self._core.grace_until_s)
        now = self._clock()
        for command in self._outlet.resume():
            self._core.handle(command, now)
        self._core.tick(now)
        batch = self._core.take(now)
        if batch.writes:
            try:
                await self._commits.commit(batch.writes, [])
            except Refused as error:
                raise CommitUnknown(f"the store refuses what it was asked for after a rebuild: {error}") from error
        self._release(batch.effects)

    async def _load(self, seq: int, numbers: Mapping[str, int], grace_until_s: float) -> None:
        rows = [known(row) async for page in self.store.load() for row in page]
        self._core = Coordinator(self.settings, self._dice)
        self._core.restore(rows, seq=seq, numbers=dict(numbers), now=self._clock(), grace_until_s=grace_until_s)

    def _give_up(self, error: StoreError) -> None:
        damaged = isinstance(error, StoreDamaged)
        hint = (
            "workers keep what they have finished"
            if damaged
            else "start the coordinator again; it finds out what is there"
        )
        log.critical("cannot_go_on", error=str(error), hint=hint)
        self.exit_code = EXIT_DAMAGED if damaged else EXIT_UNDECIDED
