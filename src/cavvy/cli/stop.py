"""`cavvy stop`: jobs, a thread, everything; and letting work go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cavvy.cli import _output
from cavvy.cli._exits import Exit
from cavvy.cli._options import Common, client_options
from cavvy.errors import RequestRefused

if TYPE_CHECKING:
    from cavvy.client import Cavvy, Job
    from cavvy.protocol.rest_stop import StopAnswer, StopView, ThreadStopped

__all__ = ["stop", "stopping"]

_NOT_DURABLE = (
    "the coordinator's store takes no writes: this holds, and is written as soon as it does;"
    " if the coordinator ends before, it is forgotten"
)


@client_options
def stop(
    common: Common,
    jobs: Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Jobs to stop, by id.")] = None,
    thread: Annotated[str | None, typer.Option(metavar="NAME", help="Stop all of this conversation.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Stop everything, and refuse new work.")] = False,
    latch: Annotated[bool, typer.Option(help="With --all: refuse new work until it is released.")] = True,
    release: Annotated[bool, typer.Option("--release", help="Accept new work again; with an admin's key.")] = False,
    reason: Annotated[str | None, typer.Option(help="Shown with what it stopped.")] = None,
) -> int:
    """Stop jobs, a thread or everything, or let work go on. Without any of these: say whether everything is stopped."""
    if sum((bool(jobs), thread is not None, everything, release)) > 1:
        raise typer.BadParameter("give jobs, --thread, --all or --release, not several of them")
    with common.client() as client:
        if jobs:
            return _stop_jobs(client, jobs, reason, as_json=common.json)
        if thread is not None:
            _report(client.cancel_thread(thread, reason=reason), f"thread {thread}", as_json=common.json)
        elif everything:
            found = client.stop_all(reason=reason, latch=latch)
            _report(found, "everything", as_json=common.json)
            if not common.json and found.stopped:
                _output.print_text("new work is refused until `cavvy stop --release`")
        else:
            _say(client.release_stop() if release else client.stop_state(), as_json=common.json)
    return Exit.OK


def stopping(job: Job) -> str:
    """That a job was asked to stop, in a few words."""
    asked = job.cancel_requested
    if asked is None or job.terminal:
        return ""
    return "asked to stop" if asked.durable else "asked to stop; not durable yet: the store takes no writes"


def _stop_jobs(client: Cavvy, job_ids: list[str], reason: str | None, *, as_json: bool) -> int:
    """Each by itself: one that is refused keeps no other from being stopped."""
    refused = False
    for job_id in job_ids:
        try:
            job = client.cancel(job_id, reason=reason)
        except RequestRefused as error:
            refused = True
            if as_json:
                _output.print_json({"id": job_id, "problem": error.problem}, line=True)
            else:
                _output.note(f"{job_id}: {error}")
            continue
        if as_json:
            _output.print_json(job, line=True)
        else:
            _output.print_text(f"{job.id}: {_what_became(job)}")
    return Exit.REFUSED if refused else Exit.OK


def _what_became(job: Job) -> str:
    return f"{job.failure.code}: {job.failure.message}" if job.failure else stopping(job) or str(job.status)


def _report(found: StopAnswer | ThreadStopped, what: str, *, as_json: bool) -> None:
    if as_json:
        _output.print_json(found)
    else:
        _output.print_text(f"{what}: {found.running} running told to stop, {found.pending} waiting ended")
        if not found.durable:
            _output.note(_NOT_DURABLE)


def _say(state: StopView, *, as_json: bool) -> None:
    if as_json:
        _output.print_json(state)
    elif state.stopped:
        why = f": {state.reason}" if state.reason else ""
        _output.print_text(f"stopped by {state.by} at {state.at}{why}")
        _output.note("new work is refused; an admin lets it go on with `cavvy stop --release`")
    else:
        _output.print_text("not stopped: new work is accepted")
