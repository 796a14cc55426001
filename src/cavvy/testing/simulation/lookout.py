"""Looks at a simulation once a second: what must have ended by then has not gone on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cavvy.testing.simulation.coordinator import SimulatedCoordinator
from cavvy.testing.simulation.history import History
from cavvy.testing.simulation.worker import SimulatedWorker

__all__ = ["Lookout"]

#: How late the coordinator may be seen to act when nothing keeps it from acting.
SLACK_S = 3.0


class Lookout:
    """Notes in the history what it sees."""

    def __init__(self, history: History, coordinator: SimulatedCoordinator, workers: Sequence[SimulatedWorker]) -> None:
        self._history = history
        self._coordinator = coordinator
        self._workers = {worker.key: worker for worker in workers}
        self._told: set[str] = set()

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._orphans()
            if self._coordinator.settled_s > SLACK_S:
                self._overdue()
                self._stranded()

    def _orphans(self) -> None:
        """P5: who has heard nothing for a lease runs nothing."""
        for call in sorted(self._history.working):
            if self._workers[call.worker].must_have_stopped():
                self._history.call_stopping(call)
                self._history.broken("P5", f"{call.worker[:8]} goes on with attempt {call.ref.epoch}", call.ref.job_id)

    def _overdue(self) -> None:
        """P7: what Dispatch's clients commit has ended when they stop asking."""
        before_ms = self._coordinator.clock().wall_ms - round(SLACK_S * 1000)
        for job in self._history.live.values():
            due_ms = job.terms.deadline_at_ms
            if job.needs.policy is not None and due_ms is not None and due_ms < before_ms:
                self._tell("P7", "goes on after its deadline", job.id)

    def _stranded(self) -> None:
        """P6: what a worker of Dispatch's was given is taken from it as soon as its socket is gone."""
        for ref, _ in self._history.dispatched.stranded(self._coordinator.now_s - SLACK_S):
            self._tell("P6", f"attempt {ref.epoch} is still with a worker whose socket is gone", ref.job_id)

    def _tell(self, promise: str, what: str, job_id: str) -> None:
        if job_id not in self._told:
            self._told.add(job_id)
            self._history.broken(promise, what, job_id)
