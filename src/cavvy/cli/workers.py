"""`cavvy workers`: list, show, approve, pause, resume, drain, revoke, token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cavvy.cli import _output
from cavvy.cli._options import Common, client_options
from cavvy.errors import InvalidInput

if TYPE_CHECKING:
    from cavvy.client import Cavvy
    from cavvy.protocol.rest_workers import WorkerView

__all__ = ["app", "find_worker"]

Which = Annotated[str, typer.Argument(metavar="WORKER", help="The worker's id, or its name if only one has it.")]
OnlyShared = Annotated[bool, typer.Option("--shared", help="Only the shared ones, with the operator's key.")]
Shared = Annotated[bool, typer.Option("--shared", help="One of the shared workers, with the operator's key.")]

app = typer.Typer(help="See workers, let new ones in, and look after them.", no_args_is_help=True)


@app.callback()
@client_options
def _workers(common: Common) -> None:
    pass


@app.command("list")
@client_options
def list_workers(common: Common, shared: OnlyShared = False) -> None:
    """List the workers, online or not: your tenant's and the shared ones."""
    with common.client(operator=shared) as client:
        workers = client.workers()
    if common.json:
        _output.print_json({"workers": workers})
        return
    rows = [
        (each.id, each.name, "online" if each.online else "offline", each.status, each.free, each.slots,
         _models(each))
        for each in workers
    ]  # fmt: skip
    _output.print_table(("ID", "NAME", "IS", "STATUS", "FREE", "SLOTS", "MODELS"), rows)


def _models(worker: WorkerView) -> str | None:
    if worker.job_types == ["TASK"]:
        return "none: tasks only"
    return ", ".join(worker.models or []) or None


@app.command("show")
@client_options
def show(common: Common, worker: Which, shared: Shared = False) -> None:
    """Show all that is known of a worker."""
    import msgspec

    with common.client(operator=shared) as client:
        found = find_worker(client, worker)
    if common.json:
        _output.print_json(found)
        return
    for name, value in msgspec.structs.asdict(found).items():
        if value is not None:
            shown = ", ".join(value) if isinstance(value, list) else str(value)
            _output.print_text(f"{name + ':':<18}{_output.clean(shown)}")


@app.command("approve")
@client_options
def approve(common: Common, worker: Which, shared: Shared = False) -> None:
    """Let a worker in that waits for it; it gets work at once."""
    _manage(common, worker, shared, "approve", "is let in and gets work")


@app.command("pause")
@client_options
def pause(common: Common, worker: Which, shared: Shared = False) -> None:
    """Give a worker nothing new; what it runs goes on."""
    _manage(common, worker, shared, "pause", "gets nothing new; `cavvy workers resume` ends that")


@app.command("resume")
@client_options
def resume(common: Common, worker: Which, shared: Shared = False) -> None:
    """Let a worker work again that was paused or drained."""
    _manage(common, worker, shared, "resume", "gets work again")


@app.command("drain")
@client_options
def drain(common: Common, worker: Which, shared: Shared = False) -> None:
    """Let a worker finish what it runs and end. It gets no work when it comes back, until it is resumed."""
    _manage(common, worker, shared, "drain", "finishes what it runs and ends; `cavvy workers resume` lets it come back")


@app.command("revoke")
@client_options
def revoke(common: Common, worker: Which, shared: Shared = False) -> None:
    """Shut a worker out for good: what it runs is stopped and given to others."""
    _manage(common, worker, shared, "revoke", "is shut out for good; what it ran is given to others")


@app.command("token")
@client_options
def token(
    common: Common,
    needs_approval: Annotated[
        bool, typer.Option("--needs-approval", help="The worker waits until `cavvy workers approve`.")
    ] = False,
    shared: Annotated[
        bool, typer.Option("--shared", help="For a worker that serves every tenant; takes the operator's key.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="You trust the worker with your PRIVATE jobs, too: see `cavvy trust`.")
    ] = False,
) -> None:
    """Print the line that adds a worker; several on one machine want a --data-dir each."""
    from cavvy.protocol.line import is_loopback_host, parse_line

    with common.client(operator=shared) as client:
        made = client.create_worker_token(needs_approval=needs_approval, shared=shared, private=private)
    if common.json:
        _output.print_json(made)
        return
    _output.print_text(f"cavvy worker --join {made.join}")
    _output.note(f"works once, until {made.expires_at}")
    if is_loopback_host(parse_line(made.join).host) and "#" not in made.join:
        _output.note("for a worker on the coordinator's machine; started with --lan it lets others in, too")


def _manage(common: Common, word: str, shared: bool, action: str, outcome: str) -> None:
    with common.client(operator=shared) as client:
        found = find_worker(client, word)
        after = getattr(client, f"{action}_worker")(found.id)
    if common.json:
        _output.print_json(after)
    else:
        _output.print_text(_output.clean(f"{after.id} ({after.name}) {outcome}"))


def find_worker(client: Cavvy, word: str) -> WorkerView:
    """The worker with this id or key, else the one of this name. Raises InvalidInput when several have it."""
    workers = client.workers()
    named = [each for each in workers if each.name == word]
    found = [each for each in workers if word in (each.id, each.key)] or [
        each for each in named if each.status != "revoked"
    ]
    if len(found) > 1:
        ids = ", ".join(each.id for each in found)
        raise InvalidInput("ambiguous_worker", f"{len(found)} workers are called {word!r}; give an id: {ids}")
    return next(iter(found or named), None) or client.worker(word)
