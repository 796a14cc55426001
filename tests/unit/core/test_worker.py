from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cavvy import defaults
from cavvy.core.held import REMEMBERED
from cavvy.core.job import AttemptRef, RejectReason
from cavvy.core.worker import WorkerCore
from cavvy.core.worker_messages import (
    AbortAttempt,
    Assignment,
    AssignReceived,
    AttemptFailed,
    AttemptFinished,
    AttemptRefused,
    AttemptStarted,
    AttemptStopped,
    CancelReceived,
    CompleteAckReceived,
    Connected,
    ConnectFailed,
    Disconnected,
    DrainReceived,
    ErrorReceived,
    GaveUp,
    Heard,
    HeartbeatAckReceived,
    Leave,
    LeaveRequested,
    PingReceived,
    ResendText,
    ResumeVerdict,
    RunAttempt,
    SendComplete,
    SendDrain,
    SendFailed,
    SendHeartbeat,
    SendRejected,
    SendStarted,
    SendStopped,
    StoreChanged,
    Tick,
    WorkerCommand,
    WorkerEffect,
)
from cavvy.core.writes import Usage

VerdictName = Literal["go_on", "stop", "stale", "accepted"]


class Desk:
    """A core with a clock of its own."""

    def __init__(self, slots: int = 2, *, connected: bool = True) -> None:
        self.core = WorkerCore(slots)
        self.now_s = 1000.0
        if connected:
            self.connect()

    def do(self, command: WorkerCommand) -> list[WorkerEffect]:
        return self.core.handle(command, self.now_s)

    def connect(self, *verdicts: ResumeVerdict) -> list[WorkerEffect]:
        return self.do(Connected(heartbeat_s=3.0, resume=verdicts))

    def reconnect(self, *verdicts: ResumeVerdict) -> list[WorkerEffect]:
        self.do(Disconnected())
        return self.connect(*verdicts)

    def assign(self, number: int, epoch: int = 1) -> list[WorkerEffect]:
        return self.do(AssignReceived(assignment=assignment(number, epoch)))

    def run(self, number: int, epoch: int = 1) -> AttemptRef:
        self.assign(number, epoch)
        self.do(AttemptStarted(ref=ref(number, epoch)))
        return ref(number, epoch)

    def finish(self, attempt: AttemptRef) -> list[WorkerEffect]:
        return self.do(AttemptFinished(ref=attempt, result=b"{}", receipt=b"{}"))

    def tick(self, seconds: float) -> list[WorkerEffect]:
        self.now_s += seconds
        return self.do(Tick())

    def heartbeat(self) -> SendHeartbeat:
        (effect,) = self.do(PingReceived())
        assert isinstance(effect, SendHeartbeat)
        return effect


def ref(number: int, epoch: int = 1) -> AttemptRef:
    return AttemptRef(f"job-{number}", epoch)


def assignment(number: int, epoch: int = 1) -> Assignment:
    return Assignment(
        job_id=f"job-{number}",
        epoch=epoch,
        job_type="LLM_INFER",
        privacy_class="PUBLIC",
        salt="00" * 32,
        input=b"{}",
        params=b"{}",
    )


def verdict(attempt: AttemptRef, verdict: VerdictName, offset: int = 0) -> ResumeVerdict:
    return ResumeVerdict(ref=attempt, verdict=verdict, offset=offset)


def without_heartbeats(effects: list[WorkerEffect]) -> list[WorkerEffect]:
    return [effect for effect in effects if not isinstance(effect, SendHeartbeat)]


def complete(attempt: AttemptRef) -> SendComplete:
    return SendComplete(ref=attempt, result=b"{}", receipt=b"{}")


def failed(attempt: AttemptRef, usage: Usage | None = None) -> AttemptFailed:
    return AttemptFailed(ref=attempt, code="worker_error", message="no", retryable=True, usage=usage)


def rejected(attempt: AttemptRef, reason: str, message: str = "This worker leaves.") -> SendRejected:
    return SendRejected(ref=attempt, reason=RejectReason(reason), message=message)


class TestAssignments:
    def test_an_assigned_attempt_runs_and_its_start_is_told(self) -> None:
        desk = Desk()
        assert desk.assign(1) == [RunAttempt(assignment=assignment(1))]
        assert desk.do(AttemptStarted(ref=ref(1))) == [SendStarted(ref=ref(1))]

    def test_the_same_assignment_again_does_not_run_twice_but_repeats_the_start(self) -> None:
        desk = Desk()
        desk.assign(1)
        assert desk.assign(1) == []
        desk.do(AttemptStarted(ref=ref(1)))
        assert desk.assign(1) == [SendStarted(ref=ref(1))]

    def test_an_assignment_beyond_the_slots_is_given_back_at_once(self) -> None:
        """A failure would end somebody's job for no fault of its own."""
        desk = Desk(slots=1)
        desk.run(1)
        assert desk.assign(2) == [rejected(ref(2), "busy", "Every slot of this worker is taken.")]
        assert desk.heartbeat() == SendHeartbeat(held=(ref(1),), free=0)

    def test_a_newer_epoch_of_a_job_aborts_the_older_one_and_runs_when_its_provider_is_idle(self) -> None:
        desk = Desk(slots=1)
        desk.run(1)
        assert desk.assign(1, epoch=2) == [AbortAttempt(ref=ref(1))]
        assert desk.heartbeat() == SendHeartbeat(held=(ref(1, 2),), free=0)
        run = RunAttempt(assignment=assignment(1, 2))
        assert without_heartbeats(desk.do(AttemptStopped(ref=ref(1)))) == [run]

    def test_an_attempt_that_waits_for_a_provider_and_is_cancelled_never_runs(self) -> None:
        desk = Desk(slots=1)
        desk.run(1)
        desk.do(HeartbeatAckReceived(lost=(ref(1),)))
        desk.assign(2)
        assert desk.do(CancelReceived(ref=ref(2))) == [SendStopped(ref=ref(2), stopped_ms=0)]
        assert without_heartbeats(desk.do(AttemptStopped(ref=ref(1)))) == []

    def test_the_assignment_of_an_attempt_that_ended_is_answered_with_its_end(self) -> None:
        """It was sent again because its end was lost on the way; running it again would pay twice."""
        desk = Desk()
        desk.run(1)
        told = desk.do(failed(ref(1)))
        assert desk.assign(1) == told

    def test_the_assignment_of_an_attempt_whose_result_was_acknowledged_is_ignored(self) -> None:
        desk = Desk()
        desk.finish(desk.run(1))
        desk.do(CompleteAckReceived(ref=ref(1)))
        assert desk.assign(1) == []

    def test_an_older_epoch_than_the_one_held_is_ignored(self) -> None:
        desk = Desk()
        desk.run(1, epoch=2)
        assert desk.assign(1, epoch=1) == []

    def test_a_newer_epoch_makes_an_unacknowledged_result_void(self) -> None:
        desk = Desk()
        desk.finish(desk.run(1))
        desk.assign(1, epoch=2)
        assert desk.core.finished == ()

    def test_an_assignment_whose_result_is_waiting_gets_the_result_again(self) -> None:
        desk = Desk()
        desk.finish(desk.run(1))
        assert desk.assign(1) == [complete(ref(1))]

    def test_what_waits_begins_with_whichever_slot_is_idle_first(self) -> None:
        """Two slots: one attempt is still stopping, another one ends."""
        desk = Desk()
        dropped, other = desk.run(1), desk.run(2)
        desk.do(HeartbeatAckReceived(lost=(dropped,)))
        assert desk.assign(3) == []
        assert RunAttempt(assignment=assignment(3)) in desk.do(failed(other))


class TestResults:
    def test_a_result_is_sent_at_once(self) -> None:
        desk = Desk()
        assert desk.finish(desk.run(1)) == [complete(ref(1))]

    def test_a_result_is_sent_again_until_it_is_acknowledged(self) -> None:
        desk = Desk()
        desk.finish(desk.run(1))
        for _ in range(3):
            assert without_heartbeats(desk.tick(defaults.RESULT_RESEND_S - 0.1)) == []
            assert without_heartbeats(desk.tick(0.1)) == [complete(ref(1))]
        desk.do(CompleteAckReceived(ref=ref(1)))
        assert without_heartbeats(desk.tick(100)) == []
        assert desk.core.finished == ()

    def test_an_unacknowledged_result_is_named_in_heartbeats_but_takes_no_slot(self) -> None:
        desk = Desk(slots=2)
        desk.finish(desk.run(1))
        assert desk.heartbeat() == SendHeartbeat(held=(ref(1),), free=2)
        desk.do(CompleteAckReceived(ref=ref(1)))
        assert desk.heartbeat() == SendHeartbeat(held=(), free=2)

    @pytest.mark.parametrize("word", ["go_on", "stop"])
    def test_a_result_is_sent_again_after_a_reconnect(self, word: VerdictName) -> None:
        desk = Desk()
        desk.finish(desk.run(1))
        desk.do(Disconnected())
        assert desk.core.finished == (ref(1),)
        assert without_heartbeats(desk.connect(verdict(ref(1), word))) == [complete(ref(1))]
        assert desk.core.finished == (ref(1),)

    @pytest.mark.parametrize("word", ["accepted", "stale"])
    def test_a_result_is_forgotten_when_the_reconnect_says_it_is_settled(self, word: VerdictName) -> None:
        desk = Desk()
        desk.finish(desk.run(1))
        assert without_heartbeats(desk.reconnect(verdict(ref(1), word))) == []
        assert desk.core.finished == ()

    def test_a_result_that_came_while_disconnected_is_sent_after_the_login(self) -> None:
        desk = Desk()
        desk.run(1)
        desk.do(Disconnected())
        assert desk.finish(ref(1)) == []
        assert desk.core.wake_s is None
        assert desk.tick(100) == []
        assert without_heartbeats(desk.connect(verdict(ref(1), "go_on"))) == [complete(ref(1))]

    def test_a_result_is_not_given_up_because_a_heartbeat_calls_it_lost(self) -> None:
        desk = Desk()
        desk.finish(desk.run(1))
        assert desk.do(HeartbeatAckReceived(lost=(ref(1),))) == []
        assert desk.core.finished == (ref(1),)

    def test_a_result_that_is_not_ours_to_give_is_given_up(self) -> None:
        desk = Desk()
        desk.finish(desk.run(1))
        desk.do(ErrorReceived(ref=ref(1), code="try_later"))
        assert ref(1) in desk.core.finished
        desk.do(ErrorReceived(ref=ref(1), code="not_yours"))
        assert desk.core.finished == ()

    def test_a_result_that_does_not_fit_a_frame_becomes_a_failure(self) -> None:
        desk = Desk()
        desk.finish(desk.run(1))
        too_large = AttemptFailed(ref=ref(1), code="output_too_large", message="long", retryable=False)
        (effect,) = desk.do(too_large)
        assert isinstance(effect, SendFailed)
        assert desk.core.finished == desk.core.held == ()
        assert desk.heartbeat().free == 2

    def test_an_acknowledgement_of_something_else_changes_nothing(self) -> None:
        desk = Desk()
        desk.run(1)
        assert desk.do(CompleteAckReceived(ref=ref(1))) == []
        assert desk.do(CompleteAckReceived(ref=ref(9))) == []
        assert desk.core.held == (ref(1),)


class TestFailures:
    def test_a_failure_is_told_and_forgotten(self) -> None:
        desk = Desk()
        desk.run(1)
        usage = Usage(input_tokens=1)
        expected = SendFailed(ref=ref(1), code="worker_error", message="no", retryable=True, usage=usage)
        assert desk.do(failed(ref(1), usage)) == [expected]
        assert desk.heartbeat() == SendHeartbeat(held=(), free=2)

    @pytest.mark.parametrize("word", ["go_on", "stop"])
    def test_a_failure_while_disconnected_is_told_after_the_login(self, word: VerdictName) -> None:
        desk = Desk()
        desk.run(1)
        desk.do(Disconnected())
        assert desk.do(failed(ref(1))) == []
        assert ref(1) in desk.core.held
        (effect,) = without_heartbeats(desk.connect(verdict(ref(1), word)))
        assert isinstance(effect, SendFailed)
        assert desk.core.held == ()

    def test_a_failure_nobody_waits_for_any_more_is_dropped(self) -> None:
        desk = Desk()
        desk.run(1)
        desk.do(Disconnected())
        desk.do(failed(ref(1)))
        assert without_heartbeats(desk.connect(verdict(ref(1), "stale"))) == []
        assert desk.core.held == ()

    def test_ends_are_remembered_up_to_a_bound_and_the_oldest_go(self) -> None:
        desk = Desk()
        for number in range(REMEMBERED + 2):
            desk.do(failed(desk.run(number)))
        assert len(desk.core._held.past) == REMEMBERED
        assert ref(1) not in desk.core._held.past
        assert ref(2) in desk.core._held.past

    @pytest.mark.parametrize("end", [AttemptStopped(ref=AttemptRef("nobody", 1)), failed(AttemptRef("nobody", 1))])
    def test_the_end_of_what_it_never_had_is_nothing(self, end: WorkerCommand) -> None:
        assert Desk().do(end) == []


class TestCancel:
    def test_a_cancelled_attempt_is_aborted_and_reported_stopped_when_its_provider_is_idle(self) -> None:
        desk = Desk(slots=1)
        desk.run(1)
        assert desk.do(CancelReceived(ref=ref(1))) == [AbortAttempt(ref=ref(1))]
        assert desk.heartbeat() == SendHeartbeat(held=(ref(1),), free=0)
        desk.now_s += 0.25
        usage = Usage(input_tokens=5, output_tokens=2)
        stopped = SendStopped(ref=ref(1), usage=usage, stopped_ms=250)
        assert desk.do(AttemptStopped(ref=ref(1), usage=usage)) == [stopped]
        assert desk.heartbeat() == SendHeartbeat(held=(), free=1)

    def test_a_second_cancel_does_not_abort_twice(self) -> None:
        desk = Desk()
        desk.run(1)
        desk.do(CancelReceived(ref=ref(1)))
        assert desk.do(CancelReceived(ref=ref(1))) == []

    def test_a_cancel_of_an_attempt_that_is_not_held_is_answered_at_once(self) -> None:
        assert Desk().do(CancelReceived(ref=ref(7))) == [SendStopped(ref=ref(7))]

    def test_a_result_that_was_sent_before_the_cancel_came_stands(self) -> None:
        desk = Desk()
        desk.finish(desk.run(1))
        assert desk.do(CancelReceived(ref=ref(1))) == []
        assert desk.core.finished == (ref(1),)

    def test_a_result_that_comes_in_spite_of_the_cancel_stands(self) -> None:
        desk = Desk()
        desk.run(1)
        desk.do(CancelReceived(ref=ref(1)))
        assert desk.finish(ref(1)) == [complete(ref(1))]

    def test_a_failure_after_a_cancel_is_a_stop(self) -> None:
        desk = Desk()
        desk.run(1)
        desk.do(CancelReceived(ref=ref(1)))
        usage = Usage(input_tokens=1)
        assert desk.do(failed(ref(1), usage)) == [SendStopped(ref=ref(1), usage=usage, stopped_ms=0)]

    def test_a_stop_while_disconnected_is_told_after_the_login(self) -> None:
        desk = Desk()
        desk.run(1)
        desk.do(CancelReceived(ref=ref(1)))
        desk.do(Disconnected())
        assert desk.do(AttemptStopped(ref=ref(1))) == []
        assert without_heartbeats(desk.connect(verdict(ref(1), "stop"))) == [SendStopped(ref=ref(1), stopped_ms=0)]

    def test_a_start_is_not_told_of_an_attempt_that_is_already_stopping(self) -> None:
        desk = Desk()
        desk.assign(1)
        desk.do(CancelReceived(ref=ref(1)))
        assert desk.do(AttemptStarted(ref=ref(1))) == []


class TestReconnecting:
    def test_a_running_attempt_goes_on_and_its_text_is_sent_from_where_it_is_wanted(self) -> None:
        desk = Desk()
        desk.run(1)
        effects = desk.reconnect(verdict(ref(1), "go_on", offset=17))
        assert without_heartbeats(effects) == [SendStarted(ref=ref(1)), ResendText(ref=ref(1), offset=17)]

    def test_an_attempt_to_be_stopped_is_aborted_and_reported(self) -> None:
        desk = Desk()
        desk.run(1)
        assert without_heartbeats(desk.reconnect(verdict(ref(1), "stop"))) == [AbortAttempt(ref=ref(1))]
        assert desk.do(AttemptStopped(ref=ref(1))) == [SendStopped(ref=ref(1), stopped_ms=0)]

    def test_a_stale_attempt_is_aborted_and_nothing_is_reported(self) -> None:
        desk = Desk()
        desk.run(1)
        assert without_heartbeats(desk.reconnect(verdict(ref(1), "stale"))) == [AbortAttempt(ref=ref(1))]
        assert without_heartbeats(desk.do(AttemptStopped(ref=ref(1)))) == []

    @pytest.mark.parametrize(
        "end", [failed(ref(1), Usage(input_tokens=4)), AttemptStopped(ref=ref(1), usage=Usage(input_tokens=4))]
    )
    def test_what_a_stale_attempt_had_used_is_told(self, end: WorkerCommand) -> None:
        desk = Desk()
        desk.run(1)
        desk.reconnect(verdict(ref(1), "stale"))
        assert without_heartbeats(desk.do(end)) == [SendStopped(ref=ref(1), usage=Usage(input_tokens=4))]

    def test_running_and_finished_attempts_are_told_apart_for_the_login(self) -> None:
        desk = Desk(slots=3)
        desk.finish(desk.run(1))
        desk.run(2)
        desk.do(CancelReceived(ref=desk.run(3)))
        assert (desk.core.held, desk.core.finished) == ((ref(2), ref(3)), (ref(1),))

    def test_a_login_is_followed_by_a_heartbeat(self) -> None:
        assert Desk(slots=3, connected=False).connect() == [SendHeartbeat(held=(), free=3)]

    def test_an_attempt_of_which_nothing_is_said_goes_on(self) -> None:
        desk = Desk()
        desk.run(1)
        assert without_heartbeats(desk.reconnect()) == []
        assert desk.heartbeat() == SendHeartbeat(held=(ref(1),), free=1)

    def test_what_has_not_begun_is_gone_on_with_and_not_called_begun(self) -> None:
        desk = Desk()
        desk.assign(1)
        assert without_heartbeats(desk.reconnect(verdict(ref(1), "go_on"))) == [ResendText(ref=ref(1), offset=0)]

    def test_what_begins_while_there_is_no_connection_is_told_when_there_is_one(self) -> None:
        desk = Desk()
        desk.assign(1)
        desk.do(Disconnected())
        assert desk.do(AttemptStarted(ref=ref(1))) == []
        assert SendStarted(ref=ref(1)) in desk.connect(verdict(ref(1), "go_on"))


class TestHeartbeats:
    def test_a_heartbeat_goes_out_every_heartbeat_s_and_no_sooner(self) -> None:
        desk = Desk()
        for _ in range(3):
            assert desk.tick(2.9) == []
            assert desk.tick(0.1) == [SendHeartbeat(held=(), free=2)]

    def test_a_ping_is_answered_with_a_heartbeat_which_counts(self) -> None:
        desk = Desk()
        desk.now_s += 2
        desk.heartbeat()
        assert desk.core.wake_s == desk.now_s + 3
        assert desk.tick(2.9) == []

    def test_nothing_is_sent_while_disconnected(self) -> None:
        desk = Desk()
        desk.run(1)
        desk.do(Disconnected())
        assert desk.tick(9) == desk.do(PingReceived()) == desk.do(CancelReceived(ref=ref(9))) == []

    def test_a_lost_attempt_is_aborted_unreported_and_its_slot_is_offered_when_it_is_free(self) -> None:
        desk = Desk(slots=1)
        desk.run(1)
        assert desk.do(HeartbeatAckReceived(lost=(ref(1),))) == [AbortAttempt(ref=ref(1))]
        assert desk.heartbeat() == SendHeartbeat(held=(), free=0)
        assert desk.do(AttemptStopped(ref=ref(1))) == [SendHeartbeat(held=(), free=1)]

    def test_a_result_of_a_lost_attempt_is_dropped(self) -> None:
        desk = Desk()
        desk.run(1)
        desk.do(HeartbeatAckReceived(lost=(ref(1),)))
        assert without_heartbeats(desk.finish(ref(1))) == []
        assert desk.core.finished == ()

    def test_an_assignment_that_comes_while_a_lost_attempt_still_stops_runs_when_it_has_stopped(self) -> None:
        desk = Desk(slots=1)
        desk.run(1)
        desk.do(HeartbeatAckReceived(lost=(ref(1),)))
        assert desk.assign(2) == []
        assert without_heartbeats(desk.do(AttemptStopped(ref=ref(1)))) == [RunAttempt(assignment=assignment(2))]


REFS = st.builds(ref, st.integers(1, 3), st.integers(1, 2))
USAGE = st.none() | st.just(Usage(input_tokens=1, output_tokens=2))
COMMANDS: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        Connected,
        heartbeat_s=st.just(3.0),
        resume=st.lists(
            st.builds(
                ResumeVerdict,
                ref=REFS,
                verdict=st.sampled_from(["go_on", "stop", "stale", "accepted"]),
                offset=st.integers(0, 9),
            ),
            max_size=3,
        ).map(tuple),
    ),
    st.just(Disconnected()),
    st.builds(ConnectFailed, refused=st.booleans()),
    st.just(Heard()),
    st.just(DrainReceived()),
    st.builds(LeaveRequested, within_s=st.sampled_from([0.0, 5.0, 30.0])),
    st.builds(AssignReceived, assignment=st.builds(assignment, st.integers(1, 3), st.integers(1, 2))),
    st.builds(CancelReceived, ref=REFS),
    st.builds(CompleteAckReceived, ref=REFS),
    st.builds(HeartbeatAckReceived, lost=st.lists(REFS, max_size=2).map(tuple)),
    st.just(PingReceived()),
    st.builds(ErrorReceived, ref=REFS, code=st.sampled_from(["not_yours", "other"])),
    st.builds(AttemptStarted, ref=REFS),
    st.builds(AttemptFinished, ref=REFS, result=st.binary(max_size=4), receipt=st.binary(max_size=4)),
    st.builds(
        AttemptFailed,
        ref=REFS,
        code=st.just("worker_error"),
        message=st.just("no"),
        retryable=st.booleans(),
        usage=USAGE,
    ),
    st.builds(AttemptRefused, ref=REFS, message=st.just("no such model")),
    st.builds(AttemptStopped, ref=REFS, usage=USAGE),
    st.just(Tick()),
)


def _round_trip(value: Any, kind: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)


class TestDrain:
    def test_a_worker_with_nothing_to_do_leaves_at_once(self) -> None:
        assert Desk().do(DrainReceived()) == [Leave()]

    def test_it_takes_nothing_new_and_says_so(self) -> None:
        desk = Desk()
        desk.run(1)
        desk.do(DrainReceived())
        assert desk.assign(2) == [rejected(ref(2), "draining", "This worker takes nothing new.")]
        assert desk.heartbeat() == SendHeartbeat(held=(ref(1),), free=0)

    def test_it_leaves_when_its_result_is_acknowledged_not_before(self) -> None:
        desk = Desk()
        attempt = desk.run(1)
        assert desk.do(DrainReceived()) == []
        assert desk.finish(attempt) == [complete(attempt)]
        assert desk.do(CompleteAckReceived(ref=attempt)) == [Leave()]

    def test_a_report_without_an_answer_goes_out_before_it_leaves(self) -> None:
        desk = Desk()
        attempt = desk.run(1)
        desk.do(DrainReceived())
        sent, left = desk.do(failed(attempt, None))
        assert (type(sent), left) == (SendFailed, Leave())

    def test_without_a_connection_it_stays_until_its_result_is_delivered(self) -> None:
        desk = Desk()
        attempt = desk.run(1)
        desk.do(DrainReceived())
        desk.do(Disconnected())
        assert desk.finish(attempt) == []
        assert without_heartbeats(desk.connect(verdict(attempt, "go_on"))) == [complete(attempt)]
        assert desk.do(CompleteAckReceived(ref=attempt)) == [Leave()]

    def test_what_was_void_is_waited_for_too(self) -> None:
        """Its provider is still busy."""
        desk = Desk()
        attempt = desk.run(1)
        desk.do(HeartbeatAckReceived(lost=(attempt,)))
        assert desk.do(DrainReceived()) == []
        assert without_heartbeats(desk.do(AttemptStopped(ref=attempt))) == [Leave()]

    def test_it_leaves_once(self) -> None:
        desk = Desk()
        desk.do(DrainReceived())
        assert desk.do(DrainReceived()) == []


@given(st.lists(COMMANDS, max_size=40))
@settings(deadline=None)
def test_whatever_happens_every_command_and_effect_is_plain_data_and_the_slots_add_up(
    commands: list[WorkerCommand],
) -> None:
    desk = Desk(connected=False)
    providers: set[AttemptRef] = set()
    connected = draining = told_to_end = False
    for command in commands:
        assert _round_trip(command, WorkerCommand) == command
        if isinstance(command, AttemptStarted | AttemptFinished | AttemptFailed | AttemptRefused | AttemptStopped):
            if command.ref not in providers:
                continue
            if not isinstance(command, AttemptStarted):
                providers.discard(command.ref)
        connected = not isinstance(command, Disconnected) and (connected or isinstance(command, Connected))
        draining |= isinstance(command, DrainReceived | LeaveRequested)
        told_to_end |= isinstance(command, LeaveRequested)
        desk.now_s += 1
        for effect in desk.do(command):
            assert _round_trip(effect, WorkerEffect) == effect
            assert connected or isinstance(effect, RunAttempt | AbortAttempt | GaveUp | Leave)
            if isinstance(effect, Leave):
                assert draining
                if not told_to_end:
                    assert not providers
                    assert (desk.core.held, desk.core.finished) == ((), ())
            if isinstance(effect, RunAttempt):
                assert not draining
                assert effect.assignment.ref not in providers
                providers.add(effect.assignment.ref)
            if isinstance(effect, SendHeartbeat):
                assert effect.free == (0 if draining else max(0, 2 - len(providers)))
                assert set(effect.held) <= providers | set(desk.core.finished) | set(desk.core.held)


ONE_OF_EACH: list[WorkerCommand | WorkerEffect] = [
    Connected(heartbeat_s=3.0, resume=(verdict(ref(1), "go_on", 4),)),
    Disconnected(),
    ConnectFailed(refused=True),
    StoreChanged(),
    Heard(),
    DrainReceived(),
    LeaveRequested(within_s=30.0),
    AssignReceived(assignment=assignment(1)),
    CancelReceived(ref=ref(1)),
    CompleteAckReceived(ref=ref(1)),
    HeartbeatAckReceived(lost=(ref(1), ref(2))),
    PingReceived(),
    ErrorReceived(ref=ref(1), code="not_yours"),
    AttemptStarted(ref=ref(1)),
    AttemptFinished(ref=ref(1), result=b"\x00\xff", receipt=b"{}"),
    failed(ref(1), Usage(input_tokens=1)),
    AttemptRefused(ref=ref(1), message="no such model"),
    AttemptStopped(ref=ref(1), usage=None),
    Tick(),
    RunAttempt(assignment=assignment(1)),
    AbortAttempt(ref=ref(1)),
    GaveUp(refs=(ref(1),), unheard_s=10.5),
    ResendText(ref=ref(1), offset=3),
    SendHeartbeat(held=(ref(1),), free=1),
    SendStarted(ref=ref(1)),
    complete(ref(1)),
    SendFailed(ref=ref(1), code="worker_error", message="no", retryable=True),
    SendStopped(ref=ref(1), usage=Usage(), stopped_ms=3),
    rejected(ref(1), "draining"),
    SendDrain(),
    Leave(),
]


@pytest.mark.parametrize("value", ONE_OF_EACH, ids=lambda value: type(value).__name__)
def test_every_kind_of_command_and_effect_survives_encoding(value: WorkerCommand | WorkerEffect) -> None:
    assert _round_trip(value, WorkerCommand | WorkerEffect) == value


def test_every_kind_is_in_that_list() -> None:
    assert {type(value) for value in ONE_OF_EACH} == {*get_args(WorkerCommand), *get_args(WorkerEffect)}
