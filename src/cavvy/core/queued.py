"""What is told of a job that waits: why, where it stands, and in about how many seconds it starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cavvy.core.board import Board
from cavvy.core.job import JobHeader, Now, WorkerStatus
from cavvy.core.matching import Offer, Profile, refusal, waiting_reason

__all__ = ["Queued", "queued"]


class Queued(NamedTuple):
    """`position` is 1 for the next; None for a job that does not stand in line now."""

    reason: str
    position: int | None = None
    estimate_s: float | None = None


def queued(board: Board, job: JobHeader, online: Iterable[Offer], now: Now) -> Queued:
    """Of a pending job. What its own times add, `reason_with_times` knows."""
    if job.id in board.backlog.withheld:
        return Queued("It is being stopped.")
    rests_s = board.backlog.resting.until(job.id, now)
    if rests_s is not None:
        return Queued(f"An attempt failed; the next begins in {rests_s:.0f} s at the earliest.")
    kept_s = board.backlog.waiting.kept_s(job, _able(board, job), now.mono_s)
    if kept_s is not None:
        return Queued(f"The worker that could run it did not take it, or failed; it may again in {kept_s:.0f} s.")
    place = board.backlog.waiting.queue(job, now.mono_s, lambda profile: _serves(board, profile))
    return Queued(waiting_reason(job.needs, online), *place)


def _serves(board: Board, profile: Profile) -> bool:
    return any(one.serving for one in board.fleet.of_profile(profile))


def _able(board: Board, job: JobHeader) -> frozenset[str]:
    """The workers online that would be given it."""
    if not job.excluded:
        return frozenset()
    return frozenset(
        one.worker
        for one in board.fleet
        if one.status is WorkerStatus.APPROVED and refusal(job.needs, one.profile) is None
    )
