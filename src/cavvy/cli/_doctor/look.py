"""All of it, in the order in which one thing explains the next."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from cavvy.cli import _config
from cavvy.cli._config import ModelFlags
from cavvy.cli._doctor.disk import look_at_disk
from cavvy.cli._doctor.files import look_at_files
from cavvy.cli._doctor.finding import Finding, fine, wrong
from cavvy.cli._doctor.holder import find_holder, look_at_holder
from cavvy.cli._doctor.models import look_at_models
from cavvy.cli._doctor.network import Answer, ask, look_at_clocks, look_at_coordinator, look_at_key, look_at_port
from cavvy.client import config
from cavvy.client.config import Connection, Setting, Settings, is_loopback
from cavvy.client.configfile import ConfigFile
from cavvy.errors import CavvyError

__all__ = ["Asked", "Diagnosis", "Shown", "diagnose"]

T = TypeVar("T")


class Asked(NamedTuple):
    """What the command line said."""

    config: Path | None = None
    url: str | None = None
    key: str | None = None
    port: int | None = None
    data_dir: Path | None = None


class Shown(msgspec.Struct, frozen=True):
    """A setting as it may be shown: of a secret only whether there is one."""

    name: str
    value: str | float | None
    origin: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """`ok`: nothing is wrong."""

    ok: bool
    settings: list[Shown]
    findings: list[Finding]


class _Look:
    """Collects findings; what cannot be followed becomes one, and the rest is looked at without it."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def add(self, findings: list[Finding]) -> None:
        self.findings += findings

    def settled(self, check: str, follow: Callable[[], T], otherwise: T) -> T:
        try:
            return follow()
        except CavvyError as error:
            why = "Cavvy rather stops than follow it half."
            if not any(each.what == str(error) for each in self.findings):
                self.add([wrong(check, str(error), why=why, fix="change the file as it says")])
            return otherwise


def diagnose(asked: Asked) -> Diagnosis:
    """Looks at everything and changes nothing."""
    look = _Look()
    file = look.settled("settings", lambda: config.config_file(asked.config), ConfigFile())
    where = look.settled(
        "settings",
        lambda: _config.coordinator_plan(file, port=asked.port, data_dir=asked.data_dir),
        _config.coordinator_plan(ConfigFile(), port=asked.port, data_dir=asked.data_dir),
    )
    plan = look.settled("settings", lambda: _config.worker_plan(file, ModelFlags()), None)
    client = look.settled("settings", lambda: _client(asked), None)
    if not look.findings:
        look.add([fine("settings", f"{file.path} is followed" if file.path else "there is no cavvy.toml")])
    answer = ask(Connection(client.url.value, client.key.value, client.pin.value)) if client else Answer()
    here = client is None or is_loopback(client.url.value)
    data_dir = where.data_dir.value
    holder = find_holder(data_dir)
    if plan is not None:
        look.add(look_at_models(plan.providers, wanted=plan.models, is_client_only=not here))
    look.add(look_at_disk(data_dir))
    look.add(look_at_files(data_dir, config.config_dir(), tls_key=where.listen.tls_key))
    look.add(look_at_holder(data_dir, holder, answers=answer.health is not None or not here))
    look.add(look_at_port(where.port, running_at=client.url.value if client and here and answer.is_open else None))
    if client is not None:
        look.add(look_at_coordinator(client, answer))
        look.add(look_at_key(client, answer))
    look.add(look_at_clocks(answer))
    return Diagnosis(
        ok=all(each.state != "wrong" for each in look.findings),
        settings=_shown(file, client, where, plan),
        findings=look.findings,
    )


def _client(asked: Asked) -> Settings:
    return config.connection_settings(asked.url, asked.key, config=asked.config)


def _shown(
    file: ConfigFile,
    client: Settings | None,
    where: _config.CoordinatorPlan,
    plan: _config.WorkerPlan | None,
) -> list[Shown]:
    named = "--config, CAVVY_CONFIG or your own" if file.named else "the current directory"
    rows = [Shown("cavvy.toml", str(file.path) if file.path else None, named if file.path else "default")]
    if client is not None:
        rows += [_row("url", client.url), _secret("key", client.key), _row("pin", client.pin)]
    rows += [_row("port", where.port), _row("data_dir", where.data_dir)]
    rows += [Shown(name, _text(value), file.origin(f"coordinator.{name}")) for name, value in _listening(file)]
    rows += [Shown(f"limits.{name}", value, file.origin(f"limits.{name}")) for name, value in where.limits.items()]
    rows += [Shown(f"clocks.{name}", value, file.origin(f"clocks.{name}")) for name, value in where.clocks.items()]
    rows += [Shown(f"dispatch.{name}", value, file.origin(f"dispatch.{name}")) for name, value in _dispatch(file)]
    if plan is not None:
        rows += [_row("worker.name", plan.name), _row("worker.slots", plan.slots)]
        rows += [_row("worker.models", plan.models), _row("worker.tasks", plan.tasks)]
        rows += [Shown(f"providers.{name}", "set", file.origin(f"providers.{name}")) for name in plan.providers]
    moved = "CAVVY_CONFIG_DIR" if os.environ.get("CAVVY_CONFIG_DIR") else "default"
    return [*rows, Shown("credentials", str(config.credentials_path()), moved)]


def _listening(file: ConfigFile) -> list[tuple[str, Any]]:
    """What the file says of how to listen, apart from what is shown anyway."""
    said = msgspec.structs.asdict(file.tables.coordinator)
    return [(name, value) for name, value in said.items() if value is not None and name not in ("port", "data_dir")]


def _dispatch(file: ConfigFile) -> list[tuple[str, bool]]:
    """What the file says of Dispatch's clients and workers."""
    return [(name, value) for name, value in msgspec.structs.asdict(file.tables.dispatch).items() if value is not None]


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _row(name: str, setting: Setting[Any]) -> Shown:
    value = str(setting.value) if isinstance(setting.value, Path) else setting.value
    return Shown(name, value, setting.origin)


def _secret(name: str, setting: Setting[str | None]) -> Shown:
    return Shown(name, "set" if setting.value else None, setting.origin)
