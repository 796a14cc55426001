"""The data directory: who may read it, and which process has it."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

from cavvy.errors import DataHeld

__all__ = ["DATABASE", "LOCK", "DirectoryLock", "make_private"]

DATABASE = "cavvy.db"
LOCK = "coordinator.lock"
_PRIVATE = 0o600


def make_private(path: Path) -> None:
    """Creates the file if it is missing; afterwards only its owner may read it. SQLite gives -wal and -shm its mode."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE)
    try:
        os.fchmod(handle, _PRIVATE)
    finally:
        os.close(handle)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.chmod(_PRIVATE)


class DirectoryLock:
    """Held by one process at a time; the kernel lets go when the process ends, however it ends."""

    def __init__(self, directory: Path, *, url: str | None = None) -> None:
        self._path = directory / LOCK
        self._url = url
        self._handle: int | None = None

    def acquire(self) -> None:
        """Raises DataHeld, naming the holder, when another process (or another store of this one) has the directory."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, _PRIVATE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(handle, _PRIVATE)
            os.ftruncate(handle, 0)
            os.pwrite(handle, self._text().encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(handle, 4096, 0).decode(errors="replace").strip().replace("\n", ", ")
            os.close(handle)
            raise DataHeld(
                f"{self._path.parent} is in use ({holder or 'its holder is just starting'}): "
                "stop that process first, or choose another data directory with --data-dir"
            ) from error
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _text(self) -> str:
        url = f"url {self._url}\n" if self._url else ""
        return f"pid {os.getpid()}\nstarted {datetime.now(UTC).isoformat(timespec='seconds')}\n{url}"
