"""`cavvy workers`: list, show, token."""

from __future__ import annotations

from typing import Annotated

import typer

from cavvy.cli import _output
from cavvy.cli._options import Common, client_options

__all__ = ["app"]

app = typer.Typer(help="See workers and let new ones in.", no_args_is_help=True)


@app.callback()
@client_options
def _workers(common: Common) -> None:
    pass


@app.command("list")
@client_options
def list_workers(common: Common) -> None:
    """List the workers, online or not."""
    with common.client() as client:
        workers = client.workers()
    if common.json:
        _output.print_json({"workers": workers})
        return
    rows = [
        (each.id, each.name, "online" if each.online else "offline", each.status, each.free, each.slots,
         ", ".join(each.models or []) or None)
        for each in workers
    ]  # fmt: skip
    _output.print_table(("ID", "NAME", "IS", "STATUS", "FREE", "SLOTS", "MODELS"), rows)


@app.command("show")
@client_options
def show(common: Common, worker_id: Annotated[str, typer.Argument(metavar="WORKER", help="The worker's id.")]) -> None:
    """Show all that is known of a worker."""
    import msgspec

    with common.client() as client:
        worker = client.worker(worker_id)
    if common.json:
        _output.print_json(worker)
        return
    for name, value in msgspec.structs.asdict(worker).items():
        if value is not None:
            shown = ", ".join(value) if isinstance(value, list) else str(value)
            _output.print_text(f"{name + ':':<13}{_output.clean(shown)}")


@app.command("token")
@client_options
def token(common: Common) -> None:
    """Print the line that adds a worker; several on one machine want a --data-dir each."""
    from cavvy.protocol.line import is_loopback_host, parse_line

    with common.client() as client:
        made = client.create_worker_token()
    if common.json:
        _output.print_json(made)
        return
    _output.print_text(f"cavvy worker --join {made.join}")
    _output.note(f"works once, until {made.expires_at}")
    if is_loopback_host(parse_line(made.join).host) and "#" not in made.join:
        _output.note("for a worker on the coordinator's machine; started with --lan it lets others in, too")
