"""What the rules of the stateful test play with: three workers, a coordinator, a store, and the model beside them."""

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
from cavvy.core.job import AttemptRef, JobType
from cavvy.store.base import JobRecord, Store
from cavvy.testing import FakeLegacyWorker, FakeWorker, Stack
from tests.conformance.conftest import make_store
from tests.stateful.model import Job, Model

T = TypeVar("T")


class Player(FakeWorker):
    """A worker, what it holds, and whether it is connected."""

    def __init__(self, stack: Stack, name: str, **offer: Any) -> None:
        super().__init__(stack, name, **offer)
        self.holds: dict[AttemptRef, Assign] = {}
        self.started_here: set[AttemptRef] = set()
        self.online = False
        self.leaving = False
        self.lives = 1

    def drop(self, ref: AttemptRef) -> None:
        self.holds.pop(ref, None)
        self.started_here.discard(ref)


class LegacyPlayer(FakeLegacyWorker, Player):
    """One of Dispatch's."""


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
            self.model.compare(await self.stored(job_id))
        loaded = [row.id async for page in self.stack.store.load() for row in page if hasattr(row, "seq")]
        assert loaded == [job.id for job in self.model.jobs.values() if not job.over], "what a restart would take up"

    async def stored(self, job_id: str) -> JobRecord:
        return await self.stack.job(job_id, tenant=self.model.jobs[job_id].tenant)

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
        if player.legacy:
            self.reborn(player)

    def reborn(self, player: Player) -> None:
        """What it has was given to another process, or over another socket."""
        player.holds.clear()
        player.started_here.clear()
        player.leaving = False
        player.lives += 1

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

    def pick_player(self, data: st.DataObject, *, online: bool, native: bool = False) -> Player:
        found = [one for one in self.players if one.online is online and not (native and one.legacy)]
        return data.draw(st.sampled_from(found), "worker")

    def pick_held(self, data: st.DataObject, *, native: bool = False) -> tuple[Player, AttemptRef]:
        found = [one for one in self.players if one.online and not (native and one.legacy)]
        return data.draw(st.sampled_from([(one, ref) for one in found for ref in one.holds]), "held")

    def pick_job(self, data: st.DataObject) -> Job:
        return data.draw(st.sampled_from(list(self.model.jobs.values())), "job")

    @property
    def somebody_holds(self) -> bool:
        return any(one.holds for one in self.players if one.online)

    @property
    def native_holds(self) -> bool:
        return any(one.holds for one in self.players if one.online and not one.legacy)

    @property
    def native_online(self) -> bool:
        return any(one.online for one in self.players if not one.legacy)

    @initialize()
    def open(self) -> None:
        self.run(self._open())

    async def _open(self) -> None:
        store: Store = make_store(self.kind, self.directory)
        self.stack = Stack(store)
        both = frozenset(JobType)
        self.players = [
            Player(self.stack, "ann", slots=2, job_types=both),
            Player(self.stack, "bob"),
            LegacyPlayer(self.stack, "leg", job_types=both),
        ]
        await self.stack.start()
        for player in self.players:
            await player.join()
            player.online = True
            self.model.online.add(player.key)
            if JobType.TASK in player.profile.job_types:
                self.model.do_tasks.add(player.key)
            if player.legacy:
                self.model.legacy.add(player.key)

    async def die(self) -> None:
        for player in self.players:
            self.gone(player)
        await self.stack.restart()
        await self.forget_unwritten_starts()

    async def forget_unwritten_starts(self) -> None:
        for job in self.model.jobs.values():
            job.forget_unwritten_start((await self.stored(job.id)).status)
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
