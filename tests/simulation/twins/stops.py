"""Twins that do not stop what was stopped (P10), or let a stop undo what had ended."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from msgspec.structs import replace

from cavvy.coordinator.engine import Engine
from cavvy.core.backlog import Backlog
from cavvy.core.board import Board
from cavvy.core.coordinator import Coordinator
from cavvy.core.job import CancelRequest, Failure, FailureCode, JobStatus
from cavvy.core.outbox import Outbox
from cavvy.core.stopping import Stopping
from cavvy.core.writes import CompleteJob, DropStop, FailJob, SetStop, Write
from cavvy.store.memory_tables import Tables
from cavvy.testing.simulation import Strike
from tests.simulation.twins.tools import ROUGH, Table, all_of, nothing

__all__ = ["TWINS"]


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

    return all_of(
        mock.patch.object(Board, "complete", remember),
        mock.patch.object(Coordinator, "_cancel", late),
        mock.patch.object(Tables, "apply", overwrite),
    )


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
    return mock.patch.object(Stopping, "resume", nothing)


TWINS: Table = {
    "sent although cancelled meanwhile": (
        sent_although_cancelled_meanwhile,
        "P10",
        replace(ROUGH, cancels=1.0, strikes=(Strike.HOLD,)),
    ),
    "a late cancel overwrites a completion": (a_late_cancel_overwrites_a_completion, "P3", ROUGH),
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
}
