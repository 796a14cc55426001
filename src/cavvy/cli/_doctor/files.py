"""Can others read or change what is private?"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from cavvy.cli._doctor.finding import Finding, fine, wrong

__all__ = ["look_at_files"]

CHECK = "permissions"


def look_at_files(data_dir: Path, config_dir: Path, *, tls_key: Path | None) -> list[Finding]:
    """The data directory with all that is in it, the credentials and what is kept beside them, and the TLS key."""
    private = [*_all_of(data_dir), *sorted(config_dir.glob("credentials*.toml")), config_dir / "known_workers.toml"]
    if tls_key is not None:
        private.append(tls_key)
    found = list(_loose(private))
    return found or [fine(CHECK, f"only you can read {data_dir} and the credentials in {config_dir}")]


def _all_of(directory: Path) -> Iterator[Path]:
    yield directory
    yield from sorted(directory.rglob("*"))


def _loose(paths: Iterable[Path]) -> Iterator[Finding]:
    for path in paths:
        try:
            found = path.lstat()
        except OSError:  # not made yet, or gone meanwhile
            continue
        if found.st_uid not in (os.geteuid(), 0):
            yield wrong(
                CHECK,
                f"{path} belongs to another account (uid {found.st_uid})",
                why="Its owner can read and change what is in it.",
                fix=f"sudo chown -R {os.geteuid()} {shlex.quote(str(path))}",
            )
        elif found.st_mode & 0o077 and not stat.S_ISLNK(found.st_mode):
            mode = 700 if stat.S_ISDIR(found.st_mode) else 600
            yield wrong(
                CHECK,
                f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o})",
                why="It holds keys, prompts or answers, or decides whom they go to.",
                fix=f"chmod {mode} {shlex.quote(str(path))}",
            )
