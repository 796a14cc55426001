"""Twins without one of the safeguards of accepting, granting, fencing and ending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from msgspec.structs import replace

from cavvy.coordinator.engine import Engine
from cavvy.core import attempts, board, roster
from cavvy.core.attempts import Attempts
from cavvy.core.board import Board
from cavvy.core.commands import JobCompleted
from cavvy.core.fleet import Session
from cavvy.core.lease import Resumption, resumption
from cavvy.core.outbox import Batch
from cavvy.core.retrying import Retrying
from cavvy.core.settings import Settings
from cavvy.core.timekeeper import Timekeeper
from cavvy.core.writes import GrantJob, InsertJob, Write
from cavvy.store.memory import MemoryStore
from cavvy.store.memory_tables import Tables
from cavvy.testing.simulation import Strike
from tests.simulation.twins.tools import AWAY, ROUGH, Table, all_of, nothing

__all__ = ["TWINS"]


def acknowledged_before_the_commit() -> AbstractContextManager[Any]:
    settle = Engine._settle

    async def early(self: Engine, batch: Batch, commands: list[Any]) -> None:
        self._release(batch.effects)
        await settle(self, Batch(batch.writes, []), commands)

    return mock.patch.object(Engine, "_settle", early)


def no_fence_on_results() -> AbstractContextManager[Any]:
    """A result is taken from whoever sends it, of whichever attempt, and no attempt is told that it is stale."""
    mine = Attempts._mine

    def never_stale(job: Any, worker: str, epoch: int) -> Resumption:
        answer = resumption(job, worker, epoch)
        return Resumption.GO_ON if answer is Resumption.STALE and job.active else answer

    def anybody(self: Attempts, command: Any) -> Any:
        job, session = self._board.jobs.get(command.job_id), self._board.fleet.get(command.session)
        if isinstance(command, JobCompleted) and job is not None and session is not None and job.active:
            return session, job
        return mine(self, command)

    return all_of(
        mock.patch.object(Attempts, "_mine", anybody),
        mock.patch.object(roster, "resumption", never_stale),
        mock.patch.object(attempts.receipts, "check", return_value=None),
    )


def no_fence_on_terms() -> AbstractContextManager[Any]:
    """Two coordinators write to one store."""
    commit = MemoryStore.commit

    async def any_term(self: MemoryStore, writes: Sequence[Write], *, term: int) -> None:
        await commit(self, writes, term=self._term)

    return mock.patch.object(MemoryStore, "commit", any_term)


def granted_again_under_the_same_epoch() -> AbstractContextManager[Any]:
    grant, apply = Board._grant, Tables.apply

    def same(self: Board, job: Any, session: Session, now: Any) -> None:
        job.epoch -= job.epoch > 0
        grant(self, job, session, now)

    def take(self: Tables, transaction: Any, write: Write) -> None:
        job = self.jobs.get(getattr(write, "job_id", ""))
        if isinstance(write, GrantJob) and job is not None and job.epoch == write.epoch:
            earlier = replace(job, epoch=write.epoch - 1, attempts=job.attempts[:-1])
            transaction.put(self.jobs, job.id, earlier)
        apply(self, transaction, write)

    return all_of(mock.patch.object(Board, "_grant", same), mock.patch.object(Tables, "apply", take))


def swept_before_the_waiting_heartbeats() -> AbstractContextManager[Any]:
    """The clocks are looked at first, and a loop that was away blames its workers for the silence."""
    decide = Engine._round

    async def sweep_first(self: Engine, commands: list[Any]) -> None:
        self._core.tick(self._clock())
        await decide(self, commands)

    return all_of(
        mock.patch.object(Engine, "_round", sweep_first),
        mock.patch.object(Board, "forgive", nothing),
    )


def no_restart_grace() -> AbstractContextManager[Any]:
    restore = Board.restore_job

    def at_once(self: Board, job: Any, now: Any, _grace_until_s: float) -> None:
        restore(self, job, now, now.mono_s)
        if job.active:
            self.leases[job.id].until_s = now.mono_s

    return all_of(
        mock.patch.object(Board, "restore_job", at_once),
        mock.patch.object(Board, "sweep_leases", _sweep_without_grace(Board.sweep_leases)),
    )


def _sweep_without_grace(sweep: Callable[[Board, Any], None]) -> Callable[[Board, Any], None]:
    def now_already(self: Board, now: Any) -> None:
        self.grace_until_s = 0.0
        sweep(self, now)

    return now_already


def idempotency_keys_are_forgotten() -> AbstractContextManager[Any]:
    async def nothing(*_: Any, **__: Any) -> dict[str, Any]:
        return {}

    def accept(self: Tables, transaction: Any, write: Write) -> None:
        keyless = replace(write, idempotency=None) if isinstance(write, InsertJob) else write
        apply(self, transaction, keyless)

    apply = Tables.apply
    return all_of(
        mock.patch.object(MemoryStore, "idempotent", nothing),
        mock.patch.object(Tables, "apply", accept),
        mock.patch.object(Settings, "idempotency_live_s", 0.0, create=True),
    )


def an_epoch_reused_by_a_retry() -> AbstractContextManager[Any]:
    again, apply = Retrying.run_again, Tables.apply

    def back(self: Retrying, command: Any, now: Any) -> None:
        again(self, command, now)
        job = self._board.jobs.get(command.job.id)
        if job is not None and not job.active:
            job.epoch -= job.epoch > 0

    def take(self: Tables, transaction: Any, write: Write) -> None:
        job = self.jobs.get(getattr(write, "job_id", ""))
        if isinstance(write, GrantJob) and job is not None and job.epoch == write.epoch:
            transaction.put(self.jobs, job.id, replace(job, epoch=write.epoch - 1, attempts=job.attempts[:-1]))
        apply(self, transaction, write)

    return all_of(mock.patch.object(Retrying, "run_again", back), mock.patch.object(Tables, "apply", take))


def no_bound_on_tries() -> AbstractContextManager[Any]:
    return mock.patch.object(board, "last_chance", lambda change, _: change)


def no_timeouts() -> AbstractContextManager[Any]:
    return mock.patch.object(Timekeeper, "sweep", nothing)


TWINS: Table = {
    "acknowledged before the commit": (acknowledged_before_the_commit, "P1 P4", ROUGH),
    "no fence on results": (no_fence_on_results, "P3", replace(ROUGH, strikes=AWAY)),
    "no fence on terms": (no_fence_on_terms, "P3 core", replace(ROUGH, strikes=(Strike.USURP_COORDINATOR,))),
    "granted again under the same epoch": (granted_again_under_the_same_epoch, "P3", replace(ROUGH, strikes=AWAY)),
    "swept before the waiting heartbeats": (
        swept_before_the_waiting_heartbeats,
        "P6",
        replace(ROUGH, strikes=(Strike.SLOW_DISK,), drop=0.0),
    ),
    "no restart grace": (
        no_restart_grace,
        "P13",
        replace(ROUGH, strikes=(Strike.KILL_COORDINATOR,), drop=0.0, cancels=0.0, faults=8),
    ),
    "an epoch reused by a retry": (
        an_epoch_reused_by_a_retry,
        "P3 P13",
        replace(ROUGH, cancels=0.6, retries=0.8, failing=True, drop=0.0),
    ),
    "no bound on tries": (
        no_bound_on_tries,
        "P8",
        replace(ROUGH, workers=1, faults=60, cancels=0.0, strikes=(Strike.KILL_WORKER,), hasty=True),
    ),
    "no timeouts": (no_timeouts, "P2", replace(ROUGH, hasty=True)),
    "idempotency keys are forgotten": (idempotency_keys_are_forgotten, "P11", ROUGH),
}
