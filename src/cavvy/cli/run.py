"""`cavvy run`: one prompt, one answer."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cavvy.cli._exits import Exit
from cavvy.cli._options import Common, client_options

__all__ = ["run"]


@client_options
def run(
    common: Common,
    prompt: Annotated[str, typer.Argument(help="What to ask; `-` reads it from stdin.")],
    model: Annotated[str | None, typer.Option(help="Which model; without it any.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 is the same answer every time.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End the answer before this text; may be repeated.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Wait so many seconds; the job goes on.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Stream also into a pipe; fails on a restart.")] = False,
) -> int:
    """Ask a prompt and print the answer, token by token on a terminal, once it is whole into a pipe."""
    from cavvy.cli import _follow, _output
    from cavvy.cli._limits import time_limit
    from cavvy.errors import JobTimeout

    on_screen = _output.stdout_is_terminal() and not common.json
    asked = _read_stdin() if prompt == "-" else prompt
    fields = {"model": model, "max_tokens": max_tokens, "temperature": temperature, "stop": stop or None}
    with common.client() as client:
        try:
            job = client.submit(asked, **fields)
        except KeyboardInterrupt:
            _output.note("stopped before the coordinator answered; it may have got the job: `cavvy jobs list`")
            return Exit.INTERRUPTED
        late = JobTimeout(f"job {job.id} goes on; follow it with `cavvy jobs watch {job.id}`", job.id)
        try:
            with time_limit(timeout, late):
                return _follow.follow(client, job, live=live or on_screen, as_json=common.json, restart=not live)
        except KeyboardInterrupt:
            _follow.stop(client, job)
            return Exit.INTERRUPTED


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise typer.BadParameter("stdin is not UTF-8 text") from error
