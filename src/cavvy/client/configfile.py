"""cavvy.toml: found, checked and read. Light: every client command comes by here.

One file: the one that is named (`--config`, CAVVY_CONFIG), else `./cavvy.toml`, else the one in the configuration
directory. What others could have written is refused, and so is what the structs below do not know.

A file in the current directory that nobody named came perhaps with a repository. It is followed in what harms nobody;
before it may say where prompts and keys go, which program runs or where data lies, it has to be named.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec

from cavvy import defaults
from cavvy.errors import ConfigInvalid

__all__ = [
    "FILE",
    "ClocksTable",
    "ConfigFile",
    "CoordinatorTable",
    "DispatchTable",
    "LimitsTable",
    "RetentionTable",
    "Section",
    "Tables",
    "WorkerTable",
    "read_config",
]

FILE = "cavvy.toml"

T = TypeVar("T")
Section = Literal["client", "coordinator", "worker", "providers"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
JobTime = Annotated[float, msgspec.Meta(gt=0, le=defaults.MAX_JOB_TIME_S)]
Days = Annotated[int, msgspec.Meta(ge=0, le=36_500)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None everywhere: not said."""


class CoordinatorTable(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[coordinator]`: where it listens and keeps its data."""

    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    data_dir: str | None = None
    lan: bool | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    behind_proxy: list[str] | None = None
    hostnames: list[str] | None = None


class WorkerTable(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[worker]`: what it is called, how much it does at once and whether prompts and tasks are among it, how long it
    takes to leave, where its identity lies."""

    name: str | None = None
    slots: Annotated[int, msgspec.Meta(ge=1, le=defaults.MAX_SLOTS)] | None = None
    drain_timeout_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] | None = None
    models: bool | None = None
    tasks: bool | None = None
    data_dir: str | None = None


class LimitsTable(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[limits]`: the limits of defaults.py that an installation may choose, in lower case."""

    max_pending: Positive | None = None
    max_pending_per_tenant: Positive | None = None
    key_requests_per_s: Positive | None = None
    key_requests_burst: Positive | None = None
    auth_failures_per_s: Positive | None = None
    auth_failures_burst: Positive | None = None
    max_connections: Positive | None = None
    max_connections_per_address: Positive | None = None
    header_timeout_s: Positive | None = None
    body_timeout_s: Positive | None = None
    keep_alive_s: Positive | None = None
    max_unproven_sockets: Positive | None = None


class ClocksTable(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[clocks]`: the coordinator's clocks of defaults.py that an installation may choose, in lower case. Those
    from `timeout_s` on are of jobs that do not say, the `commit_` ones of jobs that came over Dispatch's routes."""

    requeue_after_s: Annotated[float, msgspec.Meta(ge=0, le=defaults.LEASE_TTL_S)] | None = None
    timeout_s: JobTime | None = None
    first_token_timeout_s: JobTime | None = None
    stall_timeout_s: JobTime | None = None
    commit_llm_timeout_s: JobTime | None = None
    commit_task_timeout_s: JobTime | None = None
    commit_match_window_s: JobTime | None = None


class DispatchTable(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[dispatch]`: whether Dispatch's clients and workers are served, and what more they may than is safe."""

    enabled: bool | None = None
    legacy_private: bool | None = None
    commands: bool | None = None


class RetentionTable(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[retention]`: how many days things are kept after their end; 0 is for ever."""

    texts_days: Days | None = None
    jobs_days: Days | None = None
    revoked_keys_days: Days | None = None
    used_tokens_days: Days | None = None


class Tables(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. The providers' tables are checked by whoever runs providers."""

    url: str | None = None
    key: str | None = None
    pin: str | None = None
    coordinator: CoordinatorTable = CoordinatorTable()
    worker: WorkerTable = WorkerTable()
    limits: LimitsTable = LimitsTable()
    clocks: ClocksTable = ClocksTable()
    retention: RetentionTable = RetentionTable()
    dispatch: DispatchTable = DispatchTable()
    providers: dict[str, dict[str, Any]] = {}


#: What a file that nobody named may not decide, by section; of the providers' tables, what it may.
_NEEDS_NAMING: Mapping[str, tuple[str, ...]] = {
    "client": ("url", "key", "pin"),
    "coordinator": (
        *(f"coordinator.{name}" for name in CoordinatorTable.__struct_fields__ if name != "port"),
        *(f"dispatch.{name}" for name in DispatchTable.__struct_fields__),
    ),
    "worker": ("worker.data_dir",),
}
_HARMLESS_OF_PROVIDERS = frozenset({"kind", "models", "slots", "threads", "context_tokens", "timeout_s"})


class ConfigFile(NamedTuple):
    """What was read; `path` is None and everything unsaid when there is no file."""

    path: Path | None = None
    named: bool = True
    tables: Tables = Tables()
    text: str = ""

    def origin(self, name: str) -> str:
        """Where `name` (dotted) was said, for people."""
        return _place(self.path or Path(FILE), self.text, name)

    def directory(self, given: str) -> Path:
        """A path in the file: `~` is the home directory, relative is to the file's directory."""
        base = self.path.absolute().parent if self.path is not None else Path()
        return base / Path(given).expanduser()

    def refuse_unnamed(self, *sections: Section) -> None:
        """Raises ConfigInvalid if these sections hold what a file that nobody named may not decide."""
        if self.named:
            return
        for name in (name for section in sections for name in _said(self.tables, section)):
            raise ConfigInvalid(
                f"{self.origin(name)} sets {name}, and you did not name this file: it may have come with what is in"
                " this directory. A file that you did not name may not decide where prompts, keys and data go or which"
                f" program runs. If you trust it, give --config {self.path}, or set CAVVY_CONFIG."
            )

    def check_table(self, raw: Mapping[str, Any], kind: type[T], name: str) -> T:
        """The table `name` as `kind`. Raises ConfigInvalid for what `kind` does not know."""
        return _checked(self.path or Path(FILE), self.text, raw, kind, name)


def read_config(given: Path | str | None, own_directory: Path) -> ConfigFile:
    """The one file that counts. `given` is what `--config` said, `own_directory` the configuration directory.

    Raises ConfigInvalid, which names the line where it can.
    """
    path, named = _find(given, own_directory)
    if path is None:
        return ConfigFile()
    if not named and not path.is_file():  # reading a device or a pipe might never end
        raise ConfigInvalid(f"{path} is not a regular file; leave this directory, or name another file with --config")
    text = _read(path)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}") from None
    file = ConfigFile(path, named, _checked(path, text, raw, Tables, ""), text)
    if file.tables.key is not None:
        _refuse_readable(path)
    return file


def _find(given: Path | str | None, own_directory: Path) -> tuple[Path | None, bool]:
    named = given or os.environ.get("CAVVY_CONFIG")
    if named:
        return Path(named), True
    here, own = Path(FILE).absolute(), own_directory / FILE
    if here.exists():
        return here, own.exists() and here.samefile(own)
    return (own, True) if own.exists() else (None, True)


def _read(path: Path) -> str:
    """The text. Refuses a file that another account could have written."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode):
                _refuse_foreign(path, found)
            return file.read().decode()
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}; name another file with --config") from error


def _refuse_foreign(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise ConfigInvalid(
            f"{path} belongs to another account (uid {found.st_uid}), which could make Cavvy do as it likes; leave this"
            " directory, or name a file of your own with --config"
        )
    if found.st_mode & 0o022:
        raise ConfigInvalid(
            f"{path} can be changed by others (mode {stat.S_IMODE(found.st_mode):04o}); look at what it says, then"
            f" `chmod go-w {path}`"
        )


def _refuse_readable(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigInvalid(
            f"{path} holds a key and can be read by others (mode {mode:04o}): `chmod 600 {path}`; if others may have"
            " read it, replace the key"
        )


def _checked(path: Path, text: str, raw: Mapping[str, Any], kind: type[T], name: str) -> T:
    for unknown, known in _unknown(raw, kind, name):
        last = unknown.rpartition(".")[2]
        near = get_close_matches(last, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise ConfigInvalid(f"{_place(path, text, unknown)}: {unknown} is not known; {hint}")
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        at = ".".join(part for part in (name, re.sub(r"\[.*", "", where).strip("`.")) if part)
        raise ConfigInvalid(f"{_place(path, text, at)}: {at or 'this file'}: {reason}") from None


def _unknown(raw: Mapping[str, Any], kind: Any, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each name (dotted) that the struct does not have, with those it has."""
    fields: dict[str, Any] = {field.name: field.default for field in msgspec.structs.fields(kind)}
    for key, value in raw.items():
        dotted = f"{name}.{key}" if name else key
        if key not in fields:
            yield dotted, tuple(fields)
        elif isinstance(fields[key], _Table) and isinstance(value, Mapping):
            yield from _unknown(value, type(fields[key]), dotted)


def _said(tables: Tables, section: Section) -> Iterable[str]:
    """What the section holds that only a named file may decide."""
    if section != "providers":
        return [name for name in _NEEDS_NAMING[section] if _value(tables, name) is not None]
    return [
        f"providers.{provider}.{name}"
        for provider, table in tables.providers.items()
        for name, value in table.items()
        if name not in _HARMLESS_OF_PROVIDERS and (name, value) != ("enabled", False)
    ]


def _value(tables: Any, name: str) -> Any:
    for part in name.split("."):
        tables = getattr(tables, part)
    return tables


def _place(path: Path, text: str, name: str) -> str:
    line = _lines(text).get(name)
    return f"{path}, line {line}" if line else str(path)


def _lines(text: str) -> dict[str, int]:
    """The line of each table and key in plain notation, by dotted name."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.\"'-]+)\s*\]", line):
            table = re.sub("[\"']", "", header[1])
            lines.setdefault(table, number)
        elif key := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            dotted = re.sub("[\"']", "", key[1])
            lines.setdefault(f"{table}.{dotted}" if table else dotted, number)
    return lines
