"""Match windows: how long a job waits while no worker is online that could run it."""

from __future__ import annotations

from collections.abc import Iterator

from cavvy.core.job import JobHeader, Needs
from cavvy.core.matching import Profile, refusal

__all__ = ["MatchWindows"]


class _Group:
    """The waiting jobs with the same needs and the same window, by when they came: who came first is due first.

    `alone_since_s`: since when nobody could run them; None while somebody could.
    """

    __slots__ = ("alone_since_s", "came_s", "needs", "window_s")

    def __init__(self, needs: Needs, window_s: float, now_s: float) -> None:
        self.needs = needs
        self.window_s = window_s
        self.came_s: dict[str, float] = {}
        self.alone_since_s: float | None = now_s

    def look(self, serving: frozenset[Profile], now_s: float) -> None:
        if any(refusal(self.needs, profile) is None for profile in serving):
            self.alone_since_s = None
        elif self.alone_since_s is None:
            self.alone_since_s = now_s

    def due(self, now_s: float) -> Iterator[str]:
        if self.alone_since_s is None:
            return
        for job_id, came_s in self.came_s.items():
            if now_s < max(came_s, self.alone_since_s) + self.window_s:
                return
            yield job_id


class MatchWindows:
    """The waiting jobs that have a window; the others cost nothing here.

    A worker that is busy could run them; one that is paused, draining or waits for approval could not. Until `from_s`
    nothing counts: workers are coming back.
    """

    def __init__(self) -> None:
        self.from_s = 0.0
        self._groups: dict[tuple[Needs, float], _Group] = {}
        self._unseen: list[_Group] = []
        self._serving: frozenset[Profile] = frozenset()
        self._forgiven_s = 0.0

    def enter(self, job: JobHeader, now_s: float) -> None:
        """It waits from now on."""
        window_s = job.terms.match_window_s
        assert window_s is not None
        now_s = max(now_s, self.from_s) - self._forgiven_s
        group = self._groups.get((job.needs, window_s))
        if group is None:
            group = self._groups[job.needs, window_s] = _Group(job.needs, window_s, now_s)
            self._unseen.append(group)
        group.came_s[job.id] = now_s

    def leave(self, job: JobHeader) -> None:
        """It does not wait any more, if it did."""
        key = (job.needs, job.terms.match_window_s or 0.0)
        group = self._groups.get(key)
        if group is not None and group.came_s.pop(job.id, None) is not None and not group.came_s:
            del self._groups[key]

    def forgive(self, gap_s: float) -> None:
        """Nobody could come for so long."""
        self._forgiven_s += gap_s

    def alone_s(self, job: JobHeader, now_s: float) -> float:
        """For how long the last sweeps have seen nobody who could run this waiting job; 0 if it does not wait."""
        group = self._groups.get((job.needs, job.terms.match_window_s or 0.0))
        if group is None or group.alone_since_s is None or job.id not in group.came_s:
            return 0.0
        return max(now_s, self.from_s) - self._forgiven_s - max(group.came_s[job.id], group.alone_since_s)

    def due(self, serving: frozenset[Profile], now_s: float) -> list[str]:
        """The jobs whose window has passed; `serving` are the profiles of the workers that take jobs.

        To be called at every sweep; a worker that came and went between two was never there.
        """
        now_s = max(now_s, self.from_s) - self._forgiven_s
        looked_at = self._unseen if serving == self._serving else self._groups.values()
        for group in looked_at:
            group.look(serving, now_s)
        self._serving, self._unseen = serving, []
        return [job_id for group in self._groups.values() for job_id in group.due(now_s)]

    def __len__(self) -> int:
        return len(self._groups)
