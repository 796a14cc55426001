"""The timekeeper: ends the jobs and attempts whose time is over. What waits costs nothing until it is due."""

from __future__ import annotations

from cavvy.core.board import Board
from cavvy.core.commands import Progress
from cavvy.core.job import JobHeader, JobStatus, Now
from cavvy.core.lifecycle import Event
from cavvy.core.matching import waiting_reason
from cavvy.core.times import overrun

__all__ = ["Timekeeper"]


class Timekeeper:
    """Deadlines, the limits of attempts and match windows. None ends anything during the restart grace."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._overdue: list[str] = []

    def progress(self, command: Progress, now: Now) -> None:
        """These attempts have shown life, by text or by a keep-alive."""
        for ref in command.refs:
            lease = self._board.leases.get(ref.job_id)
            if lease is not None and lease.epoch == ref.epoch and lease.session == command.session:
                lease.clock.show_life(now.mono_s)

    def tick(self, now: Now) -> None:
        """Ends the jobs whose deadline has come. During the grace those that wait are not granted any more."""
        due = self._board.deadlines.due(now.wall_ms)
        if now.mono_s < self._board.grace_until_s:
            self._overdue += due
            for job in self._live(due):
                if job.status is JobStatus.PENDING:
                    self._board.backlog.rest(job, self._board.grace_until_s)
            return
        if self._overdue:
            due, self._overdue = [*self._overdue, *due], []
        late = self._live(due)
        unmatched = [job for job in late if job.needs.policy and self._window_ends(job, now)]
        self._end_unmatched(unmatched, now)
        for job in self._live([job.id for job in late]):
            told_at_commit = f"It had not ended {job.terms.timeout_s:g} s after its commit, or its retry."
            self._end(job, Event.DEADLINE, now, told_at_commit if job.needs.policy else "Its deadline has come.")

    def sweep(self, now: Now) -> None:
        """Ends the attempts that take too long, and the jobs nobody can run."""
        if now.mono_s < self._board.grace_until_s:
            return
        jobs = self._board.jobs
        held = [(jobs[job_id], lease.clock) for job_id, lease in self._board.leases.items()]
        for job, clock in held:
            over = overrun(clock, job.terms, now.mono_s)
            if over is not None:
                self._end(job, over.event, now, over.message)
        if self._board.backlog.windows:
            serving = frozenset(session.profile for session in self._board.fleet if session.serving)
            self._end_unmatched(self._live(self._board.backlog.windows.due(serving, now.mono_s)), now)

    def _window_ends(self, job: JobHeader, now: Now) -> bool:
        """Whether the next sweep would find that nobody came: of a task the window is as long as all its time."""
        window_s, board = job.terms.match_window_s, self._board
        return window_s is not None and (
            board.backlog.windows.alone_s(job, now.mono_s) + board.settings.sweep_s >= window_s
        )

    def _end_unmatched(self, jobs: list[JobHeader], now: Now) -> None:
        offers = [session.offer for session in self._board.fleet] if jobs else []
        for job in jobs:
            window = f"For {job.terms.match_window_s:g} s no worker online could run it."
            self._end(job, Event.UNMATCHED, now, f"{window} {waiting_reason(job.needs, offers)}")

    def _live(self, job_ids: list[str]) -> list[JobHeader]:
        """Those that have not ended, and that no stop is about to end."""
        jobs, withheld = self._board.jobs, self._board.backlog.withheld
        return [jobs[job_id] for job_id in job_ids if job_id in jobs and job_id not in withheld]

    def _end(self, job: JobHeader, event: Event, now: Now, message: str) -> None:
        """Wherever it is; a worker that has it is told to stop, and its slot is free when it says so."""
        lease = self._board.leases.get(job.id)
        self._board.event(job, event, now, message=message)
        if lease is not None and lease.session is not None:
            self._board.out.stop(lease.session, job.id, lease.epoch, message)
