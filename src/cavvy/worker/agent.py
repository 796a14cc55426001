"""The worker process: joins a coordinator, keeps connected to it, runs what it is given until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections.abc import Sequence

import msgspec
from structlog.typing import FilteringBoundLogger
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException

from cavvy import defaults, logs
from cavvy.core.job import JobType, WorkerStatus
from cavvy.errors import StartError, WorkerRefused
from cavvy.protocol.fingerprint import worker_fingerprint
from cavvy.protocol.handshake import CloseCode
from cavvy.protocol.messages import Capabilities, RegisterAck
from cavvy.providers.base import Provider, TaskProvider
from cavvy.version import __version__
from cavvy.worker.attempts import Attempts
from cavvy.worker.clock import Clock, boot_clock_s
from cavvy.worker.connecting import CONNECT_PATH, distrust, is_refusal, keep_alive, socket_options, tls_context
from cavvy.worker.identity import JoinLine, Membership, WorkerHome
from cavvy.worker.runner import Runner
from cavvy.worker.session import LoginBroken, LoginRequest, OtherStore, Outbox, login

__all__ = ["Worker"]

DRAIN_TIMEOUT_S = 1.0

#: Statuses in which a worker gets no work: what it is, and which command ends that.
_HELD_BACK = {
    WorkerStatus.WAITING_APPROVAL: ("waits for approval", "approve"),
    WorkerStatus.PAUSED: ("is paused", "resume"),
    WorkerStatus.DRAINING: ("was drained", "resume"),
}

_dice = secrets.SystemRandom()


class Worker:
    """One worker. `run()` serves until `stop()`, `leave()` or a drain; `run` and `stop` may be called once.

    `home` keeps its key and what it joined; `join` is needed the first time, and to join another coordinator. What
    happens is told to `log` (structlog): "connected", "disconnected", "unreachable", "job started", "job ended". No
    prompt and no answer is ever in it. `slots` is how many jobs run side by side: None, or too many, means as many as
    its providers serve. The first provider runs what names no model; a model that several serve is the first one's.
    Without providers it runs `tasks` only, as many side by side as those have threads.
    """

    def __init__(
        self,
        *,
        home: WorkerHome,
        providers: Sequence[Provider],
        slots: int | None = None,
        name: str | None = None,
        join: JoinLine | None = None,
        log: FilteringBoundLogger | None = None,
        tasks: TaskProvider | None = None,
        clock: Clock = boot_clock_s,
    ) -> None:
        """`tasks` runs TASK jobs; without it none come. `clock` tells seconds, and goes on while the machine sleeps.

        Raises StartError when the key cannot be used or there is nothing to join, WorkerRefused rather than speak to
        another machine without TLS."""
        self._home = home
        self._identity = home.identity()
        self._providers = tuple(providers)
        self._tasks = tasks
        self._log = logs.Logger(log) if log else logs.get_logger("cavvy.worker")
        self._slots = self._served(slots)
        self._clock = clock
        self._join = join
        known = home.membership()
        if join is not None and known is not None and not join.names(known.coordinator_key):
            known = None
        if join is None and known is None:
            raise StartError("This worker has not joined a coordinator. Get a line with `cavvy workers token` there.")
        self._pinned_key = known.coordinator_key if known else None
        place = join or known
        assert place is not None
        self._url, self._pin = place.url, place.pin
        self._tls = tls_context(self._url, self._pin)
        self._name = name or (known.name if known else f"worker-{self._identity.key[:8]}")
        self._instance = secrets.token_hex(16)
        self._capabilities = b""
        self._store_id = ""
        self._with_token = known is None
        self._not_allowed: dict[bool, str] = {}
        self._attempts: Attempts | None = None
        self._outbox: Outbox | None = None
        self._serving: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._stopping = False
        self._online = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def key(self) -> str:
        """The worker's public key (hex)."""
        return self._identity.key

    @property
    def name(self) -> str:
        return self._name

    @property
    def url(self) -> str:
        """The coordinator's, `wss://HOST:PORT`; without TLS (`ws:`) on this machine only."""
        return self._url

    async def run(self) -> None:
        """Serves until `stop()`, or until the coordinator has drained this worker. Leaves no process behind, however it
        ends.

        Raises StartError when a provider cannot start, WorkerRefused when the coordinator will never take this worker.
        """
        try:
            if not self._stopping:
                self._serving = asyncio.create_task(self._serve())
                await self._serving
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            try:
                await self._shut_down()
            finally:
                self._over.set()

    async def stop(self) -> None:
        """Aborts what runs, closes the connection and the providers; returns when `run()` is about to."""
        self._stopping = True
        if self._serving is None:
            return
        if self._outbox is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_TIMEOUT_S):
                    await self._outbox.drained()
        self._serving.cancel()
        await self._over.wait()

    def leave(self, within_s: float) -> None:
        """Takes nothing new. What runs has `within_s` to end, then it is given back for others to run; `run()` returns
        when every end is delivered, or LEAVE_S later all the same.

        May be called again; with 0 it gives back now.
        """
        if self._attempts is None:
            self._leave()
            return
        self._log.info("leaving", hint=f"it takes nothing new; what it runs has {max(0, within_s):g} s to end")
        self._attempts.leave(within_s)

    async def wait_connected(self) -> None:
        """Returns when the coordinator has accepted this worker (again)."""
        await self._online.wait()

    async def _serve(self) -> None:
        for provider in self._providers:
            await provider.open()
        self._capabilities = msgspec.json.encode(self._offer())
        self._attempts = Attempts(self._slots, self._log, self._leave, self._clock)
        failures = 0
        told = False
        while True:
            began_s = self._clock()
            try:
                await self._connect_once(self._attempts)
                told = False
            except ssl.SSLCertVerificationError as error:
                raise distrust(self._url, error) from error
            except (OSError, TimeoutError, InvalidHandshake, WebSocketException, LoginBroken) as error:
                if not told:
                    hint = "it is tried again until it answers"
                    self._log.warning("unreachable", coordinator=self._url, error=_short(error), hint=hint)
                told = True
                self._attempts.connect_failed(refused=is_refusal(error))
            failures = 0 if self._clock() - began_s > defaults.RECONNECT_CAP_S else failures + 1
            await asyncio.sleep(_pause_s(failures))

    def _served(self, wanted: int | None) -> int:
        """How many jobs run side by side: no more than the providers serve, since others would wait here in vain."""
        most = min(defaults.MAX_SLOTS, sum(provider.slots for provider in self._providers) or defaults.TASK_THREADS)
        if wanted is not None and wanted > most:
            hint = "give a provider more `slots` in cavvy.toml if it can serve them" if self._providers else None
            self._log.warning("fewer slots than asked for", asked=wanted, slots=most, hint=hint)
        return min(wanted or most, most)

    def _leave(self) -> None:
        if self._leaving is None:
            self._leaving = asyncio.create_task(self.stop())

    async def _shut_down(self) -> None:
        self._online.clear()
        if self._serving is not None and not self._serving.done():
            self._serving.cancel()
            await asyncio.wait((self._serving,))
        if self._attempts is not None:
            await self._attempts.close()
        await asyncio.gather(*(provider.close() for provider in self._providers))

    async def _connect_once(self, attempts: Attempts) -> None:
        """One connection from its first byte to its last; returns when a login was followed by a loss."""
        async with connect(self._url + CONNECT_PATH, **socket_options(self._tls)) as socket:
            try:
                await self._log_in_and_talk(socket, attempts)
            finally:
                await socket.close()

    async def _log_in_and_talk(self, socket: ClientConnection, attempts: Attempts) -> None:
        try:
            hello, ack = await login(socket, self._login_request(attempts), attempts.heard)
        except OtherStore as error:
            attempts.store_changed()
            if attempts.idle:
                self._log.warning("other store", hint=f"{error}; what this worker held of it is dropped")
                self._store_id = ""
            return
        except ConnectionClosed as closed:
            if not self._may_try_other_way(closed):
                self._judge(closed)
                raise
            return
        self._store_id = hello.store_id
        self._admitted(hello.coordinator_key, ack)
        await self._talk(socket, attempts, hello.coordinator_key, ack)

    async def _talk(self, socket: ClientConnection, attempts: Attempts, coordinator_key: str, ack: RegisterAck) -> None:
        outbox = self._outbox = Outbox(socket)
        pump = asyncio.create_task(outbox.pump())
        pinger = asyncio.create_task(keep_alive(socket, attempts.heard))
        runner = Runner(self._providers, self._identity, coordinator_key, time.time, self._tasks)
        attempts.connected(ack, runner, outbox.put)
        self._online.set()
        try:
            while True:
                attempts.receive(await socket.recv(decode=False))
        except ConnectionClosed as closed:
            self._judge(closed)
            self._log.warning("disconnected", coordinator=self._url, error=_short(closed))
        finally:
            self._online.clear()
            self._outbox = None
            attempts.disconnected()
            for task in (pump, pinger):
                task.cancel()
            await asyncio.gather(pump, pinger, return_exceptions=True)

    def _login_request(self, attempts: Attempts) -> LoginRequest:
        return LoginRequest(
            url=self._url,
            identity=self._identity,
            pinned_key=self._pinned_key,
            join=self._join,
            token=self._join.token if self._join is not None and self._with_token else None,
            capabilities=self._capabilities,
            instance=self._instance,
            time_ms=int(time.time() * 1000),
            held=attempts.held,
            finished=attempts.finished,
            store_id=self._store_id,
        )

    def _offer(self) -> Capabilities:
        of_tasks = {JobType.TASK.value} if self._tasks is not None else set()
        job_types = sorted(of_tasks.union(*(provider.job_types for provider in self._providers)))
        models = dict.fromkeys(model for provider in self._providers for model in provider.models)
        offer = {
            "name": self._name,
            "slots": self._slots,
            "job_types": job_types,
            "models": list(models),
            "version": __version__,
            "commands": any(getattr(provider, "runs_commands", False) for provider in self._providers),
            "kind": "DESKTOP",
        }
        try:
            return msgspec.convert(offer, Capabilities)
        except msgspec.ValidationError as error:
            raise StartError(f"This worker cannot offer what it was told to: {error}.") from error

    def _admitted(self, coordinator_key: str, ack: RegisterAck) -> None:
        self._pinned_key = coordinator_key
        self._with_token = False
        self._not_allowed.clear()
        membership = Membership(url=self._url, coordinator_key=coordinator_key, name=self._name, pin=self._pin)
        if self._home.membership() != membership:
            self._home.remember(membership)
        fingerprint = worker_fingerprint(self.key)
        self._log.info(
            "connected", coordinator=self._url, worker_id=ack.worker_id, name=self._name, fingerprint=fingerprint
        )
        self._tell_status(ack)
        if abs(ack.skew_ms) > defaults.SKEW_WARN_MS:
            self._log.warning("clock differs from the coordinator's", ms=ack.skew_ms)

    def _tell_status(self, ack: RegisterAck) -> None:
        """What an administrator has to do before this worker gets anything, if something."""
        if ack.status in _HELD_BACK:
            what, command = _HELD_BACK[ack.status]
            hint = f"it gets no work until somebody types: cavvy workers {command} {ack.worker_id}"
            self._log.warning(f"this worker {what}", hint=hint)

    def _may_try_other_way(self, closed: ConnectionClosed) -> bool:
        """A known worker has used up its token, a removed one needs its new token: a 4403 is tried both ways."""
        if closed.rcvd is None or closed.rcvd.code != CloseCode.NOT_ALLOWED or self._join is None:
            return False
        self._not_allowed[self._with_token] = closed.rcvd.reason
        self._with_token = not self._with_token
        return self._with_token not in self._not_allowed

    def _judge(self, closed: ConnectionClosed) -> None:
        """Raises WorkerRefused if coming back would not help."""
        if closed.rcvd is None:
            return
        reason = closed.rcvd.reason or "no reason given"
        match closed.rcvd.code:
            case CloseCode.UNPROVEN:
                raise WorkerRefused(
                    f"The coordinator at {self._url} does not believe this worker's key: {reason}."
                    " Connect to it directly, by the address in the join line. Through a proxy it needs a coordinator"
                    " that was started with --behind-proxy and the proxy's address."
                )
            case CloseCode.NOT_ALLOWED:
                raise WorkerRefused(
                    f"The coordinator at {self._url} does not accept this worker:"
                    f" {self._not_allowed.get(True) or reason}."
                )
            case CloseCode.OTHER_INSTANCE:
                raise WorkerRefused(
                    f"Another process with the same key ({self._home.key_path}) is connected: {reason}. Stop one of the"
                    " two, or give this one a directory, and so a key, of its own."
                )


def _pause_s(failures: int) -> float:
    """Full jitter: after a coordinator's restart its workers do not come back in one instant."""
    return _dice.uniform(0, min(defaults.RECONNECT_CAP_S, defaults.RECONNECT_BASE_S * 2 ** min(failures, 16)))


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
