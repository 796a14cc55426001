"""Which process has the data directory?"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import psutil

from cavvy.cli._doctor.finding import Finding, fine, wrong

__all__ = ["Holder", "find_holder", "look_at_holder"]

LOCK = "coordinator.lock"
TOLERANCE_S = 2.0  # the lock tells whole seconds


class Holder(NamedTuple):
    """A process that lives and has the data."""

    pid: int
    command: str
    started: str


def find_holder(data_dir: Path) -> Holder | None:
    """The process the lock file names, if it is still that one. The lock itself is not touched."""
    try:
        text = (data_dir / LOCK).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    said = dict(re.findall(r"^(pid|started) (\S+)$", text, re.MULTILINE))
    try:
        process = psutil.Process(int(said["pid"]))
        locked_s = datetime.fromisoformat(said["started"]).timestamp()
        if process.create_time() > locked_s + TOLERANCE_S:
            return None  # the number is another process's by now
        return Holder(process.pid, _command(process), said["started"])
    except (KeyError, ValueError, psutil.Error):
        return None


def look_at_holder(data_dir: Path, holder: Holder | None, *, answers: bool) -> list[Finding]:
    """`answers`: whether a coordinator answers where clients look for it."""
    if holder is None:
        return [fine("data", f"no process has {data_dir}")]
    what = f"process {holder.pid} ({holder.command}) has {data_dir} since {holder.started}"
    if answers:
        return [fine("data", what)]
    return [
        wrong(
            "data",
            f"{what}, but no coordinator answers",
            why="As long as it lives no other coordinator can use this data.",
            fix=f"look at what it writes; if it hangs: kill {holder.pid}",
        )
    ]


def _command(process: psutil.Process) -> str:
    """Its name and, where it is Cavvy, the command; never its arguments, which may hold a prompt."""
    words = process.cmdline()
    if "cavvy" in {Path(word).name for word in words[:3]}:
        known = [word for word in words[1:4] if word in ("up", "coordinator", "worker")]
        return " ".join(["cavvy", *known[:1]])
    return process.name()
