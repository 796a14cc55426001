"""What may be done with a worker, and what becomes of its status: one table."""

from __future__ import annotations

from enum import StrEnum

from cavvy.core.job import WorkerStatus

__all__ = ["REVOKED_REASON", "STATUS_AFTER", "WorkerAction", "status_after"]

#: What a revoked worker is told, at most 120 bytes, for it is the reason of a WebSocket's close.
REVOKED_REASON = "its key was revoked for good; join with a new `cavvy workers token` line and another --data-dir"


class WorkerAction(StrEnum):
    """What somebody may do with a worker."""

    APPROVE = "approve"
    PAUSE = "pause"
    RESUME = "resume"
    DRAIN = "drain"
    REVOKE = "revoke"


_WAITING, _APPROVED, _PAUSED, _DRAINING, _REVOKED = WorkerStatus

STATUS_AFTER: dict[tuple[WorkerStatus, WorkerAction], WorkerStatus] = {
    (_WAITING, WorkerAction.APPROVE): _APPROVED,
    (_WAITING, WorkerAction.REVOKE): _REVOKED,
    (_APPROVED, WorkerAction.APPROVE): _APPROVED,
    (_APPROVED, WorkerAction.PAUSE): _PAUSED,
    (_APPROVED, WorkerAction.RESUME): _APPROVED,
    (_APPROVED, WorkerAction.DRAIN): _DRAINING,
    (_APPROVED, WorkerAction.REVOKE): _REVOKED,
    (_PAUSED, WorkerAction.APPROVE): _PAUSED,
    (_PAUSED, WorkerAction.PAUSE): _PAUSED,
    (_PAUSED, WorkerAction.RESUME): _APPROVED,
    (_PAUSED, WorkerAction.DRAIN): _DRAINING,
    (_PAUSED, WorkerAction.REVOKE): _REVOKED,
    (_DRAINING, WorkerAction.APPROVE): _DRAINING,
    (_DRAINING, WorkerAction.PAUSE): _PAUSED,
    (_DRAINING, WorkerAction.RESUME): _APPROVED,
    (_DRAINING, WorkerAction.DRAIN): _DRAINING,
    (_DRAINING, WorkerAction.REVOKE): _REVOKED,
    (_REVOKED, WorkerAction.REVOKE): _REVOKED,
}


def status_after(status: WorkerStatus, action: WorkerAction) -> WorkerStatus | None:
    """What `action` makes of `status`; None when it is refused there."""
    return STATUS_AFTER.get((status, action))
