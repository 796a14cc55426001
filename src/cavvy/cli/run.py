"""`cavvy run`: one prompt, one answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cavvy.cli._exits import Exit
from cavvy.cli._options import Common, client_options

if TYPE_CHECKING:
    from cavvy.client import Cavvy, Job

__all__ = ["run"]


@client_options
def run(
    common: Common,
    prompt: Annotated[str, typer.Argument(help="What to ask, or the task's text; `-` reads it from stdin.")],
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="Do this with the text, no model: summarize, classify or extract_json."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Which model; without it any.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 is the same answer every time.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End the answer before this text; may be repeated.")] = None,
    effort: Annotated[
        str | None,
        typer.Option(metavar="E", help="trivial, quick, standard, deep or critical: its place in line."),
    ] = None,
    thread: Annotated[str | None, typer.Option(metavar="NAME", help="The conversation it belongs to.")] = None,
    timeout_s: Annotated[float | None, typer.Option(metavar="S", help="End an attempt that runs longer.")] = None,
    first_token_timeout_s: Annotated[
        float | None, typer.Option(metavar="S", help="End it if the model shows no life for so long at first.")
    ] = None,
    stall_timeout_s: Annotated[
        float | None, typer.Option(metavar="S", help="End it if the model falls silent for so long.")
    ] = None,
    deadline: Annotated[str | None, typer.Option(metavar="TIME", help="End the job then (ISO 8601).")] = None,
    not_before: Annotated[str | None, typer.Option(metavar="TIME", help="Do not start it before (ISO 8601).")] = None,
    match_window_s: Annotated[
        float | None, typer.Option(metavar="S", help="Give up if no worker could run it for so long.")
    ] = None,
    max_attempts: Annotated[int | None, typer.Option(metavar="N", help="Give up after so many tries.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Only on workers that you trust.")] = False,
    on_no_trusted: Annotated[
        str | None, typer.Option(metavar="WHAT", help="Of a private job, when none is online: fail or wait.")
    ] = None,
    payment_ref: Annotated[
        str | None, typer.Option(metavar="REF", help="What pays for it; stands in the receipt.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Wait so many seconds; the job goes on.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Stream also into a pipe; fails on a restart.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Print the job's id and leave; the job goes on.")] = False,
) -> int:
    """Ask a prompt and print the answer, token by token on a terminal, once it is whole into a pipe.

    With --task nobody is asked: a worker summarizes or classifies the text, or finds the JSON in it.
    """
    from cavvy.cli import _follow, _output
    from cavvy.cli._limits import Hangup, hangups

    if detach and (live or timeout is not None):
        raise typer.BadParameter("--detach waits for nothing: leave out --live and --timeout")
    if on_no_trusted is not None and not private:
        raise typer.BadParameter("--on-no-trusted is for private jobs: give --private too")
    of_models = {"--model": model, "--max-tokens": max_tokens, "--temperature": temperature, "--stop": stop or None}
    said = [name for name, value in of_models.items() if value is not None]
    if task is not None and said:
        raise typer.BadParameter(f"a task asks no model: leave out {', '.join(said)}")
    asked = _read_stdin() if prompt == "-" else prompt
    fields = {
        "model": model,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "stop": stop or None,
        "effort": effort,
        "thread_id": thread,
        "timeout_s": timeout_s,
        "first_token_timeout_s": first_token_timeout_s,
        "stall_timeout_s": stall_timeout_s,
        "deadline": deadline,
        "not_before": not_before,
        "match_window_s": match_window_s,
        "max_attempts": max_attempts,
        "privacy_class": "PRIVATE" if private else None,
        "on_no_trusted": on_no_trusted,
        "payment_ref": payment_ref,
    }
    with common.client() as client, hangups():
        try:
            job = client.submit(asked, **fields) if task is None else client.submit_task(task, asked, **fields)
        except (KeyboardInterrupt, Hangup):
            _output.note_if_heard("stopped before the coordinator answered; it may have got the job: `cavvy jobs list`")
            return Exit.INTERRUPTED
        if detach:
            _print_detached(job, as_json=common.json)
            return Exit.OK
        try:
            return _wait(common, client, job, timeout=timeout, live=live)
        except KeyboardInterrupt:
            _follow.stop(client, job)
        except Hangup:
            _output.note_if_heard(f"left job {job.id}, which goes on; follow it with `cavvy jobs watch {job.id}`")
            _output.drop_stdout()
        return Exit.INTERRUPTED


def _wait(common: Common, client: Cavvy, job: Job, *, timeout: float | None, live: bool) -> int:
    """Follows the job to its end. Raises JobFailed, JobTimeout."""
    from cavvy.cli import _follow, _output
    from cavvy.cli._limits import time_limit
    from cavvy.errors import JobTimeout

    on_screen = _output.stdout_is_terminal() and not common.json
    late = JobTimeout(f"job {job.id} goes on; follow it with `cavvy jobs watch {job.id}`", job.id)
    with time_limit(timeout, late):
        return _follow.follow(client, job, live=live or on_screen, as_json=common.json, restart=not live)


def _print_detached(job: Job, *, as_json: bool) -> None:
    from cavvy.cli import _output

    if as_json:
        _output.print_json(job)
    else:
        _output.print_text(job.id)
        _output.note(f"follow it with `cavvy jobs watch {job.id}`")


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise typer.BadParameter("stdin is not UTF-8 text") from error
