"""Following one job to its end, for `run` and `jobs watch`."""

from __future__ import annotations

import contextlib

from cavvy.cli import _output, _queue
from cavvy.cli._known import remember_workers
from cavvy.cli._limits import time_limit
from cavvy.client import Cavvy, Delta, Job
from cavvy.errors import CavvyError, JobFailed, JobTimeout

__all__ = ["follow", "stop"]

STOP_WAIT_S = 2.0  # how long Ctrl-C waits for the job to stop


def follow(client: Cavvy, job: Job | str, *, live: bool, as_json: bool, restart: bool) -> int:
    """Writes the job's output, as it comes if `live`, else once it is whole. Raises JobFailed."""
    shown = _Shown(live=live, as_json=as_json)
    thoughts = live and not as_json and _output.stderr_is_terminal()
    with client.follow(job, restart=restart, reasoning=thoughts, on_status=shown.status) as stream:
        try:
            for delta in stream:
                shown.delta(delta)
            ended = stream.result()
        except JobFailed as failure:
            shown.end(failure.job)
            raise
        except BaseException:
            with contextlib.suppress(OSError):  # whoever read it may be gone
                shown.broken()
            raise
    shown.end(ended)
    remember_workers(client, ended)
    return 0


class _Shown:
    """What of the job is on the screen, or in the pipe, so far."""

    def __init__(self, *, live: bool, as_json: bool) -> None:
        self._live = live
        self._as_json = as_json
        self._last = "\n"
        self._thought = 0
        self._reason: str | None = None
        self._filter = _output.TerminalFilter() if _output.stdout_is_terminal() else None

    def status(self, job: Job) -> None:
        if self._as_json and self._live:
            _output.print_json({"event": "job", "job": job}, line=True)
        if job.queue is not None and job.queue.reason != self._reason:
            _output.note(f"waiting: {_queue.why(job.queue)}")
        self._reason = job.queue.reason if job.queue else None

    def delta(self, delta: Delta) -> None:
        if not self._live:
            return
        if self._as_json:
            _output.print_json({"event": "delta", "delta": delta}, line=True)
            return
        if delta.kind == "reasoning":
            self._think(delta.text)
            return
        self._thought_enough()
        if delta.offset == 0 and not delta.text:
            self.broken()
            _output.note(f"attempt {delta.attempt} begins anew; forget the text above")
        self._write(delta.text)

    def _think(self, text: str) -> None:
        """What the model thinks is no part of its answer: that it does is said, and how much it was."""
        if not self._thought:
            self.broken()
            _output.note("thinking …")
        self._thought += len(text)

    def _thought_enough(self) -> None:
        if self._thought:
            _output.note(f"thought {self._thought} characters; they are not part of the answer")
            self._thought = 0

    def end(self, job: Job) -> None:
        """The last words on stdout."""
        self._thought_enough()
        if self._as_json:
            _output.print_json({"event": "end", "job": job} if self._live else job, line=self._live)
        elif self._live:
            self.broken()
        elif job.output is not None:
            self._write(job.output)
            self.broken()

    def broken(self) -> None:
        """Ends the line that text stopped in."""
        if self._last != "\n":
            self._write("\n")

    def _write(self, text: str) -> None:
        shown = text if self._filter is None else self._filter.feed(text)
        if shown:
            self._last = shown[-1]  # first, since a signal may come between
            _output.print_raw(shown)


def stop(client: Cavvy, job: Job) -> None:
    """Cancels `job`, waits up to 2 s for its end and says on stderr what came of it."""
    _output.note("stopping the job; Ctrl-C again leaves at once")
    try:
        with time_limit(STOP_WAIT_S, JobTimeout("no answer", job.id)):
            seen = client.cancel(job.id, reason="Ctrl-C")
            while not seen.terminal:
                seen = client.job(job.id, wait=1)
    except JobTimeout:
        _output.note(f"job {job.id} was told to stop and has not confirmed it yet; see `cavvy jobs show {job.id}`")
    except CavvyError as error:
        _output.note(f"job {job.id} may go on: {error}")
    else:
        _output.note(_what_came_of(seen))


def _what_came_of(job: Job) -> str:
    if not job.aborted:
        return f"job {job.id} had {job.status} already"
    usage = next((attempt.usage for attempt in reversed(job.attempts) if attempt.usage), job.usage)
    used = f"{usage.input_tokens} input and {usage.output_tokens} output tokens used" if usage else "no usage reported"
    return f"stopped job {job.id}; {used}"
