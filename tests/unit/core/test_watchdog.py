"""P5: what a worker does when it has heard nothing for long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cavvy import defaults
from cavvy.core.worker_messages import (
    AbortAttempt,
    AssignReceived,
    AttemptStopped,
    CancelReceived,
    CompleteAckReceived,
    Connected,
    ConnectFailed,
    Disconnected,
    GaveUp,
    Heard,
    HeartbeatAckReceived,
    PingReceived,
    RunAttempt,
    SendHeartbeat,
    SendStopped,
    Tick,
    WorkerCommand,
    WorkerEffect,
)
from tests.unit.core.test_worker import Desk, assignment, complete, ref, verdict, without_heartbeats

LEASE_S = defaults.LEASE_TTL_S
ORPHAN_S = defaults.ORPHAN_AFTER_S

Befalls = Callable[[Desk], object]


def stopped(desk: Desk, after_s: float) -> bool:
    """Whether what runs has been stopped `after_s` after the coordinator was last heard, and not before."""
    desk.now_s = 1000.0 + after_s - 0.1
    early = desk.do(Tick())
    desk.now_s = 1000.0 + after_s
    return not any(isinstance(one, AbortAttempt) for one in early) and AbortAttempt(ref=ref(1)) in desk.do(Tick())


def silent(_: Desk) -> None:
    """The socket stays, and nothing comes."""


def lost(desk: Desk) -> None:
    desk.do(Disconnected())


def refused(desk: Desk) -> None:
    lost(desk)
    desk.do(ConnectFailed(refused=True))


def unreachable(desk: Desk) -> None:
    lost(desk)
    desk.do(ConnectFailed(refused=False))


def refused_at_last(desk: Desk) -> None:
    unreachable(desk)
    desk.do(ConnectFailed(refused=True))


def refused_at_first(desk: Desk) -> None:
    refused(desk)
    desk.do(ConnectFailed(refused=False))


@pytest.mark.parametrize(
    ("befalls", "goes_on_s"),
    [
        (silent, LEASE_S),
        (lost, LEASE_S),
        (unreachable, LEASE_S),
        (refused_at_first, LEASE_S),
        (refused, ORPHAN_S),
        (refused_at_last, ORPHAN_S),
    ],
)
def test_p05_a_worker_stops_its_attempts_when_it_has_heard_nothing_for_this_long(
    befalls: Befalls, goes_on_s: float
) -> None:
    desk = Desk()
    desk.run(1)
    befalls(desk)
    assert stopped(desk, goes_on_s)


def test_p05_a_try_that_is_not_refused_ends_the_patience_that_refusals_had_given() -> None:
    desk = Desk()
    desk.run(1)
    refused(desk)
    desk.now_s += 5 * LEASE_S
    assert desk.do(Tick()) == []
    effects = desk.do(ConnectFailed(refused=False))
    assert effects == [GaveUp(refs=(ref(1),), unheard_s=5 * LEASE_S), AbortAttempt(ref=ref(1))]


@pytest.mark.parametrize(
    "word",
    [
        Heard(),
        PingReceived(),
        HeartbeatAckReceived(),
        CompleteAckReceived(ref=ref(9)),
        CancelReceived(ref=ref(9)),
        AssignReceived(assignment=assignment(9)),
    ],
    ids=lambda word: type(word).__name__,
)
def test_p05_whatever_the_coordinator_says_it_is_alive(word: WorkerCommand) -> None:
    desk = Desk(slots=5)
    desk.run(1)
    desk.now_s += LEASE_S - 1
    desk.do(word)
    desk.now_s += LEASE_S - 0.1
    assert AbortAttempt(ref=ref(1)) not in desk.do(Tick())
    desk.now_s += 0.1
    assert AbortAttempt(ref=ref(1)) in desk.do(Tick())


def test_p05_the_lease_is_the_one_that_the_coordinator_grants() -> None:
    desk = Desk(connected=False)
    desk.do(Connected(heartbeat_s=3.0, lease_ttl_s=60.0))
    desk.run(1)
    assert stopped(desk, 60.0)


def test_p05_after_a_suspend_what_waits_in_the_socket_comes_too_late() -> None:
    """Frames that had arrived before do not show that the coordinator is there now."""
    desk = Desk()
    desk.run(1)
    desk.now_s += 3600
    assert AbortAttempt(ref=ref(1)) in desk.do(HeartbeatAckReceived())


def test_p05_a_login_that_says_go_on_comes_in_time() -> None:
    desk = Desk()
    desk.run(1)
    desk.do(Disconnected())
    desk.now_s += LEASE_S + 1
    assert AbortAttempt(ref=ref(1)) not in desk.connect(verdict(ref(1), "go_on"))
    assert desk.core.held == (ref(1),)


def test_p05_a_result_that_is_ready_is_kept_and_delivered() -> None:
    desk = Desk()
    desk.finish(desk.run(1))
    desk.do(Disconnected())
    assert desk.tick(3 * ORPHAN_S) == []
    assert without_heartbeats(desk.connect(verdict(ref(1), "go_on"))) == [complete(ref(1))]


def test_p05_a_stop_that_is_under_way_is_still_reported() -> None:
    desk = Desk()
    desk.do(CancelReceived(ref=desk.run(1)))
    desk.do(Disconnected())
    desk.tick(LEASE_S)
    desk.do(AttemptStopped(ref=ref(1)))
    assert without_heartbeats(desk.connect(verdict(ref(1), "stop")))[0].ref == ref(1)  # type: ignore[union-attr]


def test_p05_what_was_stopped_is_not_held_any_more_and_is_not_run_again() -> None:
    desk = Desk()
    desk.run(1)
    desk.do(Disconnected())
    desk.tick(LEASE_S)
    desk.do(AttemptStopped(ref=ref(1)))
    assert desk.core.held == desk.core.finished == ()
    desk.connect()
    assert not any(isinstance(one, RunAttempt) for one in desk.assign(1))


def test_p05_what_only_waited_for_its_turn_is_given_up_too_but_may_be_granted_again() -> None:
    desk = Desk(slots=1)
    desk.run(1)
    desk.do(HeartbeatAckReceived(lost=(ref(1),)))
    desk.assign(2)
    desk.do(Disconnected())
    assert [type(one) for one in desk.tick(LEASE_S)] == [GaveUp]
    desk.do(AttemptStopped(ref=ref(1)))
    desk.connect()
    assert desk.assign(2) == [RunAttempt(assignment=assignment(2))]


def test_p05_its_slot_is_free_when_its_provider_is_idle() -> None:
    desk = Desk(slots=1)
    desk.run(1)
    desk.do(Disconnected())
    desk.tick(LEASE_S)
    assert desk.connect() == [SendHeartbeat(held=(), free=0)]
    assert desk.do(AttemptStopped(ref=ref(1))) == [SendHeartbeat(held=(), free=1)]


def test_p05_a_worker_that_runs_something_wakes_up_in_time() -> None:
    desk = Desk()
    desk.run(1)
    desk.do(Disconnected())
    assert desk.core.wake_s == 1000.0 + LEASE_S
    desk.do(ConnectFailed(refused=True))
    assert desk.core.wake_s == 1000.0 + ORPHAN_S


def test_p05_a_cancelled_attempt_whose_stop_was_lost_says_so_again() -> None:
    desk = Desk()
    desk.do(CancelReceived(ref=desk.run(1)))
    told: list[WorkerEffect] = desk.do(AttemptStopped(ref=ref(1)))
    assert [type(one) for one in told] == [SendStopped]
    assert desk.assign(1) == told
