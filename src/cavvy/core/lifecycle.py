"""The lifecycle as a table: what each event does to a job in each phase.

```
             GRANT             STARTED
  pending ──────────▶ assigned ──────▶ running ─── COMPLETED ──▶ completed
     ▲ ▲                 │               │
     │ └── UNDELIVERED ──┤               ├──────── FAILED ─────▶ failed
     │ LEASE_END, REVOKED│               │
     └ REJECTED, DRAINED ┴───────────────┘
```
A cancelled attempt is in phase STOPPING: its status still says assigned or running, it can only end, never wait again.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from cavvy.core.job import TERMINAL, AttemptEnd, CancelRequest, FailureCode, JobStatus

__all__ = ["TRANSITIONS", "Event", "Phase", "Step", "phase_of", "step"]


class Phase(Enum):
    PENDING = auto()
    ASSIGNED = auto()
    RUNNING = auto()
    STOPPING = auto()
    TERMINAL = auto()


class Event(Enum):
    GRANT = auto()
    UNDELIVERED = auto()  # the grant never reached its worker, or was not taken in time
    STARTED = auto()
    COMPLETED = auto()
    FAILED = auto()  # for good
    FAILED_FOR_NOW = auto()  # another try may go better
    RECEIPT_REJECTED = auto()
    STOPPED = auto()
    LEASE_END = auto()
    REVOKED = auto()  # its worker was revoked: nothing of the attempt counts or comes back
    REJECTED = auto()  # its worker does not take it
    DRAINED = auto()  # its worker leaves, or has left, without it
    REVIVED = auto()  # the worker of a lost attempt turns up while nobody else has the job
    CANCEL = auto()
    STOP_UNANSWERED = auto()
    TIMEOUT = auto()  # the attempt took too long
    STALLED = auto()  # … or showed no sign of life
    DEADLINE = auto()  # the job's; it does not matter where it is
    UNTRUSTED = auto()  # nobody its user trusts was online when it was submitted
    UNMATCHED = auto()  # no worker that could run it was online for the job's match window


class Step(NamedTuple):
    """What an event does: the next status (None: unchanged), how the attempt ends, whether it counts as a try, and why
    the job fails. With PENDING that is for a job that has no try left: see tries.py.
    """

    status: JobStatus | None = None
    end: AttemptEnd | None = None
    failure: FailureCode | None = None
    counted: bool = False


_ABORTED = Step(JobStatus.FAILED, AttemptEnd.ABORTED, FailureCode.ABORTED)
_COMPLETED = Step(JobStatus.COMPLETED, AttemptEnd.COMPLETED)
_UNDELIVERED = Step(JobStatus.PENDING, AttemptEnd.UNDELIVERED)
_FAILED = Step(JobStatus.FAILED, AttemptEnd.FAILED, FailureCode.WORKER_ERROR, counted=True)
_FAILED_FOR_NOW = Step(JobStatus.PENDING, AttemptEnd.FAILED, FailureCode.WORKER_ERROR, counted=True)
_REJECTED = Step(JobStatus.PENDING, AttemptEnd.FAILED, FailureCode.REJECTED_RECEIPT, counted=True)
_LOST = Step(JobStatus.PENDING, AttemptEnd.LOST, FailureCode.WORKER_LOST, counted=True)
_QUIT = Step(JobStatus.FAILED, AttemptEnd.LOST, FailureCode.WORKER_LOST, counted=True)
_REVOKED = Step(JobStatus.PENDING, AttemptEnd.REVOKED)
_TURNED_DOWN = Step(JobStatus.PENDING, AttemptEnd.REJECTED, FailureCode.NO_ELIGIBLE_WORKER)
_DRAINED = Step(JobStatus.PENDING, AttemptEnd.DRAINED)
_TIMEOUT = Step(JobStatus.FAILED, AttemptEnd.TIMEOUT, FailureCode.TIMEOUT, counted=True)
_STALLED = Step(JobStatus.FAILED, AttemptEnd.STALLED, FailureCode.STALLED, counted=True)
_DEADLINE = Step(JobStatus.FAILED, AttemptEnd.DEADLINE, FailureCode.DEADLINE)
_UNCHANGED = Step()

TRANSITIONS: dict[tuple[Phase, Event], Step] = {
    (Phase.PENDING, Event.GRANT): Step(JobStatus.ASSIGNED),
    (Phase.PENDING, Event.REVIVED): Step(JobStatus.RUNNING),
    (Phase.PENDING, Event.COMPLETED): _COMPLETED,
    (Phase.PENDING, Event.FAILED): _UNCHANGED,
    (Phase.PENDING, Event.FAILED_FOR_NOW): _UNCHANGED,
    (Phase.PENDING, Event.RECEIPT_REJECTED): _UNCHANGED,
    (Phase.PENDING, Event.STOPPED): _UNCHANGED,
    (Phase.PENDING, Event.REJECTED): _UNCHANGED,
    (Phase.PENDING, Event.DRAINED): _UNCHANGED,
    (Phase.PENDING, Event.CANCEL): Step(JobStatus.FAILED, None, FailureCode.ABORTED),
    (Phase.PENDING, Event.DEADLINE): Step(JobStatus.FAILED, None, FailureCode.DEADLINE),
    (Phase.PENDING, Event.UNMATCHED): Step(JobStatus.FAILED, None, FailureCode.NO_ELIGIBLE_WORKER),
    (Phase.PENDING, Event.UNTRUSTED): Step(JobStatus.FAILED, None, FailureCode.NO_TRUSTED_WORKER),
    (Phase.ASSIGNED, Event.STARTED): Step(JobStatus.RUNNING),
    (Phase.ASSIGNED, Event.UNDELIVERED): _UNDELIVERED,
    (Phase.ASSIGNED, Event.LEASE_END): Step(JobStatus.PENDING, AttemptEnd.LOST),
    (Phase.ASSIGNED, Event.REVOKED): _REVOKED,
    (Phase.ASSIGNED, Event.REJECTED): _TURNED_DOWN,
    (Phase.ASSIGNED, Event.DRAINED): _DRAINED,
    (Phase.ASSIGNED, Event.COMPLETED): _COMPLETED,
    (Phase.ASSIGNED, Event.FAILED): _FAILED,
    (Phase.ASSIGNED, Event.FAILED_FOR_NOW): _FAILED_FOR_NOW,
    (Phase.ASSIGNED, Event.RECEIPT_REJECTED): _REJECTED,
    (Phase.ASSIGNED, Event.STOPPED): _QUIT,
    (Phase.ASSIGNED, Event.CANCEL): _UNCHANGED,
    (Phase.ASSIGNED, Event.TIMEOUT): _TIMEOUT,
    (Phase.ASSIGNED, Event.STALLED): Step(JobStatus.FAILED, AttemptEnd.STALLED, FailureCode.STALLED),
    (Phase.ASSIGNED, Event.DEADLINE): _DEADLINE,
    (Phase.RUNNING, Event.STARTED): _UNCHANGED,
    (Phase.RUNNING, Event.LEASE_END): _LOST,
    (Phase.RUNNING, Event.REVOKED): _REVOKED,
    (Phase.RUNNING, Event.REJECTED): _TURNED_DOWN,
    (Phase.RUNNING, Event.DRAINED): _DRAINED,
    (Phase.RUNNING, Event.COMPLETED): _COMPLETED,
    (Phase.RUNNING, Event.FAILED): _FAILED,
    (Phase.RUNNING, Event.FAILED_FOR_NOW): _FAILED_FOR_NOW,
    (Phase.RUNNING, Event.RECEIPT_REJECTED): _REJECTED,
    (Phase.RUNNING, Event.STOPPED): _QUIT,
    (Phase.RUNNING, Event.CANCEL): _UNCHANGED,
    (Phase.RUNNING, Event.TIMEOUT): _TIMEOUT,
    (Phase.RUNNING, Event.STALLED): _STALLED,
    (Phase.RUNNING, Event.DEADLINE): _DEADLINE,
    (Phase.STOPPING, Event.STARTED): _UNCHANGED,
    (Phase.STOPPING, Event.UNDELIVERED): _ABORTED,
    (Phase.STOPPING, Event.LEASE_END): _ABORTED,
    (Phase.STOPPING, Event.REVOKED): _ABORTED,
    (Phase.STOPPING, Event.REJECTED): _ABORTED,
    (Phase.STOPPING, Event.DRAINED): _ABORTED,
    (Phase.STOPPING, Event.COMPLETED): _COMPLETED,
    (Phase.STOPPING, Event.FAILED): _ABORTED,
    (Phase.STOPPING, Event.FAILED_FOR_NOW): _ABORTED,
    (Phase.STOPPING, Event.RECEIPT_REJECTED): _ABORTED,
    (Phase.STOPPING, Event.STOPPED): _ABORTED,
    (Phase.STOPPING, Event.STOP_UNANSWERED): _ABORTED,
    (Phase.STOPPING, Event.TIMEOUT): _ABORTED,
    (Phase.STOPPING, Event.STALLED): _ABORTED,
    (Phase.STOPPING, Event.DEADLINE): _ABORTED,
    (Phase.STOPPING, Event.CANCEL): _UNCHANGED,
}


def phase_of(status: JobStatus, cancel: CancelRequest | None) -> Phase:
    if status in TERMINAL:
        return Phase.TERMINAL
    if status is JobStatus.PENDING:
        return Phase.PENDING
    if cancel is not None:
        return Phase.STOPPING
    return Phase.ASSIGNED if status is JobStatus.ASSIGNED else Phase.RUNNING


def step(phase: Phase, event: Event) -> Step | None:
    """What `event` does in `phase`; None when it cannot happen there and changes nothing."""
    return TRANSITIONS.get((phase, event))
