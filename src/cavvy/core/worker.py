"""The worker's state machine: which attempts it holds, what it owes the coordinator, when it speaks.

```
            assign              finished, failed or stopped           acknowledged, stale
  (nothing) ──────▶ RUNNING ─────────────────────────────▶ REPORTING ─────────────────────▶ (nothing)
             WAITING ─▲│  cancel                              ▲
                       ├────────▶ STOPPING ───────────────────┤
                       ├─ time to leave ─▶ RETURNING ─────────┤
                       │  lost, stale, newer epoch            │ (a report that was sent and needs no answer
                       └────────▶ DROPPING ───▶ (nothing)     │  is forgotten at once)
```
An attempt is WAITING while attempts that are stopping still take up the provider. A result is kept until the
coordinator has decided it; other ends are remembered for a while, and an attempt that ended is never run again. A loss
of the connection changes nothing but what can be sent, until the watchdog says that it has lasted too long: then all
that runs is dropped, and results that are ready are kept. Once told to drain it takes nothing new, and leaves when
nothing is left; told by its owner it gives back what takes too long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cavvy import defaults
from cavvy.core.held import Held, HeldAttempt, HeldPhase, Report
from cavvy.core.job import AttemptRef, RejectReason
from cavvy.core.leaving import Leaving
from cavvy.core.watchdog import Watchdog
from cavvy.core.worker_messages import (
    AbortAttempt,
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

__all__ = ["WorkerCore"]

#: Refusals of a result that sending it again cannot heal.
FINAL_REFUSALS = frozenset({"not_yours", "rejected_receipt"})
#: What only the coordinator can have said.
FROM_COORDINATOR = frozenset(
    {
        DrainReceived,
        AssignReceived,
        CancelReceived,
        CompleteAckReceived,
        HeartbeatAckReceived,
        PingReceived,
        ErrorReceived,
        Heard,
    }
)


class WorkerCore:
    """Feed it commands with the time, in seconds of a clock that goes on while the machine sleeps; do what it returns,
    in order.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._held = Held()
        self._connected = False
        self._leaving = Leaving()
        self._watchdog = Watchdog()
        self._heartbeat_s = defaults.HEARTBEAT_S
        self._next_heartbeat_s = 0.0
        self._now_s = 0.0
        self._effects: list[WorkerEffect] = []
        self._handlers: dict[type, Callable[[Any], None]] = {
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            ConnectFailed: self._on_connect_failed,
            StoreChanged: self._on_store_changed,
            Heard: lambda _: None,
            DrainReceived: self._on_drain,
            LeaveRequested: self._on_leave,
            AssignReceived: self._on_assign,
            CancelReceived: self._on_cancel,
            CompleteAckReceived: self._on_complete_ack,
            HeartbeatAckReceived: self._on_heartbeat_ack,
            PingReceived: self._on_ping,
            ErrorReceived: self._on_error,
            AttemptStarted: self._on_started,
            AttemptFinished: self._on_finished,
            AttemptFailed: self._on_failed,
            AttemptRefused: self._on_refused,
            AttemptStopped: self._on_stopped,
            Tick: self._on_tick,
        }

    @property
    def held(self) -> tuple[AttemptRef, ...]:
        """For `register`: what runs or stops, and ends other than results that could not be reported yet."""
        return tuple(attempt.ref for attempt in self._held if _is_held(attempt))

    @property
    def finished(self) -> tuple[AttemptRef, ...]:
        """For `register`: the results nobody has acknowledged."""
        return tuple(attempt.ref for attempt in self._held if type(attempt.report) is SendComplete)

    @property
    def idle(self) -> bool:
        """Nothing is held, nothing is still stopping."""
        return not self._held

    @property
    def wake_s(self) -> float | None:
        """When the next Tick is due; None while there is nothing to do by the clock."""
        due = [self._next_heartbeat_s] if self._connected else []
        if self._held.count(HeldPhase.RUNNING) or self._held.count(HeldPhase.WAITING):
            due.append(self._watchdog.deadline_s)
        if self._leaving.by_itself:
            due.append(self._leaving.wake_s)
        return min(due, default=None)

    def handle(self, command: WorkerCommand, now_s: float) -> list[WorkerEffect]:
        """One step. Never raises for a command that does not fit the state: such a one changes nothing."""
        self._now_s = now_s
        self._effects = []
        kind = type(command)
        if now_s >= self._watchdog.deadline_s and kind is not Connected:
            self._give_up()
        if kind in FROM_COORDINATOR:
            self._watchdog.heard(now_s)
        self._handlers[kind](command)
        if self._leaving.draining:
            self._step_leaving()
        return self._effects

    # The connection

    def _on_connected(self, command: Connected) -> None:
        self._connected = True
        self._watchdog.connected(command.lease_ttl_s, self._now_s)
        self._heartbeat_s = command.heartbeat_s
        verdicts = {verdict.ref: verdict for verdict in command.resume}
        for attempt in self._held:
            self._resume(attempt, verdicts.get(attempt.ref))
        if self._leaving.by_itself:
            self._effects.append(SendDrain())
        self._send_heartbeat()

    def _on_disconnected(self, _: Disconnected) -> None:
        self._connected = False

    def _on_connect_failed(self, command: ConnectFailed) -> None:
        self._watchdog.connect_failed(refused=command.refused)
        if self._now_s >= self._watchdog.deadline_s:
            self._give_up()

    def _on_store_changed(self, _: StoreChanged) -> None:
        """Another store may use the names of these attempts for others."""
        for attempt in self._held:
            self._drop(attempt)
        self._held.past.clear()

    def _give_up(self) -> None:
        """Whoever it was granted to may be running it already; what is ready may still be wanted."""
        lost = [one for one in self._held if one.phase in (HeldPhase.RUNNING, HeldPhase.WAITING)]
        if not lost:
            return
        refs = tuple(attempt.ref for attempt in lost)
        self._effects.append(GaveUp(refs=refs, unheard_s=self._now_s - self._watchdog.heard_s))
        for attempt in lost:
            self._drop(attempt)

    # Leaving

    def _on_drain(self, _: DrainReceived) -> None:
        self._leaving.draining = True
        self._give_back_unbegun()

    def _on_leave(self, command: LeaveRequested) -> None:
        if self._connected and not self._leaving.by_itself:
            self._effects.append(SendDrain())
        self._leaving.told(command.within_s, self._now_s)
        self._give_back_unbegun()

    def _step_leaving(self) -> None:
        if self._leaving.due(self._now_s):
            self._give_back_running(lambda _: True)
        held, working = bool(self._held), bool(self._held.working)
        if self._leaving.may_go(self._now_s, held=held, working=working, connected=self._connected):
            self._effects.append(Leave())

    def _give_back_unbegun(self) -> None:
        """What waits for a slot here, or for its turn at the provider, somebody else can begin with."""
        for attempt in [one for one in self._held if one.phase is HeldPhase.WAITING]:
            self._ended(attempt.ref, _returned(attempt.ref))
        self._give_back_running(lambda attempt: not attempt.started)

    def _give_back_running(self, which: Callable[[HeldAttempt], bool]) -> None:
        """Somebody else shall run these; it is said when their provider is idle."""
        for attempt in self._held:
            if attempt.phase is HeldPhase.RUNNING and which(attempt):
                self._abort(attempt, HeldPhase.RETURNING)

    # The connection again

    def _resume(self, attempt: HeldAttempt, verdict: ResumeVerdict | None) -> None:
        if attempt.phase is HeldPhase.DROPPING:
            return
        if verdict is not None and verdict.verdict in ("stale", "accepted"):
            self._drop(attempt)
        elif attempt.phase is HeldPhase.REPORTING:
            self._settle(attempt)
        elif verdict is not None and verdict.verdict == "stop":
            self._stop(attempt)
        elif verdict is not None and attempt.phase is not HeldPhase.RETURNING:
            self._go_on(attempt, verdict.offset)

    def _go_on(self, attempt: HeldAttempt, offset: int) -> None:
        if attempt.started:
            self._effects.append(SendStarted(ref=attempt.ref))
        self._effects.append(ResendText(ref=attempt.ref, offset=offset))

    def _on_ping(self, _: PingReceived) -> None:
        if self._connected:
            self._send_heartbeat()

    def _on_tick(self, _: Tick) -> None:
        if not self._connected:
            return
        if self._now_s >= self._next_heartbeat_s:
            self._send_heartbeat()
        for attempt in self._held:
            if attempt.report is not None and self._now_s - attempt.sent_s >= defaults.RESULT_RESEND_S:
                self._send(attempt, attempt.report)

    def _send_heartbeat(self) -> None:
        held = tuple(attempt.ref for attempt in self._held if attempt.phase is not HeldPhase.DROPPING)
        free = max(0, self._slots - self._held.count(HeldPhase.WAITING) - self._held.working)
        if self._leaving.draining:
            free = 0
        self._effects.append(SendHeartbeat(held=held, free=free))
        self._next_heartbeat_s = self._now_s + self._heartbeat_s

    def _on_heartbeat_ack(self, command: HeartbeatAckReceived) -> None:
        for ref in command.lost:
            attempt = self._held.get(ref)
            # A result on its way gets its own answer, which alone is durable.
            if attempt is not None and attempt.phase is not HeldPhase.REPORTING:
                self._drop(attempt)

    # What the coordinator wants

    def _on_assign(self, command: AssignReceived) -> None:
        assignment = command.assignment
        ref = assignment.ref
        if ref in self._held.past:
            self._report_again(ref)
            return
        newest = self._held.newest(ref.job_id)
        if newest is not None and newest.ref.epoch >= ref.epoch:
            self._assigned_again(self._held.get(ref))
            return
        if newest is not None:
            self._drop(newest)
        if self._leaving.draining:
            self._reject(ref, RejectReason.DRAINING, "This worker takes nothing new.")
        elif self._held.owed >= self._slots:
            self._reject(ref, RejectReason.BUSY, "Every slot of this worker is taken.")
        else:
            self._held.take(assignment)
            self._run_waiting()

    def _reject(self, ref: AttemptRef, reason: RejectReason, message: str) -> None:
        """It never began here, and nobody is to blame."""
        self._held.remember(ref, SendRejected(ref=ref, reason=reason, message=message))
        self._report_again(ref)

    def _assigned_again(self, attempt: HeldAttempt | None) -> None:
        if attempt is None or not self._connected:
            return
        if attempt.report is not None:
            self._send(attempt, attempt.report)
        elif attempt.started and attempt.phase is HeldPhase.RUNNING:
            self._effects.append(SendStarted(ref=attempt.ref))

    def _report_again(self, ref: AttemptRef) -> None:
        """The coordinator has not heard of the end of this one; it is not run twice."""
        report = self._held.past[ref]
        if report is not None and self._connected:
            self._effects.append(report)

    def _run_waiting(self) -> None:
        """Starts what waits, oldest first, as far as providers are idle."""
        if not self._held.count(HeldPhase.WAITING):
            return
        for attempt in self._held:
            if attempt.phase is HeldPhase.WAITING and attempt.assignment and self._held.working < self._slots:
                self._held.enter(attempt, HeldPhase.RUNNING)
                self._effects.append(RunAttempt(assignment=attempt.assignment))
                attempt.assignment = None

    def _on_cancel(self, command: CancelReceived) -> None:
        attempt = self._held.get(command.ref)
        if attempt is None:
            if self._connected:
                self._effects.append(SendStopped(ref=command.ref))
        elif attempt.phase is not HeldPhase.REPORTING:
            self._stop(attempt)

    def _on_complete_ack(self, command: CompleteAckReceived) -> None:
        self._void(command.ref)

    def _on_error(self, command: ErrorReceived) -> None:
        if command.code in FINAL_REFUSALS:
            self._void(command.ref)

    def _void(self, ref: AttemptRef) -> None:
        attempt = self._held.get(ref)
        if attempt is not None and attempt.phase is HeldPhase.REPORTING:
            self._held.forget(attempt)

    # What becomes of an attempt

    def _on_started(self, command: AttemptStarted) -> None:
        attempt = self._held.get(command.ref)
        if attempt is None or attempt.phase is not HeldPhase.RUNNING:
            return
        attempt.started = True
        if self._connected:
            self._effects.append(SendStarted(ref=attempt.ref))

    def _on_finished(self, command: AttemptFinished) -> None:
        report = SendComplete(ref=command.ref, result=command.result, receipt=command.receipt)
        self._ended(command.ref, report)

    def _on_failed(self, command: AttemptFailed) -> None:
        report = SendFailed(
            ref=command.ref,
            code=command.code,
            message=command.message,
            retryable=command.retryable,
            usage=command.usage,
        )
        self._cut_short(command.ref, command.usage, report)

    def _on_refused(self, command: AttemptRefused) -> None:
        report = SendRejected(ref=command.ref, reason=RejectReason.UNSUPPORTED, message=command.message)
        self._cut_short(command.ref, None, report)

    def _on_stopped(self, command: AttemptStopped) -> None:
        self._cut_short(command.ref, command.usage, SendStopped(ref=command.ref, usage=command.usage))

    def _cut_short(self, ref: AttemptRef, usage: Usage | None, report: Report) -> None:
        """An end without a result. One that was asked for is reported as what was asked, however it came."""
        attempt = self._held.get(ref)
        if attempt is not None and attempt.phase is HeldPhase.STOPPING:
            report = SendStopped(ref=ref, usage=usage, stopped_ms=self._took_ms(attempt))
        elif attempt is not None and attempt.phase is HeldPhase.RETURNING:
            report = _returned(ref)
        self._ended(ref, report)

    def _took_ms(self, attempt: HeldAttempt) -> int | None:
        return None if attempt.aborted_s is None else round(1000 * (self._now_s - attempt.aborted_s))

    def _ended(self, ref: AttemptRef, report: Report) -> None:
        attempt = self._held.get(ref)
        if attempt is None:
            return
        if attempt.phase is HeldPhase.DROPPING:
            self._dropped(attempt)
            return
        self._held.enter(attempt, HeldPhase.REPORTING)
        attempt.report = report
        if self._connected:
            self._settle(attempt)
        self._run_waiting()

    def _settle(self, attempt: HeldAttempt) -> None:
        """Sends the report; only a result has an answer to wait for."""
        report = attempt.report
        if report is None:
            return
        self._send(attempt, report)
        if type(report) is not SendComplete:
            self._held.forget(attempt)

    def _send(self, attempt: HeldAttempt, report: Report) -> None:
        attempt.sent_s = self._now_s
        self._effects.append(report)

    def _stop(self, attempt: HeldAttempt) -> None:
        if attempt.phase is HeldPhase.WAITING:
            self._ended(attempt.ref, SendStopped(ref=attempt.ref, stopped_ms=0))
        elif attempt.phase is not HeldPhase.REPORTING:
            self._abort(attempt, HeldPhase.STOPPING)

    def _drop(self, attempt: HeldAttempt) -> None:
        """The attempt is void: nothing is reported of it, its slot is free when its provider is idle."""
        if attempt.phase in (HeldPhase.REPORTING, HeldPhase.WAITING):
            self._held.forget(attempt)
        else:
            self._abort(attempt, HeldPhase.DROPPING)

    def _abort(self, attempt: HeldAttempt, phase: HeldPhase) -> None:
        """Its provider is told once; what becomes of it then may change."""
        if attempt.aborted_s is None:
            attempt.aborted_s = self._now_s
            self._effects.append(AbortAttempt(ref=attempt.ref))
        self._held.enter(attempt, phase)

    def _dropped(self, attempt: HeldAttempt) -> None:
        self._held.forget(attempt)
        self._run_waiting()
        if self._connected:
            self._send_heartbeat()


def _is_held(attempt: HeldAttempt) -> bool:
    return attempt.phase is not HeldPhase.DROPPING and type(attempt.report) is not SendComplete


def _returned(ref: AttemptRef) -> SendRejected:
    return SendRejected(ref=ref, reason=RejectReason.DRAINING, message="This worker leaves.")
