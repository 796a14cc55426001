"""Stopping much at once: everything of a tenant, with or without a latch, or everything of a thread.

Attempts are told at once. Jobs that wait are taken off the queue at once, so nothing starts any more, and they end in
slices: a commit with a hundred thousand of them would hold up everybody else's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec.structs import replace

from cavvy.core.board import Board
from cavvy.core.commands import CancelThread, ReleaseStop, StopTenant
from cavvy.core.effects import Reply, ReplyCode, StopChanged
from cavvy.core.job import CancelRequest, JobHeader, Now
from cavvy.core.latch import StopLatch, Stopped
from cavvy.core.lifecycle import Event
from cavvy.core.outbox import Outbox
from cavvy.core.writes import DropStop, SetStop

__all__ = ["Stopping"]


class _Ending(NamedTuple):
    """Jobs off the queue that are still to be ended, of a stop of all that is this tenant's."""

    tenant: str
    request: CancelRequest
    job_ids: deque[str]


class Stopping:
    """Every tenant's stop, and what is left to do for each."""

    def __init__(self, board: Board, out: Outbox) -> None:
        self._board = board
        self._out = out
        self._latches: dict[str, StopLatch] = {}
        self._endings: deque[_Ending] = deque()

    # -- coming back

    def know(self, latch: StopLatch) -> None:
        """Takes up what the store holds."""
        self._latches[latch.tenant] = latch

    def resume(self) -> None:
        """Goes on with what a stop had not ended when the process did; to be called when every job is known."""
        for latch in self._latches.values():
            self._end(latch, (job for job in self._of(latch.tenant) if job.seq <= latch.stop_seq))

    # -- what is asked

    @property
    def unfinished(self) -> bool:
        """Whether the next tick has jobs to end: it should come at once."""
        return bool(self._endings)

    def refusal(self, tenant: str) -> StopLatch | None:
        """The latch that forbids this tenant new work, if there is one."""
        latch = self._latches.get(tenant)
        return latch if latch is not None and latch.latched else None

    def covers(self, tenant: str, seq: int) -> StopLatch | None:
        """The stop that would end this job at once if it ran again, if there is one."""
        latch = self._latches.get(tenant)
        return latch if latch is not None and (latch.latched or seq <= latch.stop_seq) else None

    # -- commands

    def stop(self, command: StopTenant, now: Now, last_seq: int) -> None:
        """Stops all of a tenant. A latch that holds already keeps its name, its reason and its time."""
        held = self.refusal(command.tenant)
        latch = StopLatch(
            tenant=command.tenant,
            stop_seq=last_seq,
            by=held.by if held else command.by,
            reason=held.reason if held else command.reason,
            at_ms=held.at_ms if held else now.wall_ms,
            latched=held is not None or command.latch,
        )
        counts = self._tell(self._of(command.tenant), latch.request, now)
        if latch.latched or counts.pending:
            self._set(latch)
            self._end(latch, self._of(command.tenant))
        self._out.effect(Reply(ref=command.ref, code=ReplyCode.OK, stop=latch, stopped=counts))

    def release(self, command: ReleaseStop, now: Now) -> None:
        """New work is taken again; what the stop has not ended yet still ends. Repeating it changes nothing."""
        latch = self.refusal(command.tenant)
        if latch is not None:
            self._set(replace(latch, latched=False))
            self._end(latch, ())
        self._out.effect(Reply(ref=command.ref, code=ReplyCode.OK, stop=latch))

    def cancel_thread(self, command: CancelThread, now: Now) -> None:
        """Stops all of a thread. A conversation is short: what waits of it ends in this very commit."""
        request = CancelRequest(by=command.by, reason=command.reason, at_ms=now.wall_ms)
        jobs = self._board.threads.of(command.tenant, command.thread)
        counts = self._tell(jobs, request, now)
        for job in jobs:
            if not job.active:
                self._board.event(job, Event.CANCEL, now, message="Stopped.", cancel=request)
        self._out.effect(Reply(ref=command.ref, code=ReplyCode.OK, stopped=counts))

    # -- the work

    def advance(self, now: Now) -> None:
        """Ends the next slice of jobs."""
        left = self._board.settings.stop_slice
        while self._endings and left:
            ending = self._endings[0]
            while ending.job_ids and left:
                left -= self._abort(ending.job_ids.popleft(), ending.request, now)
            if not ending.job_ids:
                self._endings.popleft()
                self._ended(ending.tenant)

    def _abort(self, job_id: str, request: CancelRequest, now: Now) -> bool:
        """Whether the job was still there to be ended."""
        if job_id not in self._board.backlog.withheld:
            return False
        self._board.event(self._board.jobs[job_id], Event.CANCEL, now, message="Stopped.", cancel=request)
        return True

    def _tell(self, jobs: Iterable[JobHeader], request: CancelRequest, now: Now) -> Stopped:
        """Tells every attempt to stop, and counts."""
        running = pending = 0
        for job in jobs:
            if not job.active:
                pending += 1
                continue
            running += 1
            if job.cancel is None:
                self._board.ask_to_stop(job, request, now)
        return Stopped(running=running, pending=pending)

    def _end(self, latch: StopLatch, jobs: Iterable[JobHeader]) -> None:
        withheld = deque(job.id for job in jobs if self._board.backlog.withhold(job))
        self._endings.append(_Ending(latch.tenant, latch.request, withheld))

    def _ended(self, tenant: str) -> None:
        """A stop that forbids nothing is forgotten when everything has ended."""
        latch = self._latches.get(tenant)
        more = any(ending.tenant == tenant for ending in self._endings)
        if latch is not None and not latch.latched and not more:
            del self._latches[tenant]
            self._out.write(DropStop(tenant=tenant, stop_seq=latch.stop_seq))

    def _set(self, latch: StopLatch) -> None:
        if self._latches.get(latch.tenant) != latch:
            self._latches[latch.tenant] = latch
            self._out.write(SetStop(latch=latch))
            self._out.effect(StopChanged(latch=latch))

    def _of(self, tenant: str) -> Iterator[JobHeader]:
        return (job for job in self._board.jobs.values() if job.needs.tenant == tenant)
