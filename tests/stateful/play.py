"""What the rules of the stateful test play with: two workers, one coordinator, a store, and the model beside them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from cavvy.core.commands import Command, JobStarted
from cavvy.core.effects import (
    Assign,
    CloseSession,
    Effect,
    HeartbeatAnswered,
    Registered,
    Verdict,
)
from cavvy.core.job import AttemptRef
from cavvy.store.base import Store
from cavvy.testing import FakeWorker, Stack
from tests.conformance.conftest import make_store
from tests.stateful.model import Job, Model

T = TypeVar("T")


class Player(FakeWorker):
    """A worker, what it holds, and whether it is connected."""

    def __init__(self, stack: Stack, name: str, slots: int) -> None:
        super().__init__(stack, name, slots=slots)
        self.holds: dict[AttemptRef, Assign] = {}
        self.started_here: set[AttemptRef] = set()
        self.online = False
        self.leaving = False
        self.lives = 1

    def drop(self, ref: AttemptRef) -> None:
        self.holds.pop(ref, None)
        self.started_here.discard(ref)


class Play(RuleBasedStateMachine):
    """The pieces, and what can be done with them; the rules say when."""

    kind: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.model = Model()
        self.rejected = False
        self.seconds = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        try:
            self.run(self._close())
        finally:
            self.runner.close()
            shutil.rmtree(self.directory)

    async def _close(self) -> None:
        await self.stack.store.close()

    # -- one batch, and what comes of it

    async def batch(self, *commands: Command, release: bool = True) -> list[Effect]:
        """The model knows already what the commands do; what else is written is held against it."""
        before = len(self.stack.writes)
        effects = await self.stack.do(*commands)
        for write in self.stack.writes[before:]:
            self.model.observe(write)
        if release:
            self.deliver(effects)
        if len(self.stack.writes) > before:
            await self.compare()
        return effects

    async def compare(self) -> None:
        for job_id in self.model.jobs:
            self.model.compare(await self.stack.job(job_id))
        loaded = [row.id async for page in self.stack.store.load() for row in page if hasattr(row, "seq")]
        assert loaded == [job.id for job in self.model.jobs.values() if not job.over], "what a restart would take up"

    def deliver(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            player = next((one for one in self.players if one.session == getattr(effect, "session", None)), None)
            if player is None:
                continue
            match effect:
                case Registered(resume=resume):
                    for entry in resume:
                        if entry.verdict in (Verdict.STALE, Verdict.UNKNOWN):
                            player.drop(AttemptRef(entry.job_id, entry.epoch))
                case Assign():
                    player.holds.setdefault(player.ref(effect), effect)
                    assert len(player.holds) <= player.slots, "granted more than there are slots"
                case HeartbeatAnswered(lost=lost):
                    for ref in lost:
                        player.drop(ref)
                case CloseSession():
                    self.gone(player)

    def gone(self, player: Player) -> None:
        player.online = False
        self.model.online.discard(player.key)

    def beats(self) -> list[Command]:
        return [one.beat(*one.holds) for one in self.players if one.online]

    async def pass_time(self, seconds: int) -> None:
        """Workers that are there say so every two seconds, and what they hold."""
        for _ in range(seconds):
            self.stack.clock.advance(1.0)
            self.seconds += 1
            beats = self.beats() if self.seconds % 2 else []
            for player in self.players if beats else ():
                if player.online:
                    self.revive(player, player.holds)
            await self.batch(*beats)

    def revive(self, player: Player, held: Iterable[AttemptRef]) -> None:
        for ref in held:
            job = self.model.mine(player.key, ref)
            if job is not None and job.lost:
                job.revive()

    # -- what may be drawn

    def pick_player(self, data: st.DataObject, *, online: bool) -> Player:
        return data.draw(st.sampled_from([one for one in self.players if one.online is online]), "worker")

    def pick_held(self, data: st.DataObject) -> tuple[Player, AttemptRef]:
        pairs = [(one, ref) for one in self.players if one.online for ref in one.holds]
        return data.draw(st.sampled_from(pairs), "held")

    def pick_job(self, data: st.DataObject) -> Job:
        return data.draw(st.sampled_from(list(self.model.jobs.values())), "job")

    @property
    def somebody_holds(self) -> bool:
        return any(one.holds for one in self.players if one.online)

    @initialize()
    def open(self) -> None:
        self.run(self._open())

    async def _open(self) -> None:
        store: Store = make_store(self.kind, self.directory)
        self.stack = Stack(store)
        self.players = [Player(self.stack, "ann", 2), Player(self.stack, "bob", 1)]
        await self.stack.start()
        for player in self.players:
            await player.join()
            player.online = True
            self.model.online.add(player.key)

    async def die(self) -> None:
        for player in self.players:
            self.gone(player)
        await self.stack.restart()
        await self.forget_unwritten_starts()

    async def forget_unwritten_starts(self) -> None:
        for job in self.model.jobs.values():
            job.forget_unwritten_start((await self.stack.job(job.id)).status)
        await self.compare()

    def decide_in_vain(self, command: Command) -> None:
        now = self.stack.clock()
        self.stack.core.handle(command, now)
        self.stack.core.tick(now)
        self.stack.core.take(now)

    def started_again(self, player: Player) -> list[Command]:
        commands: list[Command] = []
        for ref in player.started_here:
            job = self.model.mine(player.key, ref)
            if job is not None:
                job.start()
            commands.append(JobStarted(session=player.session, job_id=ref.job_id, epoch=ref.epoch))
        return commands
