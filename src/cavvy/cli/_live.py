"""`cavvy jobs watch` without a job: every job that is not over, and then each change as it happens."""

from __future__ import annotations

import contextlib

import msgspec

from cavvy.cli import _output
from cavvy.client import Cavvy, EventsCursor, Job, JobChange, StopView, WorkerView
from cavvy.client._events import TenantEvent

__all__ = ["watch"]

SHOWN = 20  # of the jobs that run, and of those that wait: a screenful


def watch(client: Cavvy, *, as_json: bool) -> None:
    """Does not end by itself."""
    with contextlib.closing(client.events()) as events:
        for event in events:
            if as_json:
                _output.print_json({"event": _NAMES[type(event)], **_fields(event)}, line=True)
            elif isinstance(event, EventsCursor):
                _print_active(client)
            elif isinstance(event, JobChange):
                _print(event.at, event.id, event.status, event.model, _what(event))
            elif isinstance(event, StopView):
                _output.note(_stopped(event))


_NAMES = {EventsCursor: "cursor", JobChange: "job", WorkerView: "worker", StopView: "stop"}


def _stopped(stop: StopView) -> str:
    if not stop.stopped:
        return "new work is taken again"
    return f"{stop.by} stopped everything{f': {stop.reason}' if stop.reason else ''}; `cavvy stop --release` ends that"


def _fields(event: TenantEvent) -> dict[str, object]:
    if isinstance(event, EventsCursor):
        return {"cursor": event.cursor}
    return {_NAMES[type(event)]: msgspec.to_builtins(event)}


def _print_active(client: Cavvy) -> None:
    """The oldest first, as changes come."""
    for status in ("running", "assigned", "pending"):
        page = client.jobs(status=status, limit=SHOWN)
        if page.cursor:
            _output.note(f"more of them: cavvy jobs list --status {status} --cursor {page.cursor}")
        for job in reversed(page.jobs):
            _print(job.created_at, job.id, job.status, job.served_model or job.model, _why(job))


def _print(at: str, job_id: str, status: str, model: str | None, what: str) -> None:
    line = f"{at}  {job_id}  {status:<9}  {_output.clean(model or '-')}  {_output.clean(what)}"
    _output.print_text(line.rstrip())


def _why(job: Job) -> str:
    if job.cancel_requested is not None:
        return "asked to stop"
    return job.queue.reason if job.queue else ""


def _what(change: JobChange) -> str:
    if change.failure_code is not None:
        return f"{change.failure_code} by {change.stopped_by}" if change.stopped_by else change.failure_code
    if change.stopping:
        return "asked to stop"
    if change.status == "pending" and change.attempt:
        return f"waits again after attempt {change.attempt}"
    return f"attempt {change.attempt} worker {change.worker_id}" if change.worker_id else ""
