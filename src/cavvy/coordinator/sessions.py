"""Every worker session. The engine's outlet: effects about jobs go to the hub and to who watches, about keys to who
watches, the others to their session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

from cavvy import logs
from cavvy.coordinator.aside import Aside
from cavvy.coordinator.engine import Engine
from cavvy.coordinator.hub import Hub
from cavvy.coordinator.login import OnlineWorker, Sent
from cavvy.coordinator.native import NativeSession
from cavvy.coordinator.session import Receive, Send, Session
from cavvy.core.commands import Command, SessionClosed
from cavvy.core.ed25519 import public_key
from cavvy.core.effects import (
    Assign,
    CloseSession,
    CompletionAnswered,
    Effect,
    FrameRefused,
    HeartbeatAnswered,
    JobChanged,
    JobEffect,
    JobEnded,
    KeyChanged,
    StopAttempt,
    StopChanged,
    StopUnanswered,
    TrustAnswered,
    WorkerChanged,
    WorkerCooled,
)
from cavvy.core.identity import ApiKey
from cavvy.core.job import Now
from cavvy.core.latch import StopLatch
from cavvy.protocol.handshake import CloseCode

__all__ = ["Sessions", "Watch"]


class Watch(Protocol):
    """Who is told of what has changed. Nothing here waits."""

    def job(self, effect: JobEffect) -> None:
        """A job has."""

    def workers(self, owner: str) -> None:
        """A worker of this tenant (or a shared one, of SHARED) may look different now."""

    def stop(self, latch: StopLatch) -> None:
        """A tenant's stop holds, or no longer."""

    def key(self, key: ApiKey) -> None:
        """From now on this is the key."""


class NobodyWatches:
    """For whoever needs no watch."""

    def job(self, effect: JobEffect) -> None:
        pass

    def workers(self, owner: str) -> None:
        pass

    def stop(self, latch: StopLatch) -> None:
        pass

    def key(self, key: ApiKey) -> None:
        pass


log = logs.get_logger()


class Sessions:
    """Every worker socket. The engine's outlet: effects about jobs go to the hub, the others to their session."""

    def __init__(self, hub: Hub, seed: bytes, clock: Callable[[], Now], watch: Watch | None = None) -> None:
        self.hub = hub
        self.seed = seed
        self.key = public_key(seed)
        self.clock = clock
        self.watch: Watch = watch or NobodyWatches()
        self.sent: dict[str, Sent] = {}
        self.aside = Aside()
        self._sessions: dict[int, Session] = {}
        self._ids = count(1)

    def release(self, effect: Effect) -> None:
        match effect:
            case JobChanged():
                self.hub.status_changed(effect)
                self.watch.job(effect)
            case JobEnded():
                self.sent.pop(effect.job.id, None)
                self.hub.ended(effect)
                self.watch.job(effect)
            case KeyChanged():
                self.watch.key(effect.key)
                self.hub.wake()
            case StopChanged(latch=latch):
                log.warning("tenant_stop", tenant=latch.tenant, latched=latch.latched, by=latch.by)
                self.watch.stop(latch)
            case (
                Assign()
                | StopAttempt()
                | StopUnanswered()
                | CompletionAnswered()
                | FrameRefused()
                | TrustAnswered()
                | HeartbeatAnswered()
                | CloseSession()
                | WorkerChanged()
                | WorkerCooled()
            ):
                session = self._sessions.get(effect.session)
                if session is not None:
                    session.put(effect)
            case _:
                raise AssertionError(f"no outlet for {type(effect).__name__}")

    def resume(self) -> Sequence[Command]:
        """What every registered socket holds, told to a rebuilt core; grants still queued are void and come again."""
        commands: list[Command] = []
        for session in self._sessions.values():
            commands += session.resume_commands()
        return commands

    def online(self) -> dict[str, OnlineWorker]:
        """The connected workers by key (hex)."""
        return {one.worker: one.info for one in self._sessions.values() if one.info is not None}

    @property
    def sockets(self) -> int:
        """How many there are, those that are logging in too."""
        return len(self._sessions)

    def oldest_heartbeat_s(self) -> float:
        """For how long the connected worker that was silent for longest has been; 0 if there is none."""
        now_s = self.clock().mono_s
        return max((now_s - one.heard_s for one in self._sessions.values() if one.info is not None), default=0.0)

    def unproven(self) -> int:
        """How many sockets are logging in."""
        return sum(one.info is None for one in self._sessions.values())

    def of_worker(self, worker: str) -> Session | None:
        found = (one for one in self._sessions.values() if one.info is not None and one.worker == worker)
        return next(found, None)

    async def serve(
        self,
        engine: Engine,
        audience: str,
        receive: Receive,
        send: Send,
        *,
        proven: Callable[[], None] = lambda: None,
        address: str = "",
        kind: type[Session] = NativeSession,
    ) -> None:
        """Runs one accepted socket, which comes from `address` and speaks the dialect of `kind`, to its end.

        Calls `proven` when it has shown whose it is.
        """
        session = kind(self, engine, next(self._ids), receive, send, address)
        session.proven = proven
        self._sessions[session.id] = session
        try:
            await session.run(audience)
        finally:
            del self._sessions[session.id]
            engine.post(SessionClosed(session=session.id))

    def close_all(self, reason: str) -> None:
        """Closes every socket as at a restart: workers go on and come back."""
        for session in list(self._sessions.values()):
            session.put(CloseSession(session=session.id, code=CloseCode.RESTART, reason=reason))

    def end(self) -> None:
        """All sockets are gone: whatever was still to be read of them is not."""
        self.aside.close()
