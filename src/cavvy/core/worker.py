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
from cavvy.core.held import Held, HeldAttempt, HeldPhase
from cavvy.core.holder import Holder
from cavvy.core.job import AttemptRef, RejectReason
from cavvy.core.leaving import Leaving
from cavvy.core.watchdog import Watchdog
from cavvy.core.worker_messages import (
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
    SendComplete,
    SendDrain,
    SendHeartbeat,
    SendStopped,
    StoreChanged,
    Tick,
    WorkerCommand,
    WorkerEffect,
)

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
        self._held = Held()
        self._holder = Holder(slots, self._held)
        self._leaving = Leaving()
        self._watchdog = Watchdog()
        self._heartbeat_s = defaults.HEARTBEAT_S
        self._next_heartbeat_s = 0.0
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
            AttemptStarted: self._holder.started,
            AttemptFinished: self._holder.finished,
            AttemptFailed: self._holder.failed,
            AttemptRefused: self._holder.refused,
            AttemptStopped: self._holder.stopped,
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
        due = [self._next_heartbeat_s] if self._holder.connected else []
        if self._held.count(HeldPhase.RUNNING) or self._held.count(HeldPhase.WAITING):
            due.append(self._watchdog.deadline_s)
        if self._leaving.by_itself:
            due.append(self._leaving.wake_s)
        return min(due, default=None)

    def handle(self, command: WorkerCommand, now_s: float) -> list[WorkerEffect]:
        """One step. Never raises for a command that does not fit the state: such a one changes nothing."""
        self._holder.begin(now_s)
        kind = type(command)
        if now_s >= self._watchdog.deadline_s and kind is not Connected:
            self._give_up()
        if kind in FROM_COORDINATOR:
            self._watchdog.heard(now_s)
        self._handlers[kind](command)
        if self._holder.freed and self._holder.connected:
            self._send_heartbeat()
        if self._leaving.draining:
            self._step_leaving()
        return self._holder.effects

    # The connection

    def _on_connected(self, command: Connected) -> None:
        self._holder.connected = True
        self._watchdog.connected(command.lease_ttl_s, self._holder.now_s)
        self._heartbeat_s = command.heartbeat_s
        verdicts = {verdict.ref: verdict for verdict in command.resume}
        for attempt in self._held:
            self._holder.resume(attempt, verdicts.get(attempt.ref))
        if self._leaving.by_itself:
            self._holder.effects.append(SendDrain())
        self._send_heartbeat()

    def _on_disconnected(self, _: Disconnected) -> None:
        self._holder.connected = False

    def _on_connect_failed(self, command: ConnectFailed) -> None:
        self._watchdog.connect_failed(refused=command.refused)
        if self._holder.now_s >= self._watchdog.deadline_s:
            self._give_up()

    def _on_store_changed(self, _: StoreChanged) -> None:
        """Another store may use the names of these attempts for others."""
        for attempt in self._held:
            self._holder.drop(attempt)
        self._held.past.clear()

    def _give_up(self) -> None:
        """Whoever it was granted to may be running it already; what is ready may still be wanted."""
        lost = [one for one in self._held if one.phase in (HeldPhase.RUNNING, HeldPhase.WAITING)]
        if not lost:
            return
        refs = tuple(attempt.ref for attempt in lost)
        self._holder.effects.append(GaveUp(refs=refs, unheard_s=self._holder.now_s - self._watchdog.heard_s))
        for attempt in lost:
            self._holder.drop(attempt)

    # Leaving

    def _on_drain(self, _: DrainReceived) -> None:
        self._leaving.draining = True
        self._holder.give_back_unbegun()

    def _on_leave(self, command: LeaveRequested) -> None:
        if self._holder.connected and not self._leaving.by_itself:
            self._holder.effects.append(SendDrain())
        self._leaving.told(command.within_s, self._holder.now_s)
        self._holder.give_back_unbegun()

    def _step_leaving(self) -> None:
        if self._leaving.due(self._holder.now_s):
            self._holder.give_back_running(lambda _: True)
        held, working = bool(self._held), bool(self._held.working)
        if self._leaving.may_go(self._holder.now_s, held=held, working=working, connected=self._holder.connected):
            self._holder.effects.append(Leave())

    # The heartbeat

    def _on_ping(self, _: PingReceived) -> None:
        if self._holder.connected:
            self._send_heartbeat()

    def _on_tick(self, _: Tick) -> None:
        if not self._holder.connected:
            return
        if self._holder.now_s >= self._next_heartbeat_s:
            self._send_heartbeat()
        for attempt in self._held:
            if attempt.report is not None and self._holder.now_s - attempt.sent_s >= defaults.RESULT_RESEND_S:
                self._holder.send(attempt, attempt.report)

    def _send_heartbeat(self) -> None:
        held = tuple(attempt.ref for attempt in self._held if attempt.phase is not HeldPhase.DROPPING)
        free = max(0, self._holder.slots - self._held.count(HeldPhase.WAITING) - self._held.working)
        if self._leaving.draining:
            free = 0
        self._holder.effects.append(SendHeartbeat(held=held, free=free))
        self._next_heartbeat_s = self._holder.now_s + self._heartbeat_s

    def _on_heartbeat_ack(self, command: HeartbeatAckReceived) -> None:
        for ref in command.lost:
            attempt = self._held.get(ref)
            # A result on its way gets its own answer, which alone is durable.
            if attempt is not None and attempt.phase is not HeldPhase.REPORTING:
                self._holder.drop(attempt)

    # What the coordinator wants

    def _on_assign(self, command: AssignReceived) -> None:
        assignment = command.assignment
        ref = assignment.ref
        if ref in self._held.past:
            self._holder.report_again(ref)
            return
        newest = self._held.newest(ref.job_id)
        if newest is not None and newest.ref.epoch >= ref.epoch:
            self._holder.assigned_again(self._held.get(ref))
            return
        if newest is not None:
            self._holder.drop(newest)
        if self._leaving.draining:
            self._holder.reject(ref, RejectReason.DRAINING, "This worker takes nothing new.")
        elif self._held.owed >= self._holder.slots:
            self._holder.reject(ref, RejectReason.BUSY, "Every slot of this worker is taken.")
        else:
            self._held.take(assignment)
            self._holder.run_waiting()

    def _on_cancel(self, command: CancelReceived) -> None:
        attempt = self._held.get(command.ref)
        if attempt is None:
            if self._holder.connected:
                self._holder.effects.append(SendStopped(ref=command.ref))
        elif attempt.phase is not HeldPhase.REPORTING:
            self._holder.stop(attempt)

    def _on_complete_ack(self, command: CompleteAckReceived) -> None:
        self._holder.void(command.ref)

    def _on_error(self, command: ErrorReceived) -> None:
        if command.code in FINAL_REFUSALS:
            self._holder.void(command.ref)


def _is_held(attempt: HeldAttempt) -> bool:
    return attempt.phase is not HeldPhase.DROPPING and type(attempt.report) is not SendComplete
