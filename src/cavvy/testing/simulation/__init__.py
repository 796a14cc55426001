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
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

import structlog

from cavvy import defaults
from cavvy.core.ed25519 import public_key
from cavvy.core.settings import Settings
from cavvy.core.writes import AddWorkerToken
from cavvy.protocol.handshake import key_fingerprint
from cavvy.testing.simulation.clients import USERS, Clients
from cavvy.testing.simulation.coordinator import TENANTS, SimulatedCoordinator
from cavvy.testing.simulation.history import Call, History, Violation
from cavvy.testing.simulation.judging import Judge
from cavvy.testing.simulation.legacy_worker import SimulatedLegacyWorker
from cavvy.testing.simulation.lookout import Lookout
from cavvy.testing.simulation.loop import VirtualLoop
from cavvy.testing.simulation.network import Link, Weather
from cavvy.testing.simulation.plan import COORDINATORS_OWN, HARMLESS, Forbidden, Plan, Strike
from cavvy.testing.simulation.process import CommitFault
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


class Simulation:
    """One run. The same seed gives the same run (under one PYTHONHASHSEED)."""

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        self.seed = seed
        self.history = History()
        self._dice = Random(seed)
        self.plan = plan or Plan.thrown(self._dice).with_dispatch(Random(f"Dispatch {seed}"))
        self._weather = Weather(dice=self._dice)
        self._key = self._dice.randbytes(32)
        settings = Settings(
            coordinator_key=public_key(self._key).hex(),
            requeue_after_s=self._dice.choice((0.0, 1.0, 5.0)),
            stop_slice=self._dice.choice((1, 1000)),
            legacy_private=self.plan.legacy_private,
        )
        self.history.dispatched.private = self.plan.legacy_private
        self.coordinator = SimulatedCoordinator(self.history, self._dice, self._weather, settings, self._key)
        self.workers: list[SimulatedWorker] = []
        self.legacy: list[SimulatedLegacyWorker] = []

    @property
    def machines(self) -> list[SimulatedWorker | SimulatedLegacyWorker]:
        return [*self.workers, *self.legacy]

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
        people = Clients(self.coordinator, self._dice, self.plan, [worker.key for worker in self.machines])
        clients = [loop.create_task(people.one(number)) for number in range(self.plan.jobs)]
        for tenant in TENANTS if self.plan.dispatch else TENANTS[:1]:
            clients.append(loop.create_task(people.stop_everything(tenant)))
            clients += [loop.create_task(people.trust((tenant, user))) for user in USERS]
        watching = loop.create_task(Lookout(self.history, self.coordinator, self.workers).watch())
        await self._storm()
        self._clear_up()
        await self._calm(clients)
        watching.cancel()
        for failure in failures:
            self.history.broken("shell", repr(failure))
        jobs = [job async for job in self.coordinator.jobs()]
        return Judge(self.history, self.plan.forbids).judge(jobs)

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
                tasks=bool(self.plan.tasks) and (not number or self._dice.random() < 0.5),
            )
            self.workers.append(worker)
        self.coordinator.kill()  # the tokens are taken up by the next start
        for worker in self.workers:
            worker.piece_s = self._dice.choice((0.05, 0.5, 5.0))
            worker.stops_within_s = self._dice.choice((0.01, 0.5, 10.0))
            worker.fails = 0.05 if self.plan.failing else 0.0
            worker.hangs = 0.1 if self.plan.hasty else 0.0
            worker.start()
        self._let_in_legacy()

    def _let_in_legacy(self) -> None:
        for number in range(self.plan.legacy):
            worker = SimulatedLegacyWorker(f"l{number}", self.history, self._dice, self.coordinator)
            worker.piece_s = self._dice.choice((0.05, 0.5, 5.0))
            worker.odd = self.plan.odd
            worker.start()
            self.legacy.append(worker)

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
        self._dice.choice(self.machines).kill()

    def _drain_worker(self) -> None:
        self._dice.choice(self.machines).drain(self._dice.choice((0.0, 1.0, 30.0)))

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
        worker = self._dice.choice(self.machines)
        if worker.link is not None:
            self.history.note(worker.now_s, f"{worker.name}'s connection: {what}")
            act(worker.link)

    def _partition(self) -> None:
        worker = self._dice.choice(self.machines)
        seconds = self._dice.choice((2.0, 15.0, 40.0))
        self.history.note(worker.now_s, f"{worker.name} is cut off for {seconds} s")
        worker.unreachable_until_s = worker.now_s + seconds
        if worker.link is not None:
            worker.link.go_silent()

    def _slow_disk(self) -> None:
        self.coordinator.commit_delay_s = self._dice.choice(((0.0001, 0.005), (0.5, 2.0), (3.0, 12.0)))

    def _step_clock(self) -> None:
        self.coordinator.unsettle()
        self.coordinator.wall_offset_ms += self._dice.choice((-3_600_000, 3_600_000, 86_400_000))

    def _clear_up(self) -> None:
        self.history.note(self.coordinator.now_s, "the weather clears up")
        self._weather.clear_up()
        self.coordinator.clean_up()
        self.coordinator.faults.clear()
        self.coordinator.commit_delay_s = (0.0001, 0.005)
        for worker in self.machines:
            worker.clear_up()

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
        history.gave_up = history.gave_up or what == "attempts stopped"
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
