"""The attempts a worker has, by what it does with each, and the ends it remembers."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto

from cavvy.core.job import AttemptRef
from cavvy.core.worker_messages import Assignment, SendComplete, SendFailed, SendRejected, SendStopped

__all__ = ["Held", "HeldAttempt", "HeldPhase", "Report"]

Report = SendComplete | SendFailed | SendStopped | SendRejected

#: Ended attempts whose report is remembered, in case their assignment comes again.
REMEMBERED = 1024


class HeldPhase(Enum):
    WAITING = auto()  # taken, until an attempt that is stopping makes room
    RUNNING = auto()
    STOPPING = auto()  # the coordinator waits for its end
    DROPPING = auto()  # nobody waits for its end, but its provider is still busy
    RETURNING = auto()  # its provider is told to stop, and somebody else shall run it
    REPORTING = auto()  # the provider is idle, the report is not settled


class HeldAttempt:
    __slots__ = ("aborted_s", "assignment", "phase", "ref", "report", "sent_s", "started")

    def __init__(self, assignment: Assignment) -> None:
        self.assignment: Assignment | None = assignment
        self.ref = assignment.ref
        self.phase = HeldPhase.WAITING
        self.started = False
        self.report: Report | None = None
        self.sent_s = 0.0
        self.aborted_s: float | None = None


class Held:
    """In the order they came. `past` are the ends of attempts that are forgotten; None for a result, which the
    coordinator has decided.
    """

    def __init__(self) -> None:
        self.past: dict[AttemptRef, Report | None] = {}
        self._attempts: dict[AttemptRef, HeldAttempt] = {}
        self._newest: dict[str, HeldAttempt] = {}
        self._count = dict.fromkeys(HeldPhase, 0)

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[HeldAttempt]:
        """They may be forgotten meanwhile."""
        return iter(tuple(self._attempts.values()))

    def get(self, ref: AttemptRef) -> HeldAttempt | None:
        return self._attempts.get(ref)

    def newest(self, job_id: str) -> HeldAttempt | None:
        return self._newest.get(job_id)

    def count(self, phase: HeldPhase) -> int:
        return self._count[phase]

    @property
    def owed(self) -> int:
        """Slots the coordinator has given away."""
        return self._count[HeldPhase.WAITING] + self.working - self._count[HeldPhase.DROPPING]

    @property
    def working(self) -> int:
        """Slots whose provider is not idle."""
        return len(self._attempts) - self._count[HeldPhase.WAITING] - self._count[HeldPhase.REPORTING]

    def take(self, assignment: Assignment) -> None:
        """It is the newest of its job, and waits."""
        attempt = HeldAttempt(assignment)
        self._attempts[attempt.ref] = self._newest[attempt.ref.job_id] = attempt
        self._count[attempt.phase] += 1

    def enter(self, attempt: HeldAttempt, phase: HeldPhase) -> None:
        self._count[attempt.phase] -= 1
        self._count[phase] += 1
        attempt.phase = phase

    def forget(self, attempt: HeldAttempt) -> None:
        """One that waited never began, and may come again; of the others the end is remembered."""
        del self._attempts[attempt.ref]
        self._count[attempt.phase] -= 1
        if attempt.phase is not HeldPhase.WAITING:
            self.remember(attempt.ref, None if type(attempt.report) is SendComplete else attempt.report)
        if self._newest.get(attempt.ref.job_id) is attempt:
            del self._newest[attempt.ref.job_id]

    def remember(self, ref: AttemptRef, report: Report | None) -> None:
        self.past[ref] = report
        while len(self.past) > REMEMBERED:
            del self.past[next(iter(self.past))]
