"""A whole coordinator with workers on loopback sockets, in one event loop, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx

from cavvy import defaults
from cavvy.api.listening import Listen
from cavvy.api.server import CoordinatorServer
from cavvy.api.services import Services
from cavvy.core.commands import EndTrust, PairWorker
from cavvy.core.effects import ReplyCode
from cavvy.core.settings import Settings
from cavvy.protocol.pinning import pinned_context
from cavvy.providers.base import Provider, TaskProvider
from cavvy.providers.tasks import BuiltInTasks
from cavvy.store.base import Store
from cavvy.worker.agent import Worker
from cavvy.worker.identity import WorkerHome, parse_join

__all__ = ["LiveStack", "live_stack"]

_TASKS = BuiltInTasks()
_PATIENCE_S = defaults.MAX_WAIT_S + 30  # what takes longer hangs
#: A machine that has no time for this process for a while makes no worker lose its job.
_CLOCKS = {"lease_ttl_s": 600.0, "accept_timeout_s": 600.0}


class LiveStack:
    """`http` speaks with the admin key; `workers` were added by `add_worker`.

    Without `settings` a worker may be silent for minutes: all is in one process, and no stall of it is to lose a job.
    """

    def __init__(
        self,
        directory: Path,
        store: Store,
        settings: Settings | None,
        listen: Listen,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self.directory = directory
        self.server = CoordinatorServer(
            directory, store, listen=listen, settings=settings, limits={**_CLOCKS, **(limits or {})}
        )
        self.workers: list[Worker] = []
        self._running: list[asyncio.Task[None]] = []

    async def start(self, key: str | None = None) -> None:
        """`key` is the admin key of an earlier start of the same directory."""
        await self.server.start()
        self.key = key or self.server.admin_key or ""
        self.http = httpx.AsyncClient(
            base_url=self.server.url, headers={"Authorization": f"Bearer {self.key}"}, trust_env=False,
            timeout=_PATIENCE_S,
            verify=pinned_context(self.server.pin) if self.server.pin else self.server.url.startswith("https:"),
        )  # fmt: skip

    async def add_worker(
        self, *providers: Provider, name: str = "w", slots: int = 2, tasks: TaskProvider | None = _TASKS
    ) -> Worker:
        """A worker that has joined and is online."""
        join = parse_join(await self.server.create_worker_token())
        home = WorkerHome(self.directory / f"worker-{name}")
        worker = Worker(home=home, providers=providers, slots=slots, name=name, join=join, tasks=tasks)
        self.workers.append(worker)
        self._running.append(asyncio.create_task(worker.run()))
        await self.until_online(name)
        return worker

    async def trust(self, name: str, user_id: str = defaults.USER, *, tenant: str = defaults.TENANT) -> str:
        """This user trusts the worker of this name, the tenant's or the default one's, from now on; the trust's id."""
        here = self._here()
        engine = here.engine
        workers = [*await here.store.workers(tenant), *await here.store.workers(defaults.TENANT)]
        key = next(one.key for one in workers if one.name == name)
        trust_id, ref = f"trust-{name}-{user_id}", engine.next_ref()
        command = PairWorker(ref=ref, id=trust_id, tenant=tenant, user_id=user_id, worker=key)
        reply = await engine.ask(command, ref)
        assert reply.code is ReplyCode.OK, reply
        return trust_id

    async def distrust(self, trust_id: str, user_id: str = defaults.USER, *, tenant: str = defaults.TENANT) -> None:
        """Ends what `trust` began."""
        engine = self._here().engine
        ref = engine.next_ref()
        reply = await engine.ask(EndTrust(ref=ref, id=trust_id, tenant=tenant, user_id=user_id), ref)
        assert reply.code is ReplyCode.OK, reply

    def _here(self) -> Services:
        assert self.server._services is not None
        return self.server._services

    async def until_online(self, name: str) -> None:
        """Returns when a worker of this name is connected."""
        while True:
            found = (await self.http.get("/v1/workers")).json()["workers"]
            if any(one["name"] == name and one["online"] for one in found):
                return
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Workers first, then the coordinator."""
        for worker in self.workers:
            await worker.stop()
        await asyncio.gather(*self._running)
        await self.http.aclose()
        await self.server.stop()


@contextlib.asynccontextmanager
async def live_stack(
    directory: Path,
    store: Store,
    *,
    settings: Settings | None = None,
    limits: Mapping[str, float] | None = None,
    port: int = 0,
    listen: Listen | None = None,
    key: str | None = None,
) -> AsyncIterator[LiveStack]:
    """Starts, and stops whatever happens in the block. It listens on loopback and `port`, or as `listen` says."""
    stack = LiveStack(directory, store, settings, listen or Listen(port=port), limits)
    await stack.start(key)
    try:
        yield stack
    finally:
        await stack.stop()
