"""One job's text as its event stream tells it: where we are, what is new, whether it is whole."""

from __future__ import annotations

from cavvy.client import _protocol as protocol
from cavvy.client._job import Job
from cavvy.client._sse import Event
from cavvy.errors import AttemptRestarted, ClientError
from cavvy.protocol.rest_events import AttemptStarted, Bye, Delta, End

__all__ = ["StreamText"]


class StreamText:
    """Takes events, gives deltas without gap or overlap, over any number of connections.

    `ended`: the `end` event came, the text is whole. `over`: nothing more is to be read from this connection.
    `retry_s`: the pause the coordinator asked for. `job`: the newest snapshot.
    """

    def __init__(self, *, restart: bool = False, reasoning: bool = False, job: Job | str = "") -> None:
        self.job = None if isinstance(job, str) else job
        self.job_id = job if isinstance(job, str) else job.id
        self.last_id = ""
        self.ended = False
        self.over = False
        self.retry_s: float | None = None
        self._restart = restart
        self._reasoning = reasoning
        self._attempt = 0
        self._offset = 0

    def reconnected(self) -> None:
        """A new connection begins, behind `last_id`."""
        self.over = self.ended
        self.retry_s = None

    def take(self, event: Event) -> tuple[list[Delta], Job | None]:
        """The deltas to show for `event`, and the job if it was a snapshot. Raises AttemptRestarted."""
        if self.over:
            return [], None
        deltas: list[Delta] = []
        job = None
        if event.name == "delta":
            deltas = self._delta(protocol.decode(event.data, Delta))
        elif event.name == "attempt":
            deltas = self._begin(protocol.decode(event.data, AttemptStarted).attempt)
        elif event.name == "end":
            deltas = self._end(protocol.decode(event.data, End))
        elif event.name == "bye":
            self.over = True
            self.retry_s = protocol.decode(event.data, Bye).retry_ms / 1000
        elif event.name == "job":
            job = self.job = protocol.decode(event.data, Job)
        if event.id and (self.ended or not self.over):
            self.last_id = event.id
        return deltas, job

    def _begin(self, attempt: int) -> list[Delta]:
        """A higher attempt voids the text; an empty delta at offset 0 says so to whoever asked to begin again."""
        if attempt <= self._attempt:
            return []
        shown = self._offset > 0
        self._attempt, self._offset = attempt, 0
        if not shown:
            return []
        if not self._restart:
            raise AttemptRestarted(f"attempt {attempt} begins anew; the text so far is void", attempt)
        return [Delta(attempt=attempt, offset=0, kind="text", text="")]

    def _delta(self, delta: Delta) -> list[Delta]:
        if delta.attempt < self._attempt:
            return []
        if delta.kind == "reasoning" and self._reasoning:
            return [*self._begin(delta.attempt), delta]
        if delta.kind != "text":
            return []
        deltas = self._begin(delta.attempt)
        if delta.offset > self._offset:
            self.over = True  # something is missing: ask again from where we are
            return deltas
        fresh = delta.text[self._offset - delta.offset :]
        if fresh:
            deltas.append(Delta(attempt=delta.attempt, offset=self._offset, kind="text", text=fresh))
            self._offset += len(fresh)
        return deltas

    def _end(self, end: End) -> list[Delta]:
        deltas = self._begin(end.attempt)
        self.over = True
        completed = end.output_hash is not None
        if completed and self._offset > end.length:
            raise ClientError("the stream was longer than the job's output; read it with `cavvy jobs show`")
        self.ended = not completed or self._offset == end.length
        return deltas
