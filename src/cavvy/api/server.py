"""A whole coordinator in one object: store, engine, sessions, HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn

from cavvy import defaults, logs
from cavvy.api.app import create_app
from cavvy.api.auth import KeyRing, Role, first_keys, new_worker_token
from cavvy.api.commit_times import CommitTimes
from cavvy.api.connections import ConnectionLimits, HttpConnection, LimitedConfig
from cavvy.api.feed import Feed
from cavvy.api.handshakes import TlsHandshake
from cavvy.api.limits import RateLimits
from cavvy.api.listening import Listen, Reach, bind, certificate, reach
from cavvy.api.services import Services
from cavvy.api.watching import Watching
from cavvy.api.workers import create_worker_token, workers_by_id
from cavvy.coordinator.engine import Engine
from cavvy.coordinator.hub import Hub
from cavvy.coordinator.maintenance import Maintenance
from cavvy.coordinator.meter import Meter
from cavvy.coordinator.sessions import Sessions
from cavvy.core.coordinator import Settings
from cavvy.core.ed25519 import public_key
from cavvy.core.identity import Tenant
from cavvy.core.job import Now, Terms, WorkerStatus, shared_terms
from cavvy.core.retention import Policy
from cavvy.core.writes import AddApiKey, AddTenant
from cavvy.protocol.handshake import key_fingerprint
from cavvy.protocol.keyfile import load_or_create_seed
from cavvy.store.base import Store

if TYPE_CHECKING:
    from cavvy.api.certificates import Certificate

__all__ = ["CoordinatorServer", "system_clock"]

log = logs.get_logger()


def system_clock() -> Now:
    return Now(time.monotonic(), wall_clock_ms())


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class _Uvicorn(uvicorn.Server):
    """Says when it listens; signals belong to the composition root."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class CoordinatorServer:
    """Serves where `listen` says: by default on 127.0.0.1 and, where there is one, ::1.

    `admin_key` and `operator_key` are set by the very first start only. It hands itself to `keep_keys` before the keys
    are durable: were it killed in between, nobody would ever know them. `limits` are fields of Settings and
    RateLimits and ConnectionLimits.
    """

    def __init__(
        self,
        data_dir: Path,
        store: Store,
        *,
        listen: Listen | None = None,
        settings: Settings | None = None,
        limits: Mapping[str, float] | None = None,
        keep_keys: Callable[[CoordinatorServer], None] = lambda _: None,
    ) -> None:
        self.data_dir = data_dir
        self.admin_key: str | None = None
        self.operator_key: str | None = None
        self._store = store
        self._listen = listen or Listen()
        self._reach: Reach | None = None
        self._settings = settings
        self._limits = limits or {}
        self._connections = ConnectionLimits(**_of(self._limits, ConnectionLimits))
        self._keep_keys = keep_keys
        self._services: Services | None = None
        self._uvicorn: _Uvicorn | None = None
        self._config: LimitedConfig | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._maintenance: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def url(self) -> str:
        """For clients on this machine."""
        assert self._reach is not None
        scheme = "https" if self._listen.tls else "http"
        return f"{scheme}://{self._reach.here}"

    @property
    def pin(self) -> str | None:
        """The pin of the certificate at `url`, None without TLS."""
        assert self._reach is not None
        return self._reach.pin_here

    @property
    def reach(self) -> Reach:
        """How it is reached, once it listens."""
        assert self._reach is not None
        return self._reach

    async def start(self) -> None:
        """Opens the data, then listens.

        Raises StartError (DataHeld, SchemaTooNew, PortInUse …); then nothing is left open.
        """
        seed = load_or_create_seed(self.data_dir / "coordinator.key")
        meter = Meter(wall_clock_ms)
        hub = Hub(meter.first_token)
        ring = KeyRing(system_clock, RateLimits(**_of(self._limits, RateLimits)), dispatch=self._listen.dispatch)
        feed = Feed(lambda tenant: workers_by_id(self._store, sessions, tenant), system_clock)
        sessions = Sessions(hub, seed, system_clock, Watching(ring, feed, meter))
        settings = self._settings or Settings(coordinator_key=public_key(seed).hex(), **_of(self._limits, Settings))
        engine = Engine(
            self._store, settings, clock=system_clock, dice=os.urandom, outlet=sessions, committed=meter.committed
        )
        sockets: list[socket.socket] = []
        try:
            await engine.open()
            served = certificate(self._listen, self.data_dir, datetime.now(UTC))
            sockets = bind(self._listen)
            self._reach = reach(self._listen, sockets[0].getsockname()[1], served)
            await self._first_start(engine)
            await self._open_to_dispatch(engine)
            ring.load(await self._store.api_keys())
        except BaseException:
            for each in sockets:
                each.close()
            await self._store.close()
            raise
        maintenance = Maintenance(engine, Policy(**_of(self._limits, Policy)), system_clock)
        self._services = Services(
            terms=shared_terms(Terms(**_of(self._limits, Terms))),
            engine=engine,
            hub=hub,
            feed=feed,
            sessions=sessions,
            store=self._store,
            ring=ring,
            clock=system_clock,
            maintenance=maintenance,
            reach=self._reach,
            meter=meter,
            connections=self._open_connections,
            max_unproven=self._connections.max_unproven_sockets,
            dispatch=self._listen.dispatch,
            commit_times=CommitTimes(**_of(self._limits, CommitTimes)),
        )
        self._maintenance = asyncio.create_task(maintenance.run(), name="maintenance")
        await self._serve(sockets, served)

    async def own_worker_line(self, worker: str) -> str:
        """The line by which the worker with this key, in this very process, joins. It holds a fresh token only if the
        worker is not enrolled: one that is needs no more than the address. Its user trusts it from then on, until he
        ends that.
        """
        assert self._services is not None
        if await self.worker_status(worker) is None:
            return await self.create_worker_token(private=True)
        return self._services.reach.line(new_worker_token(key_fingerprint(self._services.sessions.key)))

    async def worker_status(self, worker: str) -> WorkerStatus | None:
        """The status of the default tenant's worker with this key; None if none is enrolled."""
        found = (one.status for one in await self._store.workers(defaults.TENANT) if one.key == worker)
        return next(found, None)

    async def create_worker_token(self, *, private: bool = False) -> str:
        """A join line for one worker of the default tenant on this machine; see WorkerTokenBody."""
        assert self._services is not None
        token = await create_worker_token(self._services, defaults.TENANT, defaults.USER, private=private)
        return self.reach.line(token.token, local=True)

    async def wait_closed(self) -> int:
        """Waits until the engine ends: 0 after `stop`, 75 when this process must not go on, 6 when no other could."""
        assert self._services is not None
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        code = self._services.engine.exit_code
        if not self._stopped:
            code = code or 75
            await self.stop()
        return code or 0

    async def stop(self) -> None:
        """No new work, the last commit, sockets closed 1012, streams told `bye`; within 5 s."""
        if self._stopped or self._services is None or self._uvicorn is None:
            return
        self._stopped = True
        here = self._services
        here.engine.stop()
        here.sessions.close_all("the coordinator stops")
        here.hub.stop()
        here.feed.stop()
        self._uvicorn.should_exit = True
        _, late = await asyncio.wait(self._tasks, timeout=defaults.SHUTDOWN_S)
        for task in late:
            task.cancel()
        for failed in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(failed, Exception):
                log.error("stopped_with_error", exc_info=failed)
        if self._maintenance is not None:
            self._maintenance.cancel()
            await asyncio.gather(self._maintenance, return_exceptions=True)
        here.sessions.end()
        await self._store.close()

    def _open_connections(self) -> int:
        return len(self._config.open) if self._config is not None else 0

    async def _first_start(self, engine: Engine) -> None:
        if await self._store.api_keys():
            return
        now_ms = system_clock().wall_ms
        keys = first_keys(now_ms)
        self.admin_key, self.operator_key = keys[Role.ADMIN][0], keys[Role.OPERATOR][0]
        self._keep_keys(self)
        tenant = Tenant(id=defaults.TENANT, created_at_ms=now_ms)
        await engine.bootstrap([AddTenant(tenant=tenant), *(AddApiKey(key=key) for _, key in keys.values())])

    async def _open_to_dispatch(self, engine: Engine) -> None:
        """Makes the tenant of those who send no key, the first time."""
        if self._listen.dispatch and all(one.id != defaults.DISPATCH_TENANT for one in await self._store.tenants()):
            tenant = Tenant(id=defaults.DISPATCH_TENANT, created_at_ms=system_clock().wall_ms)
            await engine.bootstrap([AddTenant(tenant=tenant)])

    async def _serve(self, sockets: list[socket.socket], served: Certificate | None) -> None:
        assert self._services is not None
        assert self._reach is not None
        self._config = LimitedConfig(
            create_app(self._services),
            self._connections,
            self._reach.proxies,
            timeout_graceful_shutdown=2,
            http=functools.partial(TlsHandshake, served.context) if served else HttpConnection,
        )
        self._uvicorn = _Uvicorn(self._config)
        engine = asyncio.create_task(self._services.engine.run(), name="engine")
        web = asyncio.create_task(self._uvicorn.serve(sockets=sockets), name="web")
        self._tasks = [engine, web]
        listening = asyncio.create_task(self._uvicorn.listening.wait())
        await asyncio.wait((listening, web), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()


def _of(limits: Mapping[str, float], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Those of `limits` that are fields of `kind`."""
    return {name: value for name, value in limits.items() if name in kind.__struct_fields__}
