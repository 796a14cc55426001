"""`cavvy backup`, `cavvy restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cavvy.cli import _output
from cavvy.cli._options import Common, server_options

__all__ = ["backup", "restore"]

DataDir = Annotated[
    Path | None, typer.Option(help="Where the coordinator keeps its data.", show_default="the user's data directory")
]


@server_options
def backup(
    common: Common,
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="The directory to make; it must not be there.")],
    data_dir: DataDir = None,
) -> None:
    """Copy all a coordinator needs to go on elsewhere, also while it runs. Whoever has the copy can do all it can."""
    from cavvy.cli import _backup, _config
    from cavvy.client.config import config_file

    file = config_file(common.config)
    made = _backup.back_up(_config.coordinator_data_dir(file, data_dir), destination, file)
    if common.json:
        _output.print_json({"path": str(destination), "backup": made})
        return
    _output.print_text(str(destination))
    _output.note(f"{made.jobs} jobs, {made.live} of them have not ended; keep it as safe as the coordinator's keys")


@server_options
def restore(
    common: Common,
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A directory that `cavvy backup` made.")],
    data_dir: DataDir = None,
) -> None:
    """Fill an empty data directory from a backup. Starts nothing; jobs that had not ended run at the next start."""
    from cavvy.cli import _backup, _config
    from cavvy.client.config import config_file

    directory = _config.coordinator_data_dir(config_file(common.config), data_dir)
    made, credentials = _backup.restore(source, directory)
    if common.json:
        found = {"data_dir": str(directory), "backup": made, "credentials": credentials and str(credentials)}
        _output.print_json(found)
        return
    _output.print_text(str(directory))
    _output.note(f"as it was at {made.created_at}; keys and workers revoked since then are good again")
    if credentials is not None:
        _output.note(f"credentials: {credentials}")
    if "config/cavvy.toml" in made.files:
        _output.note(f"the settings it ran with are in {source / 'config' / 'cavvy.toml'}")
    if made.live:
        _output.note(f"{made.live} jobs had not ended; they run when it starts, also those that have ended since")
