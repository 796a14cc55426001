"""A whole Cavvy in one event loop, without sockets or waiting: shaken by a seed, its history held against the promises.

The engine, the sessions, both cores, the login and the agent are the real ones; the store is the one in memory, which
survives the processes. The seed decides everything: jobs, cancels, delays, lost and doubled frames, killed processes,
failing commits, suspended workers, stepped clocks. After a while the weather clears up, and then everything has to come
to its end.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from contextlib import contextmanager
from enum import StrEnum, auto
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest import mock
from uuid import UUID

import msgspec
import structlog

from cavvy import defaults
from cavvy.core.ed25519 import public_key
from cavvy.core.job import TERMINAL
from cavvy.core.settings import Settings
from cavvy.core.writes import AddWorkerToken
from cavvy.protocol.handshake import key_fingerprint
from cavvy.testing.simulation.coordinator import CommitFault, NoAnswer, SimulatedCoordinator
from cavvy.testing.simulation.history import Call, Forbidden, History, Violation
from cavvy.testing.simulation.loop import VirtualLoop
from cavvy.testing.simulation.network import Link, Weather
from cavvy.testing.simulation.worker import SimulatedRunner, SimulatedWorker, dialling
from cavvy.worker import agent

__all__ = [
    "COORDINATORS_OWN",
    "HARMLESS",
    "Call",
    "CommitFault",
    "Forbidden",
    "History",
    "Plan",
    "Simulation",
    "Strike",
    "Violation",
]

T = TypeVar("T")


class Strike(StrEnum):
    """What may befall a run."""

    KILL_COORDINATOR = auto()
    USURP_COORDINATOR = auto()  # a second one starts while the first one lives
    KILL_WORKER = auto()
    FAIL_COMMIT = auto()
    LOCK_STORE = auto()
    CUT = auto()
    SILENCE = auto()
    HOLD = auto()
    PARTITION = auto()
    SLOW_DISK = auto()
    STEP_CLOCK = auto()


#: These are nobody's loss: no attempt may end because of them.
HARMLESS = frozenset({Strike.LOCK_STORE, Strike.SLOW_DISK, Strike.STEP_CLOCK})
#: These leave every worker alone: no provider may be called twice for a job because of them.
COORDINATORS_OWN = HARMLESS | {Strike.KILL_COORDINATOR, Strike.FAIL_COMMIT}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How rough it gets. Times are virtual seconds; `faults` is how many of `strikes` befall the run."""

    workers: int = 3
    jobs: int = 15
    storm_s: float = 60.0
    calm_s: float = 400.0
    strikes: tuple[Strike, ...] = tuple(Strike)
    faults: int = 12
    cancels: float = 0.25
    drop: float = 0.0
    double: float = 0.0
    overtake: float = 0.0
    delay_s: tuple[float, float] = (0.0005, 0.02)
    failing: bool = False

    @classmethod
    def thrown(cls, dice: Random) -> Plan:
        return cls(
            workers=dice.randint(1, 4),
            jobs=dice.randint(5, 25),
            faults=dice.choice((0, 4, 12, 25)),
            cancels=dice.choice((0.0, 0.2, 0.6)),
            drop=dice.choice((0.0, 0.0, 0.01, 0.05)),
            double=dice.choice((0.0, 0.0, 0.02)),
            overtake=dice.choice((0.0, 0.0, 0.02)),
            delay_s=dice.choice(((0.0005, 0.02), (0.01, 0.5))),
            strikes=dice.choice(
                (tuple(Strike), tuple(Strike), tuple(sorted(COORDINATORS_OWN)), tuple(sorted(HARMLESS)))
            ),
            failing=dice.random() < 0.5,
        )

    @property
    def forbids(self) -> Forbidden:
        """What a run as gentle as this must not show."""
        gentle = not (self.drop or self.double or self.overtake or self.failing)
        return Forbidden(
            lost_attempts=gentle and HARMLESS.issuperset(self.strikes),
            repeated_calls=gentle and not self.cancels and COORDINATORS_OWN.issuperset(self.strikes),
        )


class Simulation:
    """One run. The same seed gives the same run (under one PYTHONHASHSEED)."""

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        self.seed = seed
        self.history = History()
        self._dice = Random(seed)
        self.plan = plan or Plan.thrown(self._dice)
        self._weather = Weather(dice=self._dice)
        self._key = self._dice.randbytes(32)
        settings = Settings(
            coordinator_key=public_key(self._key).hex(), requeue_after_s=self._dice.choice((0.0, 1.0, 5.0))
        )
        self.coordinator = SimulatedCoordinator(self.history, self._dice, self._weather, settings, self._key)
        self.workers: list[SimulatedWorker] = []

    def run(self) -> list[Violation]:
        """Runs to the end; what was broken, which should be nothing."""
        with _shells(self._dice, self.history), asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(self._run())

    def report(self) -> str:
        """What was broken, and everything that happened to the first job it was broken for."""
        lines = [f"seed {self.seed}, {self.plan}"]
        lines += [f"{one.promise}: {one.job_id or ''} {one.what}" for one in self.history.violations]
        first = self.history.violations[0].job_id if self.history.violations else None
        lines += [f"{at:10.3f} {event}" for at, event in self.history.events if _concerns(event, first)]
        return "\n".join(lines)

    async def _run(self) -> list[Violation]:
        loop = asyncio.get_running_loop()
        failures: list[BaseException] = []
        loop.set_exception_handler(
            lambda _, context: failures.append(context.get("exception") or RuntimeError(context["message"]))
        )
        await self._settle_in()
        clients = [loop.create_task(self._client(number)) for number in range(self.plan.jobs)]
        await self._storm()
        self._clear_up()
        await self._calm(clients)
        for failure in failures:
            self.history.broken("shell", repr(failure))
        jobs = [job async for job in self.coordinator.jobs()]
        return self.history.judge(jobs, self.plan.forbids)

    async def _settle_in(self) -> None:
        await self.coordinator.start()
        fingerprint = key_fingerprint(public_key(self._key))
        for number in range(self.plan.workers):
            token = f"cav_wrk_{number}_{fingerprint}"
            write = AddWorkerToken(
                token_hash=hashlib.sha256(token.encode()).digest(),
                tenant=defaults.TENANT,
                created_by=defaults.USER,
                created_at_ms=0,
                expires_at_ms=2**52,
            )
            await self.coordinator.store.commit([write], term=1)
            worker = SimulatedWorker(
                f"w{number}",
                self._dice.randint(1, 3),
                self.history,
                self._dice,
                self.coordinator,
                f"cavvy://127.0.0.1:4010/{token}",
            )
            self.workers.append(worker)
        self.coordinator.kill()  # the tokens are taken up by the next start
        for worker in self.workers:
            worker.piece_s = self._dice.choice((0.05, 0.5, 5.0))
            worker.stops_within_s = self._dice.choice((0.01, 0.5, 10.0))
            worker.fails = 0.05 if self.plan.failing else 0.0
            worker.start()

    # -- clients

    async def _client(self, number: int) -> None:
        """Submits one job, however often it takes; looks after it; may cancel it."""
        dice = self._dice
        await asyncio.sleep(dice.uniform(0, self.plan.storm_s * 0.8))
        key = f"k{number}"
        job_id, *_ = await asyncio.gather(*(self._submit(key) for _ in range(1 + (dice.random() < 0.2))))
        if dice.random() < self.plan.cancels:
            await asyncio.sleep(dice.choice((0.0, 0.0, 0.01, 0.1, 1.0, 5.0)))
            await self._cancel(job_id)
        while True:
            record = await self._ask(lambda: self.coordinator.look(job_id))
            self.history.saw(job_id, record)
            if record is None or record.status in TERMINAL:
                return
            await asyncio.sleep(dice.uniform(0.5, 5.0))

    async def _submit(self, key: str) -> str:
        dice = self._dice

        def once() -> Coroutine[Any, Any, str]:
            job_id = str(UUID(bytes=dice.randbytes(16), version=4))
            return self.coordinator.submit(key, f"prompt {key}", job_id)

        job_id = await self._ask(once)
        self.history.note(self.coordinator.now_s, f"client {key} has {job_id}")
        self.history.submit_answered(key, job_id)
        return job_id

    async def _cancel(self, job_id: str) -> None:
        record = await self._ask(lambda: self.coordinator.cancel(job_id))
        self.history.note(self.coordinator.now_s, f"client cancelled {job_id}: {record.status if record else None}")
        self.history.saw(job_id, record)

    async def _ask(self, once: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Repeats a request until it is answered."""
        while True:
            try:
                return await once()
            except NoAnswer:
                await asyncio.sleep(self._dice.uniform(0.1, 2.0))

    # -- weather

    async def _storm(self) -> None:
        plan, weather = self.plan, self._weather
        weather.drop, weather.double, weather.overtake = plan.drop, plan.double, plan.overtake
        weather.delay_s = plan.delay_s
        times = sorted(self._dice.uniform(1, plan.storm_s) for _ in range(plan.faults))
        for at_s, next_s in zip([0.0, *times], [*times, plan.storm_s], strict=True):
            if at_s:
                self._strike()
            await asyncio.sleep(next_s - at_s)

    def _strike(self) -> None:
        strike = self._dice.choice(self.plan.strikes)
        self.history.note(self.coordinator.now_s, f"strike: {strike}")
        getattr(self, f"_{strike}")()

    def _kill_coordinator(self) -> None:
        self.coordinator.kill()

    def _usurp_coordinator(self) -> None:
        self.coordinator.usurp()

    def _kill_worker(self) -> None:
        self._dice.choice(self.workers).kill()

    def _fail_commit(self) -> None:
        faults = [fault for fault in CommitFault if fault is not CommitFault.BUSY]
        self.coordinator.faults.append(self._dice.choice(faults))

    def _lock_store(self) -> None:
        self.coordinator.faults += [CommitFault.BUSY] * self._dice.randint(1, 60)

    def _cut(self) -> None:
        self._with_link("cut", Link.cut)

    def _silence(self) -> None:
        self._with_link("silent", Link.go_silent)

    def _hold(self) -> None:
        seconds = self._dice.choice((1.0, 6.0, 12.0, 30.0))
        self._with_link(f"held for {seconds} s", lambda link: link.hold(seconds))

    def _with_link(self, what: str, act: Callable[[Link], None]) -> None:
        worker = self._dice.choice(self.workers)
        if worker.link is not None:
            self.history.note(worker.now_s, f"{worker.name}'s connection: {what}")
            act(worker.link)

    def _partition(self) -> None:
        worker = self._dice.choice(self.workers)
        seconds = self._dice.choice((2.0, 15.0, 40.0))
        self.history.note(worker.now_s, f"{worker.name} is cut off for {seconds} s")
        worker.unreachable_until_s = worker.now_s + seconds
        if worker.link is not None:
            worker.link.go_silent()

    def _slow_disk(self) -> None:
        self.coordinator.commit_delay_s = self._dice.choice(((0.0001, 0.005), (0.5, 2.0), (3.0, 12.0)))

    def _step_clock(self) -> None:
        self.coordinator.wall_offset_ms += self._dice.choice((-3_600_000, 3_600_000, 86_400_000))

    def _clear_up(self) -> None:
        self.history.note(self.coordinator.now_s, "the weather clears up")
        self._weather.clear_up()
        self.coordinator.clean_up()
        self.coordinator.faults.clear()
        self.coordinator.commit_delay_s = (0.0001, 0.005)
        for worker in self.workers:
            worker.fails = 0.0
            worker.piece_s = min(worker.piece_s, 0.5)
            worker.unreachable_until_s = 0.0

    async def _calm(self, clients: list[asyncio.Task[None]]) -> None:
        _, late = await asyncio.wait(clients, timeout=self.plan.calm_s)
        for client in clients:
            if client in late:
                client.cancel()
            elif (error := client.exception()) is not None:
                raise error


_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _concerns(event: str, job_id: str | None) -> bool:
    return job_id is None or job_id in event or not _JOB_ID.search(event)


@contextmanager
def _shells(dice: Random, history: History) -> Iterator[None]:
    """The agent's ways out lead into the simulation, what is logged goes into the history."""

    def take(_: Any, level: str, event: MutableMapping[str, Any]) -> str:
        what = event.pop("event")
        error = event.pop("exc_info", None)
        history.note(asyncio.get_running_loop().time(), f"log {level}: {what} {event} {sys.exc_info()[1]!r}"[:500])
        if what == "deciding_failed":
            history.broken("core", f"deciding raised {error!r} {sys.exc_info()[1]!r}")
        raise structlog.DropEvent

    before = structlog.get_config()
    clock = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time(), time=lambda: 1_700_000_000.0)
    structlog.configure(processors=[take])
    try:
        with mock.patch.multiple(agent, connect=dialling, Runner=SimulatedRunner, time=clock, _dice=dice):
            yield
    finally:
        structlog.configure(**before)
