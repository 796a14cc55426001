"""Ed25519 seeds in files that only their owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cavvy.core.ed25519 import is_valid_key, public_key
from cavvy.errors import StartError

__all__ = ["load_or_create_seed", "make_private_directory", "write_private"]


def make_private_directory(path: Path) -> None:
    """Makes `path` (0700, whatever the umask); an existing one is tightened."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(path.stat().st_mode) != 0o700:
        path.chmod(0o700)


def write_private(path: Path, data: bytes) -> None:
    """Writes `path` whole or not at all, 0600 from its first byte, durable on return."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    scratch.replace(path)


def load_or_create_seed(path: Path) -> bytes:
    """The 32-byte seed in `path` (64 hex digits), made at first.

    Raises StartError when others could read or it is damaged.
    """
    if not path.exists():
        make_private_directory(path.parent)
        write_private(path, os.urandom(32).hex().encode() + b"\n")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise StartError(f"{path} can be read by others (mode {mode:04o}); make it private: chmod 600 {path}")
    try:
        seed = bytes.fromhex(path.read_text("ascii").strip())
    except (ValueError, UnicodeDecodeError) as error:
        raise StartError(f"{path} does not hold a key of 64 hex digits; restore it from a backup") from error
    if len(seed) != 32 or not is_valid_key(public_key(seed)):
        raise StartError(f"{path} does not hold a key of 64 hex digits; restore it from a backup")
    return seed
