"""`cavvy jobs`: list, show, watch, cancel, retry, erase, batch."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cavvy.cli import _output, _queue
from cavvy.cli._exits import Exit
from cavvy.cli._options import Common, client_options
from cavvy.cli.stop import stopping
from cavvy.cli.workers import find_worker
from cavvy.errors import RequestRefused

if TYPE_CHECKING:
    from cavvy.client import Job

__all__ = ["app"]

app = typer.Typer(help="See, follow and stop jobs.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


@app.callback()
@client_options
def _jobs(common: Common) -> None:
    pass


@app.command("list")
@client_options
def list_jobs(
    common: Common,
    status: Annotated[str | None, typer.Option(help="Only those in this status.")] = None,
    worker: Annotated[
        str | None, typer.Option(metavar="W", help="Only those this worker, by id or name, has had.")
    ] = None,
    thread: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this conversation.")] = None,
    effort: Annotated[str | None, typer.Option(metavar="E", help="Only those of this effort.")] = None,
    q: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only those with this text in prompt or metadata.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most to show.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Go on behind an earlier page.")] = None,
) -> None:
    """List jobs, newest first."""
    with common.client() as client:
        worker = find_worker(client, worker).id if worker else None
        page = client.jobs(status=status, worker=worker, thread=thread, effort=effort, q=q, cursor=cursor, limit=limit)
    if common.json:
        _output.print_json(page)
        return
    rows = [(job.id, job.status, job.served_model or job.model, job.created_at, _why(job)) for job in page.jobs]
    _output.print_table(("ID", "STATUS", "MODEL", "CREATED", "WHY"), rows)
    if page.cursor:
        filters = {"--status": status, "--worker": worker, "--thread": thread, "--effort": effort, "--q": q}
        given = {**filters, "--limit": limit, "--cursor": page.cursor}
        words = [f"{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None]
        _output.note(f"more: cavvy jobs list {' '.join(words)}")


@app.command("show")
@client_options
def show(common: Common, job_id: JobId) -> None:
    """Show all that is known of a job."""
    from cavvy.cli._known import remember_workers

    with common.client() as client:
        job = client.job(job_id)
        remember_workers(client, job)
    if common.json:
        _output.print_json(job)
    else:
        _print_job(job)


@app.command("watch")
@client_options
def watch(
    common: Common,
    job_id: Annotated[str | None, typer.Argument(metavar="[JOB]", help="The job's id; without it all jobs.")] = None,
) -> int:
    """Follow a job's output from the beginning to its end, or see every job change. Ctrl-C leaves them running."""
    from cavvy.cli import _follow, _live

    with common.client() as client:
        if job_id is not None:
            return _follow.follow(client, job_id, live=True, as_json=common.json, restart=True)
        _live.watch(client, as_json=common.json)
    return Exit.OK


@app.command("cancel")
@client_options
def cancel(
    common: Common,
    job_id: JobId,
    reason: Annotated[str | None, typer.Option(help="Shown with the job.")] = None,
) -> None:
    """Stop a job. What has ended already stays as it is."""
    with common.client() as client:
        job = client.cancel(job_id, reason=reason)
    if common.json:
        _output.print_json(job)
    else:
        _output.print_text(f"{job.id}: {_why(job) or job.status}")


@app.command("retry")
@client_options
def retry(common: Common, job_id: JobId) -> None:
    """Run a failed or stopped job again, under the same id. Its earlier attempts stay."""
    with common.client() as client:
        job = client.retry(job_id)
    if common.json:
        _output.print_json(job)
    else:
        _output.print_text(f"{job.id}: {_why(job) or job.status}")


@app.command("erase")
@client_options
def erase(common: Common, job_id: JobId) -> None:
    """Erase the texts of a job that has ended, for good. Its status, usage, hashes and receipt stay."""
    with common.client() as client:
        job = client.erase(job_id)
    if common.json:
        _output.print_json(job)
    else:
        _output.print_text(f"{job.id}: erased {job.erased_at}")


@app.command("batch")
@client_options
def batch(
    common: Common,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON Lines, a job a line; `-` reads stdin.")],
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Repeated with the same name and file: the same jobs.")
    ] = None,
) -> int:
    """Submit many jobs, up to 1,000 in one commit, and print their ids in order."""
    from cavvy.cli import _batch

    lines = _batch.parse(_read(file))
    refused = False
    with common.client() as client:
        for part, lines_of_part in enumerate(_batch.batches(lines)):
            key = f"{idempotency_key}-{part}" if idempotency_key else None
            outcomes = client.submit_many([line.job for line in lines_of_part], idempotency_key=key)
            for line, outcome in zip(lines_of_part, outcomes, strict=True):
                refused |= isinstance(outcome, RequestRefused)
                _print_outcome(line.number, outcome, as_json=common.json)
    return Exit.REFUSED if refused else Exit.OK


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read ({error.strerror})") from error


def _print_outcome(number: int, outcome: Job | RequestRefused, *, as_json: bool) -> None:
    if isinstance(outcome, RequestRefused):
        if as_json:
            _output.print_json({"line": number, "problem": outcome.problem}, line=True)
        else:
            _output.note(f"line {number}: {outcome}")
    elif as_json:
        _output.print_json({"line": number, "job": outcome}, line=True)
    else:
        _output.print_text(outcome.id)


def _why(job: Job) -> str:
    """Why the job is where it is, in a few words."""
    if job.failure is not None:
        return f"{job.failure.code}: {job.failure.message}"
    return stopping(job) or (job.queue.reason if job.queue else "")


def _print_job(job: Job) -> None:
    usage = f"{job.usage.input_tokens} input, {job.usage.output_tokens} output tokens" if job.usage else None
    facts = {
        "job": job.id,
        "status": job.status,
        "why": _why(job) or None,
        "place": _queue.place(job.queue) if job.queue else None,
        "model": job.served_model or job.model,
        "policy": f"{job.policy} ({job.price})" if job.policy else None,
        "usage": usage,
        "erased": job.erased_at,
        "receipt": f"yes; check it with `cavvy receipt verify {job.id}`" if job.receipt else None,
    }
    for name, value in facts.items():
        if value is not None:
            _output.print_text(f"{name + ':':<9}{_output.clean(str(value))}")
    _output.print_text("timeline:")
    for entry in job.timeline:
        attempt = f" attempt {entry.attempt}" if entry.attempt else ""
        worker = f" worker {entry.worker_id}" if entry.worker_id else ""
        _output.print_text(f"  {entry.at} {entry.event}{attempt}{worker}")
    if job.output is not None:
        _output.print_text("output:")
        _output.print_text(job.output)
