"""Twins that show what is PRIVATE to workers its user does not trust (P16)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from msgspec.structs import replace

from cavvy.coordinator.engine import Engine
from cavvy.core.attempts import Attempts
from cavvy.core.board import Board
from cavvy.core.coordinator import Coordinator
from cavvy.core.job import JobHeader, Needs, PrivacyClass
from cavvy.core.matching import Profile
from cavvy.core.outbox import Outbox
from cavvy.core.roster import Roster
from cavvy.core.trusting import Trusting
from cavvy.core.writes import DropTrust, Write
from cavvy.testing.simulation import Strike
from tests.simulation.twins.tools import ROUGH, Table, all_of, nothing

__all__ = ["TWINS"]


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

    return all_of(
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

    return all_of(mock.patch.object(Trusting, "_tell_fleet", later), mock.patch.object(Coordinator, "handle", then))


def one_users_trust_is_everybodys() -> AbstractContextManager[Any]:
    def of_the_tenant(self: Profile, needs: Needs) -> bool:
        return needs.owner is None or needs.tenant in {tenant for tenant, _ in self.pairs}

    return mock.patch.object(Profile, "may_see", of_the_tenant)


def what_runs_is_left_to_whom_nobody_trusts() -> AbstractContextManager[Any]:
    """The end of trust takes nothing back: what was granted goes on, and its result is taken."""
    return all_of(
        mock.patch.object(Trusting, "_take_back", nothing),
        mock.patch.object(Roster, "_take_back", nothing),
    )


PRIVATE = replace(ROUGH, private=1.0, trusts=40, workers=3, cancels=0.0, drop=0.0)


TWINS: Table = {
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
}
