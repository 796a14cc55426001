"""Those who submit, look, cancel and stop everything in a simulation, however often they have to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from cavvy import defaults
from cavvy.api.commit_times import CommitTimes
from cavvy.core.job import TERMINAL, Effort, JobStatus, PrivacyClass, Terms
from cavvy.core.pairings import User
from cavvy.testing.simulation.coordinator import SimulatedCoordinator
from cavvy.testing.simulation.errands import Errand
from cavvy.testing.simulation.plan import Plan, Strike
from cavvy.testing.simulation.requests import NoAnswer, Requests

__all__ = ["USERS", "Clients"]

T = TypeVar("T")
#: Whose the PRIVATE jobs are.
USERS = ("ann", "bob")


class Clients:
    """Everybody who asks something of the coordinator."""

    def __init__(self, coordinator: SimulatedCoordinator, dice: Random, plan: Plan, workers: Sequence[str]) -> None:
        self._coordinator = coordinator
        self._requests = Requests(coordinator)
        self._workers = workers
        self._trusts: dict[tuple[str, User], str] = {}
        self._history = coordinator.history
        self._dice = dice
        self._plan = plan

    async def one(self, number: int) -> None:
        """Submits one job, however often it takes; looks after it; may cancel it, may run it again."""
        dice = self._dice
        await asyncio.sleep(dice.uniform(0, self._plan.storm_s * 0.8))
        key = f"k{number}"
        errand = Errand.thrown(f"prompt {key}", self._plan, dice)
        job_id, *_ = await asyncio.gather(*(self._submit(key, errand) for _ in range(1 + (dice.random() < 0.2))))
        if dice.random() < self._plan.cancels:
            await asyncio.sleep(dice.choice((0.0, 0.0, 0.01, 0.1, 1.0, 5.0)))
            await self._cancel(job_id)
        while True:
            record = await self._ask(lambda: self._requests.look(job_id))
            self._history.saw(job_id, record)
            if record is None or record.status in TERMINAL:
                if record is None or record.status is JobStatus.COMPLETED or dice.random() >= self._plan.retries:
                    return
                await self._retry(job_id)
            await asyncio.sleep(dice.uniform(0.5, 5.0))

    async def stop_everything(self, tenant: str) -> None:
        """As often as the plan says; each stop is released after a while."""
        for _ in range(self._plan.stops):
            await asyncio.sleep(self._dice.uniform(0, self._plan.storm_s / self._plan.stops))
            stop_seq = await self._ask(lambda: self._requests.stop(tenant))
            self._history.stop_answered(tenant, stop_seq)
            self._history.note(self._coordinator.now_s, f"client stopped everything up to {stop_seq}")
            await asyncio.sleep(self._dice.choice((0.0, 1.0, 8.0)))
            self._history.stop_released(tenant)
            self._history.note(self._coordinator.now_s, "client releases the stop")
            await self._ask(lambda: self._requests.release(tenant))

    async def trust(self, user: User) -> None:
        """A user changes his mind about whom he trusts, as often as the plan says; in the end he trusts somebody."""
        dice, plan = self._dice, self._plan
        if not plan.private:
            return
        workers = [one for one in self._workers if self._serves(one, user[0])]
        for _ in range(plan.trusts):
            await asyncio.sleep(dice.uniform(0, 2 * plan.storm_s / plan.trusts))
            worker = dice.choice(workers)
            if (worker, user) in self._trusts:
                await self._unpair(worker, user)
            else:
                await self._pair(worker, user)
        await self._pair(self._workers[0], user)

    def _serves(self, worker: str, tenant: str) -> bool:
        return tenant == defaults.DISPATCH_TENANT or not self._history.dispatched.legacy(worker)

    async def _pair(self, worker: str, user: User) -> None:
        """However long it takes until such a worker is there to be trusted."""
        number = self._dice.randbytes(4).hex()
        self._history.trust_asked(worker, user)
        self._history.note(self._coordinator.now_s, f"{user[1]} trusts {worker[:8]}")
        self._trusts[worker, user] = await self._ask(lambda: self._requests.pair(f"tru_{number}", worker, user))

    async def _unpair(self, worker: str, user: User) -> None:
        trust_id = self._trusts.pop((worker, user))
        await self._ask(lambda: self._requests.unpair(trust_id, user))
        self._history.trust_ended(worker, user)
        self._history.note(self._coordinator.now_s, f"{user[1]} does not trust {worker[:8]} any more")

    async def _submit(self, key: str, errand: Errand) -> str:
        dice = self._dice
        whose = self._whose(errand)

        def once() -> Coroutine[Any, Any, str]:
            job_id = str(UUID(bytes=dice.randbytes(16), version=4))
            effort, terms = dice.choice(list(Effort)), self._terms(errand)
            return self._requests.submit(key, errand, job_id, effort=effort, terms=terms, **whose)

        job_id = await self._ask(once)
        self._history.note(self._coordinator.now_s, f"client {key} has {job_id}")
        self._history.submit_answered(key, job_id)
        return job_id

    def _whose(self, errand: Errand) -> dict[str, Any]:
        """Whose job it is, and whether it is PRIVATE; then it mostly waits for somebody to trust."""
        dice = self._dice
        if not self._plan.private or dice.random() >= self._plan.private:
            return {"user_id": defaults.USER}
        waits = dice.random() < 0.8 and errand.waits
        return {"user_id": dice.choice(USERS), "privacy_class": PrivacyClass.PRIVATE, "waits_untrusted": waits}

    def _terms(self, errand: Errand) -> Terms:
        """Those of the commit routes; else times that end things in a run, those of the wall clock only where nobody
        steps it.
        """
        dice, plan = self._dice, self._plan
        now_ms = self._coordinator.clock().wall_ms
        if errand.policy is not None:
            return CommitTimes().terms(Terms(), errand.job_type, now_ms)
        if not plan.hasty:
            return Terms()
        chance = dice.random()
        steady = Strike.STEP_CLOCK not in plan.strikes
        return Terms(
            timeout_s=dice.choice((5.0, 30.0)),
            first_token_timeout_s=dice.choice((3.0, 10.0)),
            stall_timeout_s=dice.choice((3.0, 10.0)),
            match_window_s=20.0 if chance < 0.2 else None,
            max_attempts=dice.randint(1, 3),
            deadline_at_ms=now_ms + dice.choice((20_000, 60_000)) if steady and 0.2 < chance < 0.5 else None,
            not_before_ms=now_ms + 10_000 if steady and 0.4 < chance < 0.7 else None,
        )

    async def _retry(self, job_id: str) -> None:
        record = await self._ask(lambda: self._requests.retry(job_id))
        status = record.status if record else None
        self._history.note(self._coordinator.now_s, f"client retried {job_id}: {status}")
        self._history.saw(job_id, record)

    async def _cancel(self, job_id: str) -> None:
        record = await self._ask(lambda: self._requests.cancel(job_id))
        status = record.status if record else None
        self._history.note(self._coordinator.now_s, f"client cancelled {job_id}: {status}")
        self._history.saw(job_id, record)

    async def _ask(self, once: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Repeats a request until it is answered."""
        while True:
            try:
                return await once()
            except NoAnswer:
                await asyncio.sleep(self._dice.uniform(0.1, 2.0))
