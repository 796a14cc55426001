"""Ed25519 seeds in files that only their owner can read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cavvy.core.ed25519 import is_valid_key, public_key
from cavvy.errors import StartError
from cavvy.private_files import make_private_directory, read_private, write_private

__all__ = ["load_or_create_seed"]


def load_or_create_seed(path: Path) -> bytes:
    """The 32-byte seed in `path` (64 hex digits), made at first.

    Raises StartError when it cannot be kept there, others could have read it, or it is damaged.
    """
    try:
        make_private_directory(path.parent)
        if not path.exists():
            with contextlib.suppress(FileExistsError):
                write_private(path, os.urandom(32).hex().encode() + b"\n", replace=False)
        text = read_private(path)
    except OSError as error:
        raise StartError(
            f"Cannot keep a key in {path}: {error.strerror}. Check the disk and who owns it, or choose another"
            " directory with --data-dir."
        ) from error
    try:
        seed = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        seed = b""
    if len(seed) != 32 or not is_valid_key(public_key(seed)):
        raise StartError(
            f"{path} does not hold a key (64 hex digits). Restore it from a backup, or move it away and start again:"
            " whoever knew the old key has to be told the new one."
        )
    return seed
