"""Twins that trust Dispatch's workers with what they are not to be trusted with, or wait for them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from msgspec.structs import replace

from cavvy.coordinator import legacy_login
from cavvy.coordinator.legacy import LegacySession
from cavvy.coordinator.legacy_task import LegacyTask
from cavvy.core import attempts, board, legacy_output, matching, waiting
from cavvy.core.board import Board
from cavvy.core.commands import Heartbeat
from cavvy.core.job import FailureCode, JobHeader, Needs
from cavvy.core.matching import Profile
from cavvy.core.roster import Roster
from cavvy.core.timekeeper import Timekeeper
from cavvy.core.writes import FailJob
from tests.simulation.twins.tools import ROUGH, Table, all_of

__all__ = ["TWINS"]


def receipts_are_not_checked() -> AbstractContextManager[Any]:
    return mock.patch.object(attempts, "check_legacy")


def keys_are_not_proven() -> AbstractContextManager[Any]:
    return mock.patch.object(legacy_login, "check_legacy")


def a_completion_is_bound_to_the_job_and_not_to_the_socket() -> AbstractContextManager[Any]:
    own = LegacySession._own

    def of_anybody(self: LegacySession, job_id: Any) -> LegacyTask | None:
        job = self.engine._core._board.jobs.get(job_id)
        return own(self, job_id) or (LegacyTask(job_id, job.epoch) if job is not None else None)

    return mock.patch.object(LegacySession, "_own", of_anybody)


def a_made_up_answer_is_passed_on() -> AbstractContextManager[Any]:
    return mock.patch.object(legacy_output, "_is_stub", return_value=False)


def _matched(blind: Any) -> AbstractContextManager[Any]:
    """The match is made as if jobs and workers were what `blind` makes of them."""

    def refusal(needs: Needs, profile: Profile) -> str | None:
        return matching.refusal(*blind(needs, profile))

    return mock.patch.object(waiting, "refusal", refusal)


def jobs_without_a_policy_are_told_in_their_dialect() -> AbstractContextManager[Any]:
    return _matched(lambda needs, profile: (needs, replace(profile, legacy=False)))


def jobs_of_every_tenant_go_to_them() -> AbstractContextManager[Any]:
    return mock.patch.object(Profile, "serves", return_value=True)


def tasks_go_to_whoever_is_there() -> AbstractContextManager[Any]:
    return _matched(lambda needs, profile: (replace(needs, job_type=next(iter(profile.job_types))), profile))


def whom_a_user_trusts_may_be_one_of_them() -> AbstractContextManager[Any]:
    """Though nobody has allowed it."""
    profile_of = Roster.profile_of

    def paired(self: Roster, known: Any, said: Profile) -> Profile:
        return replace(profile_of(self, known, said), pairs=self._board.pairings.of(known.key))

    return mock.patch.object(Roster, "profile_of", paired)


def one_that_hangs_is_waited_for() -> AbstractContextManager[Any]:
    end = Timekeeper._end

    def but_theirs(self: Timekeeper, job: JobHeader, *given: Any) -> None:
        lease = self._board.leases.get(job.id)
        session = self._board.fleet.get(lease.session) if lease is not None and lease.session is not None else None
        if session is None or not session.profile.legacy:
            end(self, job, *given)

    return mock.patch.object(Timekeeper, "_end", but_theirs)


def one_that_vanished_is_waited_for() -> AbstractContextManager[Any]:
    event = Board.event

    def later(self: Board, *given: Any, message: str, **more: Any) -> None:
        if message != "Its worker has gone.":
            event(self, *given, message=message, **more)

    return mock.patch.object(Board, "event", later)


def one_that_hangs_is_given_another_job() -> AbstractContextManager[Any]:
    deliver = LegacySession._deliver_assign

    def free(self: LegacySession) -> None:
        self.engine.post(Heartbeat(session=self.id, held=(), free=1))

    async def all_the_same(self: LegacySession, effect: Any) -> None:
        self._task = None
        await deliver(self, effect)

    return all_of(
        mock.patch.object(LegacySession, "_beat", free),
        mock.patch.object(LegacySession, "_deliver_assign", all_the_same),
    )


def their_clients_are_told_of_a_deadline() -> AbstractContextManager[Any]:
    def fail(**given: Any) -> FailJob:
        failure = given["failure"]
        told = FailureCode.DEADLINE if "after its commit" in failure.message else failure.code
        return FailJob(**given | {"failure": replace(failure, code=told)})

    return mock.patch.object(board, "FailJob", fail)


#: All is calm but for Dispatch's workers.
ODD = replace(
    ROUGH, workers=1, jobs=40, faults=0, cancels=0.0, drop=0.0, storm_s=120.0, dispatch=1.0, legacy=3, odd=0.6
)
TRUSTED = replace(ODD, private=1.0, trusts=40, odd=0.0)

TWINS: Table = {
    "receipts of Dispatch's are not checked": (receipts_are_not_checked, "P15", ODD),
    "keys of Dispatch's workers are not proven": (keys_are_not_proven, "proof", ODD),
    "a completion is bound to the job and not to the socket": (
        a_completion_is_bound_to_the_job_and_not_to_the_socket,
        "P3",
        replace(ODD, jobs=100, odd=0.9),
    ),
    "a made-up answer is passed on": (a_made_up_answer_is_passed_on, "P3", ODD),
    "jobs without a policy are told in Dispatch's dialect": (
        jobs_without_a_policy_are_told_in_their_dialect,
        "eligible",
        replace(ODD, odd=0.0),
    ),
    "jobs of every tenant go to Dispatch's workers": (
        jobs_of_every_tenant_go_to_them,
        "eligible",
        replace(ODD, odd=0.0, dispatch=0.5),
    ),
    "tasks go to whoever is there": (tasks_go_to_whoever_is_there, "eligible", replace(ODD, odd=0.0, tasks=1.0)),
    "P16 whom a user trusts may be one of Dispatch's": (whom_a_user_trusts_may_be_one_of_them, "eligible", TRUSTED),
    "one of Dispatch's that hangs is waited for": (one_that_hangs_is_waited_for, "P7", ODD),
    "one of Dispatch's that vanished is waited for": (one_that_vanished_is_waited_for, "P6", ODD),
    "one of Dispatch's that hangs is given another job": (one_that_hangs_is_given_another_job, "slots", ODD),
    "Dispatch's clients are told of a deadline": (their_clients_are_told_of_a_deadline, "P7", ODD),
}
