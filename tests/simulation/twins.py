"""Broken twins: each is Cavvy with one safeguard taken out, which the simulation has to notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest import mock

from msgspec.structs import replace

from cavvy.coordinator.engine import Engine
from cavvy.core import attempts, board, roster
from cavvy.core.attempts import Attempts
from cavvy.core.backlog import Backlog
from cavvy.core.board import Board
from cavvy.core.commands import JobCompleted
from cavvy.core.coordinator import Coordinator
from cavvy.core.fleet import Session
from cavvy.core.held import Held
from cavvy.core.job import (
    AttemptEnd,
    CancelRequest,
    Failure,
    FailureCode,
    JobHeader,
    JobStatus,
    Needs,
    PrivacyClass,
)
from cavvy.core.lease import Resumption, resumption
from cavvy.core.lifecycle import TRANSITIONS
from cavvy.core.matching import Profile
from cavvy.core.outbox import Batch, Outbox
from cavvy.core.results import parse_result
from cavvy.core.retrying import Retrying
from cavvy.core.roster import Roster
from cavvy.core.settings import Settings
from cavvy.core.stopping import Stopping
from cavvy.core.timekeeper import Timekeeper
from cavvy.core.trusting import Trusting
from cavvy.core.watchdog import Watchdog
from cavvy.core.worker import WorkerCore
from cavvy.core.worker_messages import SendComplete
from cavvy.core.writes import CompleteJob, DropStop, DropTrust, FailJob, GrantJob, InsertJob, SetStop, Write
from cavvy.store.memory import MemoryStore
from cavvy.store.memory_tables import Tables
from cavvy.testing.simulation import Plan, Strike

__all__ = ["TWINS", "Twin"]

Twin = Callable[[], AbstractContextManager[Any]]


def _all(*patches: AbstractContextManager[Any]) -> ExitStack:
    stack = ExitStack()
    for patch in patches:
        stack.enter_context(patch)
    return stack


def _nothing(*_: Any) -> None:
    pass


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

    return _all(
        mock.patch.object(Attempts, "_mine", anybody),
        mock.patch.object(roster, "resumption", never_stale),
        mock.patch.object(attempts.receipts, "check", lambda _opened, result, _expected: parse_result(result)),
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

    return _all(mock.patch.object(Board, "_grant", same), mock.patch.object(Tables, "apply", take))


def swept_before_the_waiting_heartbeats() -> AbstractContextManager[Any]:
    """The clocks are looked at first, and a loop that was away blames its workers for the silence."""
    decide = Engine._round

    async def sweep_first(self: Engine, commands: list[Any]) -> None:
        self._core.tick(self._clock())
        await decide(self, commands)

    return _all(
        mock.patch.object(Engine, "_round", sweep_first),
        mock.patch.object(Board, "forgive", _nothing),
    )


def sent_although_cancelled_meanwhile() -> AbstractContextManager[Any]:
    return mock.patch.object(Engine, "stands", return_value=True)


def a_late_cancel_overwrites_a_completion() -> AbstractContextManager[Any]:
    complete, cancel, apply = Board.complete, Coordinator._cancel, Tables.apply

    def remember(self: Board, job: Any, write: CompleteJob) -> None:
        self.__dict__.setdefault("completed", {})[job.id] = write.epoch
        complete(self, job, write)

    def late(self: Coordinator, command: Any, now: Any) -> None:
        epoch = self._board.__dict__.get("completed", {}).get(command.job_id)
        if epoch is not None:
            failure = Failure(code=FailureCode.ABORTED, message="late", at_ms=now.wall_ms)
            request = CancelRequest(by=command.by, reason=None, at_ms=now.wall_ms)
            end = FailJob(job_id=command.job_id, epoch=epoch, failure=failure, end=None, counted=False, cancel=request)
            self._out.write(end)
        cancel(self, command, now)

    def overwrite(self: Tables, transaction: Any, write: Write) -> None:
        job = self.jobs.get(getattr(write, "job_id", ""))
        if isinstance(write, FailJob) and job is not None and job.status is JobStatus.COMPLETED:
            transaction.put(self.jobs, job.id, replace(job, completed_at_ms=None))
        apply(self, transaction, write)

    return _all(
        mock.patch.object(Board, "complete", remember),
        mock.patch.object(Coordinator, "_cancel", late),
        mock.patch.object(Tables, "apply", overwrite),
    )


def no_restart_grace() -> AbstractContextManager[Any]:
    restore = Board.restore_job

    def at_once(self: Board, job: Any, now: Any, _grace_until_s: float) -> None:
        restore(self, job, now, now.mono_s)
        if job.active:
            self.leases[job.id].until_s = now.mono_s

    return _all(
        mock.patch.object(Board, "restore_job", at_once),
        mock.patch.object(Board, "sweep_leases", _sweep_without_grace(Board.sweep_leases)),
    )


def _sweep_without_grace(sweep: Callable[[Board, Any], None]) -> Callable[[Board, Any], None]:
    def now_already(self: Board, now: Any) -> None:
        self.grace_until_s = 0.0
        sweep(self, now)

    return now_already


def an_ended_attempt_is_run_again() -> AbstractContextManager[Any]:
    forget = Held.forget

    def wholly(self: Held, attempt: Any) -> None:
        forget(self, attempt)
        self.past.clear()

    return mock.patch.object(Held, "forget", wholly)


def results_are_lost_with_the_connection() -> AbstractContextManager[Any]:
    away = WorkerCore._on_disconnected

    def drop(self: WorkerCore, command: Any) -> None:
        away(self, command)
        for attempt in self._held:
            if type(attempt.report) is SendComplete:
                self._held.forget(attempt)

    return mock.patch.object(WorkerCore, "_on_disconnected", drop)


def the_slots_of_stopping_attempts_are_given_away() -> AbstractContextManager[Any]:
    return mock.patch.object(Held, "working", property(lambda _: 0))


def idempotency_keys_are_forgotten() -> AbstractContextManager[Any]:
    async def nothing(*_: Any, **__: Any) -> dict[str, Any]:
        return {}

    def accept(self: Tables, transaction: Any, write: Write) -> None:
        keyless = replace(write, idempotency=None) if isinstance(write, InsertJob) else write
        apply(self, transaction, keyless)

    apply = Tables.apply
    return _all(
        mock.patch.object(MemoryStore, "idempotent", nothing),
        mock.patch.object(Tables, "apply", accept),
        mock.patch.object(Settings, "idempotency_live_s", 0.0, create=True),
    )


def no_watchdog() -> AbstractContextManager[Any]:
    """A worker that hears nothing goes on for ever."""
    return _all(mock.patch.object(Watchdog, "heard", _nothing), mock.patch.object(Watchdog, "connect_failed", _deaf))


def _deaf(_: Watchdog, *, refused: bool) -> None:
    pass


def a_latch_that_is_not_durable() -> AbstractContextManager[Any]:
    write = Outbox.write

    def but_stops(self: Outbox, one: Write) -> None:
        if not isinstance(one, (SetStop, DropStop)):
            write(self, one)

    return mock.patch.object(Outbox, "write", but_stops)


def a_stop_that_is_ignored_by_the_match() -> AbstractContextManager[Any]:
    return mock.patch.object(Backlog, "withhold", return_value=False)


def a_stop_that_a_restart_forgets() -> AbstractContextManager[Any]:
    """What it has not ended yet when the process dies is granted again."""
    return mock.patch.object(Stopping, "resume", _nothing)


def a_drained_attempt_counts() -> AbstractContextManager[Any]:
    counted = {key: row._replace(counted=True) for key, row in TRANSITIONS.items() if row.end is AttemptEnd.DRAINED}
    return mock.patch.dict(TRANSITIONS, counted)


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

    return _all(mock.patch.object(Retrying, "run_again", back), mock.patch.object(Tables, "apply", take))


def no_bound_on_tries() -> AbstractContextManager[Any]:
    return mock.patch.object(board, "last_chance", lambda change, _: change)


def no_timeouts() -> AbstractContextManager[Any]:
    return mock.patch.object(Timekeeper, "sweep", _nothing)


def _as_public(job: JobHeader) -> None:
    job.needs = replace(job.needs, privacy_class=PrivacyClass.PUBLIC, owner=None)


def what_comes_back_is_not_private_any_more() -> AbstractContextManager[Any]:
    """Unchecked at another try."""
    requeue = Board._requeue

    def forget(self: Board, job: JobHeader, *given: Any, **more: Any) -> None:
        _as_public(job)
        requeue(self, job, *given, **more)

    return mock.patch.object(Board, "_requeue", forget)


def what_a_restart_takes_up_is_not_private_any_more() -> AbstractContextManager[Any]:
    """Unchecked at a restart."""
    restore = Board.restore_job

    def forget(self: Board, job: JobHeader, *given: Any) -> None:
        _as_public(job)
        restore(self, job, *given)

    return mock.patch.object(Board, "restore_job", forget)


def the_end_of_trust_is_not_durable() -> AbstractContextManager[Any]:
    write = Outbox.write

    def but_ends(self: Outbox, one: Write) -> None:
        if not isinstance(one, DropTrust):
            write(self, one)

    return mock.patch.object(Outbox, "write", but_ends)


def a_lost_attempt_comes_back_untrusted() -> AbstractContextManager[Any]:
    """Unchecked when a worker says that it has it still, or that it is done."""
    resume, mine = Roster._resume, Attempts._mine

    def blind(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*given: Any, **more: Any) -> Any:
            with mock.patch.object(Profile, "may_see", return_value=True):
                return ask(*given, **more)

        return asked

    return _all(
        mock.patch.object(Roster, "_resume", blind(resume)),
        mock.patch.object(Attempts, "_mine", blind(mine)),
    )


def a_grant_is_sent_whatever_came_in_between() -> AbstractContextManager[Any]:
    """Unchecked at the send, after trust ended in the batch that followed the grant."""
    return mock.patch.object(Engine, "stands", return_value=True)


def the_end_of_trust_is_noticed_by_the_next_batch_only() -> AbstractContextManager[Any]:
    """Unchecked at the grant: the fleet is told a batch late."""
    tell, handle = Trusting._tell_fleet, Coordinator.handle
    late: list[tuple[Trusting, Any]] = []

    def later(self: Trusting, trust: Any) -> None:
        late.append((self, trust))

    def then(self: Coordinator, command: Any, now: Any) -> None:
        for trusting, trust in late:
            tell(trusting, trust)
        late.clear()
        handle(self, command, now)

    return _all(mock.patch.object(Trusting, "_tell_fleet", later), mock.patch.object(Coordinator, "handle", then))


def one_users_trust_is_everybodys() -> AbstractContextManager[Any]:
    def of_the_tenant(self: Profile, needs: Needs) -> bool:
        return needs.owner is None or needs.tenant in {tenant for tenant, _ in self.pairs}

    return mock.patch.object(Profile, "may_see", of_the_tenant)


def what_runs_is_left_to_whom_nobody_trusts() -> AbstractContextManager[Any]:
    """The end of trust takes nothing back: what was granted goes on, and its result is taken."""
    return _all(
        mock.patch.object(Trusting, "_take_back", _nothing),
        mock.patch.object(Roster, "_take_back", _nothing),
    )


ROUGH = Plan(workers=2, jobs=25, faults=30, cancels=0.3, drop=0.02)
PRIVATE = replace(ROUGH, private=1.0, trusts=40, workers=3, cancels=0.0, drop=0.0)
AWAY = (Strike.HOLD, Strike.SILENCE, Strike.PARTITION, Strike.CUT)

#: The twin, the promises of which at least one must be seen broken, and a plan that brings it out.
TWINS: dict[str, tuple[Twin, str, Plan]] = {
    "acknowledged before the commit": (acknowledged_before_the_commit, "P1 P4", ROUGH),
    "no fence on results": (no_fence_on_results, "P3", replace(ROUGH, strikes=AWAY)),
    "no fence on terms": (no_fence_on_terms, "P3 core", replace(ROUGH, strikes=(Strike.USURP_COORDINATOR,))),
    "granted again under the same epoch": (granted_again_under_the_same_epoch, "P3", replace(ROUGH, strikes=AWAY)),
    "swept before the waiting heartbeats": (
        swept_before_the_waiting_heartbeats,
        "P6",
        replace(ROUGH, strikes=(Strike.SLOW_DISK,), drop=0.0),
    ),
    "sent although cancelled meanwhile": (
        sent_although_cancelled_meanwhile,
        "P10",
        replace(ROUGH, cancels=1.0, strikes=(Strike.HOLD,)),
    ),
    "a late cancel overwrites a completion": (a_late_cancel_overwrites_a_completion, "P3", ROUGH),
    "no restart grace": (
        no_restart_grace,
        "P13",
        replace(ROUGH, strikes=(Strike.KILL_COORDINATOR,), drop=0.0, cancels=0.0, faults=8),
    ),
    "an ended attempt is run again": (
        an_ended_attempt_is_run_again,
        "P13",
        replace(ROUGH, cancels=1.0, double=0.3, delay_s=(0.01, 0.5)),
    ),
    "results are lost with the connection": (
        results_are_lost_with_the_connection,
        "P13",
        replace(ROUGH, strikes=(Strike.KILL_COORDINATOR,), drop=0.0, cancels=0.0, faults=20),
    ),
    "slots of stopping attempts are given away": (
        the_slots_of_stopping_attempts_are_given_away,
        "slots",
        replace(ROUGH, strikes=AWAY),
    ),
    "no watchdog": (no_watchdog, "P5", replace(ROUGH, strikes=(Strike.PARTITION, Strike.SILENCE), drop=0.0)),
    "a latch that is not durable": (
        a_latch_that_is_not_durable,
        "P10",
        replace(ROUGH, strikes=(Strike.KILL_COORDINATOR,), stops=3),
    ),
    "a stop that is ignored by the match": (a_stop_that_is_ignored_by_the_match, "P10", replace(ROUGH, stops=3)),
    "a stop that a restart forgets": (
        a_stop_that_a_restart_forgets,
        "P10",
        replace(ROUGH, workers=1, jobs=40, stops=3, strikes=(Strike.KILL_COORDINATOR, Strike.FAIL_COMMIT)),
    ),
    "a drained attempt counts": (a_drained_attempt_counts, "P12", replace(ROUGH, strikes=(Strike.DRAIN_WORKER,))),
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
    "P16 unchecked at another try": (
        what_comes_back_is_not_private_any_more,
        "P16",
        replace(PRIVATE, strikes=(Strike.KILL_WORKER,), failing=True),
    ),
    "P16 unchecked at a restart": (
        what_a_restart_takes_up_is_not_private_any_more,
        "P16",
        replace(PRIVATE, strikes=(Strike.KILL_COORDINATOR,), faults=8),
    ),
    "P16 the end of trust is not durable": (
        the_end_of_trust_is_not_durable,
        "P16",
        replace(PRIVATE, strikes=(Strike.KILL_COORDINATOR,), faults=8),
    ),
    "P16 a lost attempt comes back untrusted": (
        a_lost_attempt_comes_back_untrusted,
        "P16",
        replace(PRIVATE, workers=1, trusts=60, strikes=(Strike.CUT,)),
    ),
    "P16 unchecked at the send": (
        a_grant_is_sent_whatever_came_in_between,
        "P16",
        replace(PRIVATE, strikes=(Strike.HOLD, Strike.SLOW_DISK)),
    ),
    "P16 unchecked at the grant": (
        the_end_of_trust_is_noticed_by_the_next_batch_only,
        "P16",
        replace(PRIVATE, strikes=(Strike.SLOW_DISK,)),
    ),
    "P16 one user's trust is everybody's": (one_users_trust_is_everybodys, "P16", replace(PRIVATE, faults=0)),
    "P16 nothing is taken back": (what_runs_is_left_to_whom_nobody_trusts, "P16", replace(PRIVATE, faults=4)),
    "idempotency keys are forgotten": (idempotency_keys_are_forgotten, "P11", ROUGH),
}
