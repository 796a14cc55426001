"""Where the coordinator is, which key opens it, and which workers' keys this account has met.

Precedence: arguments > CAVVY_URL, CAVVY_API_KEY > credentials.toml > defaults. CAVVY_DATA_DIR and CAVVY_CONFIG_DIR move
the directories.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from cavvy import defaults
from cavvy.errors import ClientError
from cavvy.private_files import make_private_directory, write_private

__all__ = [
    "Connection",
    "Credentials",
    "KnownWorker",
    "config_dir",
    "connection",
    "credentials_path",
    "data_dir",
    "is_loopback",
    "known_workers",
    "put_credentials_aside",
    "read_credentials",
    "remember_worker",
    "write_credentials",
]


T = TypeVar("T")


class Connection(NamedTuple):
    """Where requests go and the key they carry (None: none)."""

    url: str
    key: str | None


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """credentials.toml: the coordinator of this account, its owner's key, and the operator's."""

    url: str | None = None
    key: str | None = None
    operator_key: str | None = None


class KnownWorker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker met before: its name then, and when that was (ISO 8601, Z)."""

    name: str
    first_seen: str


def data_dir() -> Path:
    """Where the coordinator and the worker of this account keep their data."""
    return _directory("CAVVY_DATA_DIR", "user_data_dir")


def config_dir() -> Path:
    """Where credentials.toml and known_workers.toml are."""
    return _directory("CAVVY_CONFIG_DIR", "user_config_dir")


def credentials_path() -> Path:
    return config_dir() / "credentials.toml"


def connection(url: str | None = None, key: str | None = None) -> Connection:
    """What to connect to. The file's key goes to the file's URL only, never to another address."""
    stored = read_credentials()
    default = f"http://{defaults.HOST}:{defaults.PORT}"
    chosen = (url or os.environ.get("CAVVY_URL") or stored.url or default).rstrip("/")
    _check_url(chosen)
    secret = key or os.environ.get("CAVVY_API_KEY") or None
    if secret is None and _same_place(chosen, stored.url or default):
        secret = stored.key
    if secret is not None and not re.fullmatch(r"[!-~]+", secret):
        raise ClientError("the API key holds spaces or other characters no key has; copy it again")
    return Connection(chosen, secret)


def read_credentials(path: Path | None = None) -> Credentials:
    """The credentials file; all None when there is none. Raises ClientError when it cannot be read."""
    return _convert(path or credentials_path(), Credentials)


def write_credentials(credentials: Credentials) -> Path:
    """Writes the credentials file whole or not at all, readable by this account only, also under umask 000."""
    path = credentials_path()
    _keep(path, _toml(msgspec.to_builtins(credentials)))
    return path


def put_credentials_aside() -> Path | None:
    """Renames the credentials file, if there is one, so that a new one overwrites no key; its new path."""
    path = credentials_path()
    taken = (path.with_name(f"credentials.{number}.toml") for number in count(1))
    aside = next(each for each in taken if not each.exists())
    try:
        return path.rename(aside)
    except FileNotFoundError:
        return None


def known_workers() -> Mapping[str, KnownWorker]:
    """Workers met before, by public key (hex)."""
    return _convert(_known_workers_path(), dict[str, KnownWorker])


def remember_worker(key: str, name: str) -> KnownWorker:
    """Notes a worker's key with the time, unless it is known already; what is known of it."""
    known = dict(known_workers())
    if key not in known:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        known[key] = KnownWorker(name=name, first_seen=now)
        tables = (f"[{_quote(each)}]\n{_toml(msgspec.to_builtins(worker))}" for each, worker in known.items())
        _keep(_known_workers_path(), "\n".join(tables))
    return known[key]


def is_loopback(url: str) -> bool:
    """Whether `url` can only be this machine, which no proxy should be asked for."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _known_workers_path() -> Path:
    return config_dir() / "known_workers.toml"


def _directory(variable: str, default: str) -> Path:
    given = os.environ.get(variable)
    if given:
        return Path(given)
    import platformdirs  # costs 30 ms, and only when nothing is given

    return Path(getattr(platformdirs, default)("cavvy", appauthor=False))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound:
        raise ClientError(f"{url!r} is not a URL of a coordinator; give one like http://127.0.0.1:{defaults.PORT}")


def _same_place(one: str, other: str) -> bool:
    return _place(one) == _place(other)


def _place(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, "loopback" if is_loopback(url) else parts.hostname, parts.port


def _convert(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except (FileNotFoundError, NotADirectoryError):
        return kind()
    except (OSError, ValueError, msgspec.ValidationError) as error:
        raise ClientError(f"{path} cannot be read ({error}); repair or remove it") from error


def _toml(table: Mapping[str, str | None]) -> str:
    return "".join(f"{name} = {_quote(value)}\n" for name, value in table.items() if value is not None)


def _quote(text: str) -> str:
    """`text` as a TOML basic string."""
    return '"' + "".join(_QUOTED.get(char, char) for char in text) + '"'


_QUOTED = {chr(code): f"\\u{code:04X}" for code in (*range(0x20), 0x7F)} | {'"': '\\"', "\\": "\\\\"}


def _keep(path: Path, text: str) -> None:
    make_private_directory(path.parent)
    write_private(path, text.encode())
