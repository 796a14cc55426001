"""What a worker does with each attempt it holds: runs it, stops it, reports its end."""

from __future__ import annotations

from collections.abc import Callable

from cavvy.core.held import Held, HeldAttempt, HeldPhase, Report
from cavvy.core.job import AttemptRef, RejectReason
from cavvy.core.worker_messages import (
    AbortAttempt,
    AttemptFailed,
    AttemptFinished,
    AttemptRefused,
    AttemptStarted,
    AttemptStopped,
    ResendText,
    ResumeVerdict,
    RunAttempt,
    SendComplete,
    SendFailed,
    SendRejected,
    SendStarted,
    SendStopped,
    WorkerEffect,
)
from cavvy.core.writes import Usage

__all__ = ["Holder"]


class Holder:
    """`effects` are what the step under way has decided; `freed`: a slot came free in it that nobody was told of."""

    def __init__(self, slots: int, held: Held) -> None:
        self.slots = slots
        self.connected = False
        self.now_s = 0.0
        self.effects: list[WorkerEffect] = []
        self.freed = False
        self._held = held

    def begin(self, now_s: float) -> None:
        """A step of the worker's, to which all that follows belongs."""
        self.now_s = now_s
        self.effects = []
        self.freed = False

    def assigned_again(self, attempt: HeldAttempt | None) -> None:
        if attempt is None or not self.connected:
            return
        if attempt.report is not None:
            self.send(attempt, attempt.report)
        elif attempt.started and attempt.phase is HeldPhase.RUNNING:
            self.effects.append(SendStarted(ref=attempt.ref))

    def report_again(self, ref: AttemptRef) -> None:
        """The coordinator has not heard of the end of this one; it is not run twice."""
        report = self._held.past[ref]
        if report is not None and self.connected:
            self.effects.append(report)

    def run_waiting(self) -> None:
        """Starts what waits, oldest first, as far as providers are idle."""
        if not self._held.count(HeldPhase.WAITING):
            return
        for attempt in self._held:
            if attempt.phase is HeldPhase.WAITING and attempt.assignment and self._held.working < self.slots:
                self._held.enter(attempt, HeldPhase.RUNNING)
                self.effects.append(RunAttempt(assignment=attempt.assignment))
                attempt.assignment = None

    def reject(self, ref: AttemptRef, reason: RejectReason, message: str) -> None:
        """It never began here, and nobody is to blame."""
        self._held.remember(ref, SendRejected(ref=ref, reason=reason, message=message))
        self.report_again(ref)

    def started(self, command: AttemptStarted) -> None:
        attempt = self._held.get(command.ref)
        if attempt is None or attempt.phase is not HeldPhase.RUNNING:
            return
        attempt.started = True
        if self.connected:
            self.effects.append(SendStarted(ref=attempt.ref))

    def finished(self, command: AttemptFinished) -> None:
        attempt = self._held.get(command.ref)
        if attempt is not None:
            self._ended(attempt, SendComplete(ref=command.ref, result=command.result, receipt=command.receipt))

    def failed(self, command: AttemptFailed) -> None:
        report = SendFailed(
            ref=command.ref,
            code=command.code,
            message=command.message,
            retryable=command.retryable,
            usage=command.usage,
        )
        self._cut_short(command.ref, command.usage, report)

    def refused(self, command: AttemptRefused) -> None:
        report = SendRejected(ref=command.ref, reason=RejectReason.UNSUPPORTED, message=command.message)
        self._cut_short(command.ref, None, report)

    def stopped(self, command: AttemptStopped) -> None:
        self._cut_short(command.ref, command.usage, SendStopped(ref=command.ref, usage=command.usage))

    def _cut_short(self, ref: AttemptRef, usage: Usage | None, report: Report) -> None:
        """An end without a result. One that was asked for is reported as what was asked, however it came."""
        attempt = self._held.get(ref)
        if attempt is None:
            return
        if attempt.phase is HeldPhase.STOPPING:
            report = SendStopped(ref=ref, usage=usage, stopped_ms=self._took_ms(attempt))
        elif attempt.phase is HeldPhase.RETURNING:
            report = _returned(ref)
        self._ended(attempt, report)

    def _took_ms(self, attempt: HeldAttempt) -> int | None:
        return None if attempt.aborted_s is None else round(1000 * (self.now_s - attempt.aborted_s))

    def _ended(self, attempt: HeldAttempt, report: Report) -> None:
        if attempt.phase is HeldPhase.DROPPING:
            self._dropped(attempt, report)
            return
        self._held.enter(attempt, HeldPhase.REPORTING)
        attempt.report = report
        if self.connected:
            self._settle(attempt)
        self.run_waiting()

    def _settle(self, attempt: HeldAttempt) -> None:
        """Sends the report; only a result has an answer to wait for."""
        report = attempt.report
        if report is None:
            return
        self.send(attempt, report)
        if type(report) is not SendComplete:
            self._held.forget(attempt)

    def send(self, attempt: HeldAttempt, report: Report) -> None:
        attempt.sent_s = self.now_s
        self.effects.append(report)

    def stop(self, attempt: HeldAttempt) -> None:
        """The coordinator waits to hear that it has ended."""
        if attempt.phase is HeldPhase.WAITING:
            self._ended(attempt, SendStopped(ref=attempt.ref, stopped_ms=0))
        elif attempt.phase is not HeldPhase.REPORTING:
            self._abort(attempt, HeldPhase.STOPPING)

    def drop(self, attempt: HeldAttempt) -> None:
        """The attempt is void: nothing is reported of it, its slot is free when its provider is idle."""
        if attempt.phase in (HeldPhase.REPORTING, HeldPhase.WAITING):
            self._held.forget(attempt)
        else:
            self._abort(attempt, HeldPhase.DROPPING)

    def _abort(self, attempt: HeldAttempt, phase: HeldPhase) -> None:
        """Its provider is told once; what becomes of it then may change."""
        if attempt.aborted_s is None:
            attempt.aborted_s = self.now_s
            self.effects.append(AbortAttempt(ref=attempt.ref))
        self._held.enter(attempt, phase)

    def _dropped(self, attempt: HeldAttempt, report: Report) -> None:
        """Nobody waits for its end, but what it used has to be paid."""
        if self.connected and isinstance(report, (SendStopped, SendFailed)) and report.usage is not None:
            self.effects.append(SendStopped(ref=attempt.ref, usage=report.usage))
        self._held.forget(attempt)
        self.run_waiting()
        self.freed = True

    def resume(self, attempt: HeldAttempt, verdict: ResumeVerdict | None) -> None:
        """The connection is back, and this is what the coordinator says of the attempt."""
        if attempt.phase is HeldPhase.DROPPING:
            return
        if verdict is not None and verdict.verdict in ("stale", "accepted"):
            self.drop(attempt)
        elif attempt.phase is HeldPhase.REPORTING:
            self._settle(attempt)
        elif verdict is not None and verdict.verdict == "stop":
            self.stop(attempt)
        elif verdict is not None and attempt.phase is not HeldPhase.RETURNING:
            self._go_on(attempt, verdict.offset)

    def _go_on(self, attempt: HeldAttempt, offset: int) -> None:
        if attempt.started:
            self.effects.append(SendStarted(ref=attempt.ref))
        self.effects.append(ResendText(ref=attempt.ref, offset=offset))

    def void(self, ref: AttemptRef) -> None:
        """The coordinator has decided this one's result."""
        attempt = self._held.get(ref)
        if attempt is not None and attempt.phase is HeldPhase.REPORTING:
            self._held.forget(attempt)

    def give_back_unbegun(self) -> None:
        """What waits for a slot here, or for its turn at the provider, somebody else can begin with."""
        for attempt in [one for one in self._held if one.phase is HeldPhase.WAITING]:
            self._ended(attempt, _returned(attempt.ref))
        self.give_back_running(lambda attempt: not attempt.started)

    def give_back_running(self, which: Callable[[HeldAttempt], bool]) -> None:
        """Somebody else shall run these; it is said when their provider is idle."""
        for attempt in self._held:
            if attempt.phase is HeldPhase.RUNNING and which(attempt):
                self._abort(attempt, HeldPhase.RETURNING)


def _returned(ref: AttemptRef) -> SendRejected:
    return SendRejected(ref=ref, reason=RejectReason.DRAINING, message="This worker leaves.")
