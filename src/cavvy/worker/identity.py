"""Who a worker is (its Ed25519 key) and what it has joined, both in one private directory."""

from __future__ import annotations

import secrets
import tomllib
from pathlib import Path
from typing import NamedTuple

import msgspec

from cavvy import defaults, toml_text
from cavvy.core import ed25519
from cavvy.errors import InvalidInput, StartError
from cavvy.private_files import read_private, write_private
from cavvy.protocol.handshake import key_fingerprint
from cavvy.protocol.keyfile import load_or_create_seed
from cavvy.protocol.line import parse_line

__all__ = ["Identity", "JoinLine", "Membership", "WorkerHome", "parse_join"]

KEY_FILE = "worker.key"
MEMBERSHIP_FILE = "worker.toml"


class Identity(NamedTuple):
    """The 32-byte seed and the public key in hex, which is the worker's name everywhere."""

    seed: bytes
    key: str

    def __repr__(self) -> str:
        return f"Identity(key={self.key!r})"

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        return cls(seed, ed25519.public_key(seed).hex())


class Membership(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The coordinator joined: its URL (`wss://HOST:PORT`), its pinned key (hex), the worker's name there, and the pin
    of its certificate if that is pinned."""

    url: str
    coordinator_key: str
    name: str
    pin: str | None = None


class JoinLine(NamedTuple):
    """`cavvy://HOST:PORT/TOKEN#PIN`, taken apart; `fingerprint` is that of the coordinator's key."""

    url: str
    token: str
    fingerprint: str
    pin: str | None = None

    def names(self, coordinator_key: str) -> bool:
        """Whether the line was made by the coordinator with this key (hex)."""
        return secrets.compare_digest(key_fingerprint(bytes.fromhex(coordinator_key)), self.fingerprint)


def parse_join(line: str) -> JoinLine:
    """Raises InvalidInput that tells what is wrong with the line."""
    if line.strip().startswith(("ws:", "http:")):
        raise _bad_line("without TLS everyone on the way could read the jobs; it must begin with cavvy://")
    try:
        found = parse_line(line)
    except ValueError as error:
        raise _bad_line(str(error)) from None
    return JoinLine(found.url("ws"), found.secret, _fingerprint(found.secret), found.pin)


def _fingerprint(token: str) -> str:
    head, _, fingerprint = token.rpartition("_")
    is_hex = len(fingerprint) == 32 and all(digit in "0123456789abcdef" for digit in fingerprint)
    secret = head.removeprefix("cav_wrk_")
    if not head.startswith("cav_wrk_") or not secret or not is_hex or len(token) > defaults.MAX_NAME_CHARS:
        raise _bad_line("its token must look like cav_wrk_…_… (was it cut off when it was copied?)")
    return fingerprint


def _bad_line(reason: str) -> InvalidInput:
    detail = f"This join line cannot be used: {reason}. Print a new one with `cavvy workers token`."
    return InvalidInput("invalid_join", detail)


class WorkerHome:
    """One worker's directory. What it makes there is readable by its owner only, whatever the umask."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key_path = directory / KEY_FILE
        self._membership_path = directory / MEMBERSHIP_FILE

    def identity(self) -> Identity:
        """The key, made on the first call.

        Raises StartError if it cannot be kept there, others could have read it, or it is damaged.
        """
        return Identity.from_seed(load_or_create_seed(self.key_path))

    def membership(self) -> Membership | None:
        """What was joined; None if nothing yet. Raises StartError when the file cannot be trusted or read."""
        try:
            text = read_private(self._membership_path).decode(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartError(
                f"Cannot read {self._membership_path}: {error.strerror}. Check who owns it, or choose another directory"
                " with --data-dir."
            ) from error
        try:
            return msgspec.convert(tomllib.loads(text), Membership)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise StartError(
                f"{self._membership_path} cannot be read ({error}). Move it away and join again with a new line from"
                " `cavvy workers token`."
            ) from error

    def remember(self, membership: Membership) -> None:
        """Replaces the membership in one step."""
        write_private(self._membership_path, toml_text.table(msgspec.to_builtins(membership)).encode())
