"""The whole command line, and what becomes of an error: one sentence on stderr and an exit code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from cavvy.cli import (
    _output,
    backup,
    demo,
    doctor,
    jobs,
    keys,
    login,
    receipt,
    run,
    servers,
    stop,
    tenants,
    trust,
    workers,
)
from cavvy.cli._exits import Exit, exit_code
from cavvy.cli._help import add_pages
from cavvy.cli._options import Common, client_options
from cavvy.errors import CavvyError

__all__ = ["app", "execute"]

app = typer.Typer(
    name="cavvy",
    help='Dispatches AI jobs to your own workers. Start with `cavvy demo`, or `cavvy up` and `cavvy run "hi"`.',
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("up")(servers.up)
app.command("coordinator")(servers.coordinator)
app.command("worker")(servers.worker)
app.command("run")(run.run)
app.add_typer(jobs.app, name="jobs")
app.command("stop")(stop.stop)
app.add_typer(workers.app, name="workers")
app.add_typer(trust.app, name="trust")
app.add_typer(keys.app, name="keys")
app.add_typer(tenants.app, name="tenants")
app.add_typer(receipt.app, name="receipt")
app.command("doctor")(doctor.doctor)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("login")(login.login)
app.command("demo")(demo.demo)
add_pages(app)


@app.callback()
@client_options
def _root(
    common: Common,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from cavvy import __version__

        _output.print_text(__version__)
        raise typer.Exit


def execute(arguments: Sequence[str]) -> int:
    """Runs one command; its exit code. Nothing but SystemExit and a second Ctrl-C comes out of it."""
    as_json = "--json" in arguments
    try:
        code = app(args=list(arguments), prog_name="cavvy", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        _report(error.format_message(), "usage", as_json=as_json)
        return error.exit_code
    except typer.Abort:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _output.drop_stdout()
        return Exit.FAILED
    except _output.CannotWrite as error:
        _output.drop_stdout()
        _report(str(error), "cannot_write", as_json=as_json)
        return Exit.FAILED
    except CavvyError as error:
        code = exit_code(error)
        _report(str(error), _name(error), as_json=as_json)
    except Exception as error:
        if os.environ.get("CAVVY_DEBUG"):
            raise
        _report(f"cavvy broke: {error!r}; CAVVY_DEBUG=1 shows where", "internal", as_json=as_json)
        return Exit.FAILED
    return int(code or 0)


def _report(sentence: str, code: str, *, as_json: bool) -> None:
    if as_json:
        _output.note_json({"error": code, "detail": sentence})
    else:
        _output.note(sentence if sentence.startswith("Usage:") else f"cavvy: {sentence}")


def _name(error: CavvyError) -> str:
    """The documented code, or the error's name written like one."""
    code = getattr(error, "code", None)
    return str(code) if code else re.sub("(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
