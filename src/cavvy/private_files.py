"""Files and directories that only their owner can read, whatever the umask."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from cavvy.errors import StartError

__all__ = ["locked_directory", "make_private_directory", "read_private", "write_private"]


def make_private_directory(directory: Path) -> None:
    """Makes what is missing of the path, each part 0700; what is there may be shared on purpose and stays as it is."""
    missing = [part for part in (directory, *directory.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(mode=0o700, exist_ok=True)
        part.chmod(0o700)


def write_private(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Writes `path` whole or not at all, 0600 from its first byte, durable on return.

    Without `replace`, raises FileExistsError rather than touch a file that is there.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if replace:
            draft.replace(path)
        else:
            os.link(draft, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()


@contextlib.contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Waits until nobody else is in such a block for `directory`: what is read there and written back loses nothing."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def read_private(path: Path) -> bytes:
    """What is in `path`. Raises StartError when others could have read or changed it."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise StartError(
                f"{path} can be read or changed by other users (mode {mode:04o}). Make it private with"
                f" `chmod 600 {path}`; if others may have read it, replace what is in it."
            )
        return file.read()
