"""Where the coordinator is, which key opens it, and which workers' keys this account has met.

Precedence: arguments > CAVVY_URL, CAVVY_API_KEY, CAVVY_PIN > cavvy.toml > credentials.toml > defaults. CAVVY_DATA_DIR
and CAVVY_CONFIG_DIR move the directories.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from cavvy import defaults, toml_text
from cavvy.client.configfile import ConfigFile, read_config
from cavvy.errors import ClientError, InvalidInput
from cavvy.private_files import locked_directory, make_private_directory, write_private
from cavvy.protocol.line import is_loopback_host

__all__ = [
    "Connection",
    "Credentials",
    "KnownWorker",
    "Setting",
    "Settings",
    "check_key",
    "config_dir",
    "config_file",
    "connection",
    "connection_settings",
    "credentials_path",
    "data_dir",
    "first_said",
    "is_loopback",
    "known_workers",
    "put_credentials_aside",
    "read_credentials",
    "remember_worker",
    "write_credentials",
]


T = TypeVar("T")


class Setting(NamedTuple, Generic[T]):
    """A value and who said it, for people."""

    value: T
    origin: str


class Settings(NamedTuple):
    """A client's settings with their origins."""

    url: Setting[str]
    key: Setting[str | None]
    pin: Setting[str | None]


class Connection(NamedTuple):
    """Where requests go and the key they carry (None: none); `pin` is SHA-256 (hex) of the certificate's public key."""

    url: str
    key: str | None
    pin: str | None = None


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """credentials.toml: the coordinator of this account, its owner's key, the operator's, and its certificate's pin."""

    url: str | None = None
    key: str | None = None
    operator_key: str | None = None
    pin: str | None = None


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


def config_file(given: Path | str | None = None) -> ConfigFile:
    """The cavvy.toml that counts; `given` is the one that was named. Raises ConfigInvalid."""
    return read_config(given, config_dir())


def connection(
    url: str | None = None,
    key: str | None = None,
    *,
    pin: str | None = None,
    config: Path | str | None = None,
    operator: bool = False,
    one_of_several: bool = False,
) -> Connection:
    """What to connect to. Raises InvalidInput, ClientError, ConfigInvalid. See `connection_settings`."""
    found = connection_settings(url, key, pin=pin, config=config, operator=operator, one_of_several=one_of_several)
    return Connection(found.url.value, found.key.value, found.pin.value)


def connection_settings(
    url: str | None = None,
    key: str | None = None,
    *,
    pin: str | None = None,
    config: Path | str | None = None,
    operator: bool = False,
    one_of_several: bool = False,
) -> Settings:
    """What to connect to, and who said so.

    A key or pin in a file goes to that file's URL only, never to another address. One in a variable goes to whatever
    is connected to; to `one_of_several` only if it is the one that this account means without an argument. Where the
    `operator`'s key is wanted, a tenant's in CAVVY_API_KEY or cavvy.toml is passed over.
    """
    file = config_file(config)
    file.refuse_unnamed("client")
    said, stored = file.tables, read_credentials()
    at_stored = stored.url or f"http://{defaults.HOST}:{defaults.PORT}"
    usual = first_said(
        (os.environ.get("CAVVY_URL"), "CAVVY_URL"),
        (said.url, file.origin("url")),
        (stored.url, str(credentials_path())),
        default=at_stored,
    )
    chosen = Setting(url, "argument") if url else usual
    chosen = chosen._replace(value=chosen.value.rstrip("/"))
    _check_url(chosen.value)
    if one_of_several:
        _check_url(usual.value)
    is_meant = not one_of_several or _same_place(chosen.value, usual.value)
    is_said = _same_place(chosen.value, said.url or at_stored)
    is_stored = _same_place(chosen.value, at_stored)

    if operator:
        stored = msgspec.structs.replace(stored, key=stored.operator_key)

    def wanted(name: str, value: str | None) -> str | None:
        passed_over = operator and name == "key" and not (value or "").startswith("cav_opr_")
        return None if passed_over else value

    def secret(name: Literal["key", "pin"], argument: str | None, variable: str) -> Setting[str | None]:
        return first_said(
            (argument, "argument"),
            (wanted(name, os.environ.get(variable)) if is_meant else None, variable),
            (wanted(name, getattr(said, name)) if is_said else None, file.origin(name)),
            (getattr(stored, name) if is_stored else None, str(credentials_path())),
            default=None,
        )

    settings = Settings(chosen, secret("key", key, "CAVVY_API_KEY"), secret("pin", pin, "CAVVY_PIN"))
    check_key(settings.key.value)
    return settings


def first_said(*candidates: tuple[T | None, str], default: T) -> Setting[T]:
    """The first of (value, origin) that says something, neither None nor empty; else the default."""
    for value, origin in candidates:
        if value is not None and value != "":
            return Setting(value, origin)
    return Setting(default, "default")


def read_credentials(path: Path | None = None) -> Credentials:
    """The credentials file; all None when there is none. Raises ClientError when it cannot be read."""
    return _convert(path or credentials_path(), Credentials)


def write_credentials(credentials: Credentials) -> Path:
    """Writes the credentials file whole or not at all, readable by this account only, also under umask 000."""
    path = credentials_path()
    _keep(path, toml_text.table(msgspec.to_builtins(credentials)))
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
    """Notes a worker's key with the time, unless it is known already; what is known of it.

    Processes that do so at the same time lose nothing of each other's.
    """
    make_private_directory(config_dir())
    with locked_directory(config_dir()):
        known = dict(known_workers())
        if key not in known:
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            known[key] = KnownWorker(name=name, first_seen=now)
            tables = (
                f"[{toml_text.quoted(each)}]\n{toml_text.table(msgspec.to_builtins(worker))}"
                for each, worker in known.items()
            )
            _keep(_known_workers_path(), "\n".join(tables))
        return known[key]


def is_loopback(url: str) -> bool:
    """Whether `url` can only be this machine, which no proxy should be asked for."""
    return is_loopback_host(urlsplit(url).hostname or "")


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
        example = f"http://127.0.0.1:{defaults.PORT}"
        raise InvalidInput("invalid_url", f"{url!r} is not a URL of a coordinator; give one like {example}")


def check_key(key: str | None) -> None:
    """Raises InvalidInput for what cannot stand in a header."""
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise InvalidInput("invalid_key", "the API key holds spaces or other characters no key has; copy it again")


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


def _keep(path: Path, text: str) -> None:
    make_private_directory(path.parent)
    write_private(path, text.encode())
