"""P12: a worker that is told to end takes nothing new, lets what runs end, and gives the rest back."""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.core.worker_messages import (
    AbortAttempt,
    AttemptFinished,
    AttemptRefused,
    AttemptStopped,
    CancelReceived,
    CompleteAckReceived,
    Disconnected,
    DrainReceived,
    HeartbeatAckReceived,
    Leave,
    LeaveRequested,
    SendDrain,
    SendHeartbeat,
    SendStopped,
    WorkerEffect,
)
from tests.unit.core.test_worker import Desk, assignment, complete, failed, ref, rejected, verdict, without_heartbeats

WITHIN_S = 8.0  # less than a lease, for nothing is heard meanwhile


def leave(desk: Desk, within_s: float = WITHIN_S) -> list[WorkerEffect]:
    return desk.do(LeaveRequested(within_s=within_s))


def test_p12_a_worker_with_nothing_to_do_says_so_and_leaves_at_once() -> None:
    assert leave(Desk()) == [SendDrain(), Leave()]
    assert leave(Desk(connected=False)) == [Leave()]


def test_p12_it_takes_nothing_new() -> None:
    desk = Desk()
    desk.run(1)
    assert leave(desk) == [SendDrain()]
    assert desk.assign(2) == [rejected(ref(2), "draining", "This worker takes nothing new.")]
    assert desk.heartbeat() == SendHeartbeat(held=(ref(1),), free=0)


def test_p12_what_has_not_begun_at_its_provider_is_given_back_at_once() -> None:
    desk = Desk()
    desk.run(1)
    desk.assign(2)
    assert leave(desk) == [SendDrain(), AbortAttempt(ref=ref(2))]
    assert without_heartbeats(desk.do(AttemptStopped(ref=ref(2)))) == [rejected(ref(2), "draining")]


def test_p12_what_is_being_given_back_is_not_gone_on_with_after_a_lost_connection() -> None:
    desk = Desk()
    desk.assign(1)
    leave(desk)
    assert without_heartbeats(desk.reconnect(verdict(ref(1), "go_on"))) == [SendDrain()]


def test_p12_what_runs_may_end_and_is_delivered() -> None:
    desk = Desk()
    desk.run(1)
    leave(desk)
    assert without_heartbeats(desk.tick(WITHIN_S - 1)) == []
    assert desk.finish(ref(1)) == [complete(ref(1))]
    assert desk.do(CompleteAckReceived(ref=ref(1))) == [Leave()]


def test_p12_what_takes_too_long_is_given_back_when_its_provider_is_idle() -> None:
    desk = Desk()
    desk.run(1)
    leave(desk)
    desk.tick(WITHIN_S - 0.1)
    assert without_heartbeats(desk.tick(0.1)) == [AbortAttempt(ref=ref(1))]
    assert desk.core.held == (ref(1),)
    assert desk.do(AttemptStopped(ref=ref(1))) == [rejected(ref(1), "draining"), Leave()]


def test_p12_a_failure_of_what_is_given_back_is_no_failure() -> None:
    desk = Desk()
    desk.run(1)
    leave(desk, 0)
    assert desk.do(failed(ref(1))) == [rejected(ref(1), "draining"), Leave()]


def test_p12_a_result_that_comes_while_it_is_given_back_stands() -> None:
    desk = Desk()
    desk.run(1)
    leave(desk, 0)
    assert desk.do(AttemptFinished(ref=ref(1), result=b"{}", receipt=b"{}")) == [complete(ref(1))]
    assert desk.do(CompleteAckReceived(ref=ref(1))) == [Leave()]


def test_p12_what_has_not_begun_is_given_back_at_once() -> None:
    for told in (DrainReceived(), LeaveRequested(within_s=WITHIN_S)):
        desk = Desk(slots=1)
        desk.run(1)
        desk.do(HeartbeatAckReceived(lost=(ref(1),)))
        desk.assign(2)
        assert rejected(ref(2), "draining") in desk.do(told)


def test_p12_told_again_it_gives_back_at_once_and_asks_a_provider_only_once() -> None:
    desk = Desk()
    desk.run(1)
    leave(desk)
    assert leave(desk, 0) == [AbortAttempt(ref=ref(1))]
    assert leave(desk, 0) == []


def test_p12_told_again_with_more_time_the_earlier_end_holds() -> None:
    desk = Desk()
    desk.run(1)
    leave(desk, 5)
    leave(desk, 500)
    assert AbortAttempt(ref=ref(1)) in desk.tick(5)


def test_p12_a_drain_that_the_coordinator_ordered_has_no_end_of_its_own() -> None:
    desk = Desk()
    desk.run(1)
    desk.do(DrainReceived())
    for _ in range(100):
        assert without_heartbeats(desk.tick(9)) == []
        desk.heartbeat()


def test_p12_a_provider_that_does_not_stop_is_not_waited_for_for_ever() -> None:
    desk = Desk()
    desk.run(1)
    leave(desk, 0)
    assert Leave() not in desk.tick(defaults.LEAVE_S - 0.1)
    assert Leave() in desk.tick(0.1)


def test_p12_without_a_connection_it_waits_for_one_to_deliver_its_result_but_not_for_ever() -> None:
    desk = Desk()
    desk.finish(desk.run(1))
    desk.do(Disconnected())
    assert leave(desk) == []
    assert desk.tick(WITHIN_S) == []
    assert desk.tick(defaults.LEAVE_S) == [Leave()]


def test_p12_told_twice_without_a_connection_it_goes_when_its_providers_are_idle() -> None:
    desk = Desk()
    desk.finish(desk.run(1))
    desk.run(2)
    desk.do(Disconnected())
    leave(desk)
    assert leave(desk, 0) == [AbortAttempt(ref=ref(2))]
    assert desk.do(AttemptStopped(ref=ref(2))) == [Leave()]


def test_p12_a_new_connection_is_told_too() -> None:
    desk = Desk()
    desk.run(1)
    leave(desk)
    effects = desk.reconnect(verdict(ref(1), "go_on"))
    assert effects.index(SendDrain()) < effects.index(SendHeartbeat(held=(ref(1),), free=0))


def test_p12_what_was_given_back_while_disconnected_is_told_after_the_login() -> None:
    desk = Desk()
    desk.run(1)
    desk.do(Disconnected())
    leave(desk, 0.5)
    desk.tick(0.5)
    desk.do(AttemptStopped(ref=ref(1)))
    assert desk.core.held == (ref(1),)
    assert rejected(ref(1), "draining") in desk.connect(verdict(ref(1), "go_on"))


def test_p12_a_cancel_of_what_is_given_back_is_answered_as_a_stop() -> None:
    desk = Desk()
    desk.run(1)
    leave(desk, 0)
    assert desk.do(CancelReceived(ref=ref(1))) == []
    assert desk.do(AttemptStopped(ref=ref(1)))[0] == SendStopped(ref=ref(1), stopped_ms=0)


def test_p12_it_wakes_up_for_each_of_these_times() -> None:
    desk = Desk()
    desk.run(1)
    desk.do(Disconnected())
    leave(desk, 4)
    assert desk.core.wake_s == desk.now_s + 4
    desk.tick(4)
    assert desk.core.wake_s == desk.now_s + defaults.LEAVE_S


@pytest.mark.parametrize("cancelled", [False, True])
def test_an_attempt_that_no_provider_here_can_run_goes_back_unless_it_is_cancelled(cancelled: bool) -> None:
    desk = Desk()
    desk.run(1)
    if cancelled:
        desk.do(CancelReceived(ref=ref(1)))
    (effect,) = desk.do(AttemptRefused(ref=ref(1), message="no such model"))
    expected = SendStopped(ref=ref(1), stopped_ms=0) if cancelled else rejected(ref(1), "unsupported", "no such model")
    assert effect == expected


def test_an_attempt_that_was_given_back_is_not_run_when_it_is_assigned_again() -> None:
    desk = Desk(slots=1)
    desk.run(1)
    told = desk.assign(2)
    desk.finish(ref(1))
    desk.do(CompleteAckReceived(ref=ref(1)))
    assert desk.assign(2) == told
    assert desk.assign(2, epoch=2)[0].assignment == assignment(2, 2)  # type: ignore[union-attr]
