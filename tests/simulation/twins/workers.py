"""Twins whose workers do not do their part."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from msgspec.structs import replace

from cavvy.core.held import Held
from cavvy.core.job import AttemptEnd
from cavvy.core.lifecycle import TRANSITIONS
from cavvy.core.watchdog import Watchdog
from cavvy.core.worker import WorkerCore
from cavvy.core.worker_messages import SendComplete
from cavvy.testing.simulation import Strike
from tests.simulation.twins.tools import AWAY, ROUGH, Table, all_of, nothing

__all__ = ["TWINS"]


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


def no_watchdog() -> AbstractContextManager[Any]:
    """A worker that hears nothing goes on for ever."""
    return all_of(mock.patch.object(Watchdog, "heard", nothing), mock.patch.object(Watchdog, "connect_failed", _deaf))


def _deaf(_: Watchdog, *, refused: bool) -> None:
    pass


def a_drained_attempt_counts() -> AbstractContextManager[Any]:
    counted = {key: row._replace(counted=True) for key, row in TRANSITIONS.items() if row.end is AttemptEnd.DRAINED}
    return mock.patch.dict(TRANSITIONS, counted)


TWINS: Table = {
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
    "a drained attempt counts": (a_drained_attempt_counts, "P12", replace(ROUGH, strikes=(Strike.DRAIN_WORKER,))),
}
