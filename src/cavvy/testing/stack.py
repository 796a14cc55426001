"""The coordinator's core over a store: commands in, effects out, no sockets, no waiting."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, TypeVar

from cavvy import defaults
from cavvy.coordinator.known import known
from cavvy.core.canonical import canonical
from cavvy.core.commands import (
    CancelJob,
    Command,
    CreateWorkerToken,
    EndTrust,
    ManageWorker,
    PairWorker,
    SubmitJob,
)
from cavvy.core.coordinator import Coordinator, Settings
from cavvy.core.ed25519 import public_key
from cavvy.core.effects import Assign, Effect, Reply
from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.job import JobType, Policy, PrivacyClass, TaskType, needs_of
from cavvy.core.receipt import Params
from cavvy.core.worker_status import WorkerAction
from cavvy.core.writes import AddApiKey, AddTenant, Idempotency, Write
from cavvy.store.base import JobRecord, Opened, Store
from cavvy.store.memory import MemoryStore
from cavvy.testing.clock import VirtualClock

__all__ = ["COORDINATOR_SEED", "Stack", "dice"]

E = TypeVar("E", bound=Effect)
COORDINATOR_SEED = b"\x01" * 32


def dice(seed: int = 0) -> Callable[[int], bytes]:
    """Random bytes that are the same each time: SHA-256 of a counter."""
    numbers = count(seed << 32)

    def throw(length: int) -> bytes:
        return hashlib.sha256(next(numbers).to_bytes(8, "big")).digest()[:length]

    return throw


class Stack:
    """One coordinator without its shells.

    Each `do` is one batch: commands, tick, commit; effects are kept in `effects`.
    """

    def __init__(self, store: Store | None = None, clock: VirtualClock | None = None, **clocks: float) -> None:
        self.store: Store = store or MemoryStore()
        self.clock = clock or VirtualClock()
        self.settings = Settings(coordinator_key=public_key(COORDINATOR_SEED).hex(), **clocks)  # type: ignore[arg-type]
        self.core = Coordinator(self.settings, dice())
        self.effects: list[Effect] = []
        self.writes: list[Write] = []
        self._opened: Opened | None = None
        self._refs = count(1)
        self._jobs = count(1)

    async def start(self, *, grace: bool = True) -> None:
        """Opens the store and takes up what it holds; again after a crash. Without `grace` as after a rebuild."""
        self._opened = await self.store.open()
        self.core = Coordinator(self.settings, dice())
        rows = [known(row) async for page in self.store.load() for row in page]
        numbers = dict(self._opened.last_number)
        now = self.clock()
        grace_until_s = now.mono_s + (self.settings.restart_grace_s if grace else 0)
        self.core.restore(rows, seq=self._opened.last_seq, numbers=numbers, now=now, grace_until_s=grace_until_s)

    async def know(self, *keys: ApiKey, tenants: Iterable[Tenant] = ()) -> None:
        """Puts keys and tenants into the store, as a first start does, and takes them up."""
        assert self._opened is not None
        writes: list[Write] = [*(AddTenant(tenant=one) for one in tenants), *(AddApiKey(key=key) for key in keys)]
        await self.store.commit(writes, term=self._opened.term)
        await self.rebuild()

    async def restart(self) -> None:
        """The process dies and comes back: what was not committed is gone."""
        await self.store.close()
        await self.start()

    async def rebuild(self) -> None:
        """As after a failed commit: the core is built anew while the process lives on."""
        await self.store.close()
        await self.start(grace=False)

    async def do(self, *commands: Command) -> list[Effect]:
        """One batch; its effects, after its commit."""
        assert self._opened is not None
        now = self.clock()
        for command in commands:
            self.core.handle(command, now)
        self.core.tick(now)
        batch = self.core.take(now)
        if batch.writes:
            await self.store.commit(batch.writes, term=self._opened.term)
        self.writes += batch.writes
        self.effects += batch.effects
        return batch.effects

    async def later(self, seconds: float, *commands: Command, step_s: float = 0.5) -> list[Effect]:
        """Lets time pass with a tick every `step_s`, then does `commands`."""
        effects: list[Effect] = []
        while seconds > 0:
            self.clock.advance(min(step_s, seconds))
            seconds -= step_s
            effects += await self.do()
        return effects + (await self.do(*commands) if commands else [])

    async def submit(
        self,
        prompt: str = "hi",
        *,
        model: str | None = None,
        key: str | None = None,
        tenant: str = defaults.TENANT,
        **fields: Any,
    ) -> str:
        """Submits one job, with these `fields` of the command; its id."""
        command = self.submission(prompt, model=model, key=key, tenant=tenant, **fields)
        effects = await self.do(command)
        reply = next(one for one in effects if isinstance(one, Reply) and one.ref == command.ref)
        assert reply.job_id is not None, reply
        return reply.job_id

    def submission(
        self,
        prompt: str = "hi",
        *,
        model: str | None = None,
        key: str | None = None,
        tenant: str = defaults.TENANT,
        private: bool = False,
        policy: Policy | None = None,
        task: TaskType | None = None,
        **fields: Any,
    ) -> SubmitJob:
        """The command that `submit` does."""
        user_id = fields.pop("user_id", defaults.USER)
        body = canonical({"prompt": prompt} if task is None else {"task_type": task.value, "input": prompt})
        number = next(self._jobs)
        return SubmitJob(
            ref=next(self._refs),
            id=f"00000000-0000-7000-8000-{number:012x}",
            user_id=user_id,
            needs=needs_of(
                tenant=tenant,
                user_id=user_id,
                job_type=JobType.LLM_INFER if task is None else JobType.TASK,
                privacy_class=PrivacyClass.PRIVATE if private else PrivacyClass.PUBLIC,
                model=model,
                policy=policy,
            ),
            input=body,
            params=canonical(Params(model=model)),
            idempotency=Idempotency(key=key, fingerprint=hashlib.sha256(body).digest()) if key else None,
            **fields,
        )

    def cancellation(self, job_id: str, reason: str | None = None, *, tenant: str = defaults.TENANT) -> CancelJob:
        return CancelJob(ref=next(self._refs), tenant=tenant, job_id=job_id, by="owner", reason=reason)

    async def token(
        self,
        ttl_s: int = 900,
        *,
        tenant: str = defaults.TENANT,
        needs_approval: bool = False,
        pairs_with: str | None = None,
    ) -> bytes:
        """A worker token's hash, made durable."""
        token_hash = self.core_dice_hash()
        await self.do(
            CreateWorkerToken(
                ref=next(self._refs),
                token_hash=token_hash,
                tenant=tenant,
                created_by="owner",
                ttl_s=ttl_s,
                needs_approval=needs_approval,
                pairs_with=pairs_with,
            )
        )
        return token_hash

    def management(self, worker: str, action: WorkerAction, *, tenant: str = defaults.TENANT) -> ManageWorker:
        """The command that does `action` with the worker of this key."""
        return ManageWorker(ref=next(self._refs), tenant=tenant, worker=worker, action=action)

    def pairing(self, worker: str, user_id: str = defaults.USER, *, tenant: str = defaults.TENANT) -> PairWorker:
        """The command by which this user trusts the worker of this key."""
        return PairWorker(
            ref=next(self._refs), id=_trust_id(worker, user_id), tenant=tenant, user_id=user_id, worker=worker
        )

    def unpairing(self, worker: str, user_id: str = defaults.USER, *, tenant: str = defaults.TENANT) -> EndTrust:
        """The command that ends what `pairing` began."""
        return EndTrust(ref=next(self._refs), id=_trust_id(worker, user_id), tenant=tenant, user_id=user_id)

    def core_dice_hash(self) -> bytes:
        return hashlib.sha256(b"token" + next(self._refs).to_bytes(4, "big")).digest()

    def next_ref(self) -> int:
        return next(self._refs)

    async def job(self, job_id: str, *, tenant: str = defaults.TENANT) -> JobRecord:
        """What the store holds of the job."""
        record = await self.store.job(tenant, job_id)
        assert record is not None, f"no job {job_id}"
        return record

    def last(self, kind: type[E]) -> E:
        """The newest effect of this kind."""
        return next(one for one in reversed(self.effects) if isinstance(one, kind))

    def all(self, kind: type[E]) -> list[E]:
        return [one for one in self.effects if isinstance(one, kind)]

    def assigned(self, job_id: str) -> Assign:
        """The newest grant of this job."""
        return next(one for one in reversed(self.effects) if isinstance(one, Assign) and one.job_id == job_id)


def _trust_id(worker: str, user_id: str) -> str:
    return f"{worker[:16]} {user_id}"
