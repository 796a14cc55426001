"""`cavvy doctor`: what is so, what is wrong with it, and the command against it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cavvy.cli._exits import Exit
from cavvy.cli._options import Common, client_options

if TYPE_CHECKING:
    from cavvy.cli._doctor.look import Diagnosis

__all__ = ["doctor"]

_MARKS = {"ok": "ok     ", "wrong": "WRONG  ", "unknown": "note   "}


@client_options
def doctor(
    common: Common,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port a coordinator would take.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data is kept.")] = None,
) -> int:
    """Look for what is wrong here, say why it matters and what to do. Changes nothing; exits with 1 if something is."""
    from cavvy.cli import _output
    from cavvy.cli._doctor.look import Asked, diagnose

    found = diagnose(Asked(common.config, common.url, common.key, port, data_dir))
    if common.json:
        _output.print_json(found)
    else:
        _print(found)
    return Exit.OK if found.ok else Exit.FAILED


def _print(found: Diagnosis) -> None:
    from cavvy.cli import _output

    _output.print_table(("SETTING", "VALUE", "FROM"), [(each.name, each.value, each.origin) for each in found.settings])
    _output.print_text("")
    for each in found.findings:
        _output.print_text(f"{_MARKS[each.state]}{each.check}: {each.what}")
        if each.why:
            _output.print_text(f"         why: {each.why}")
        if each.fix:
            _output.print_text(f"         do:  {each.fix}")
    wrong = sum(each.state == "wrong" for each in found.findings)
    _output.print_text(f"\n{'all is well' if found.ok else f'{wrong} wrong'}")
