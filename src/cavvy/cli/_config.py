"""What the servers follow: options, then the environment, then cavvy.toml, then defaults; with each value's origin."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cavvy import defaults
from cavvy.client import config
from cavvy.client.config import Setting, first_said
from cavvy.client.configfile import ConfigFile, DispatchTable
from cavvy.errors import ConfigInvalid, ModelMissing, StartError
from cavvy.providers.settings import ProviderTable, kind_of

if TYPE_CHECKING:
    from cavvy.api.listening import Listen

__all__ = [
    "CoordinatorPlan",
    "DispatchFlags",
    "ListenFlags",
    "ModelFlags",
    "WorkerPlan",
    "coordinator_data_dir",
    "coordinator_plan",
    "limits",
    "provider_tables",
    "retention",
    "worker_data_dir",
    "worker_plan",
]

LLAMACPP = "llamacpp"


class ModelFlags(NamedTuple):
    """What the command line said of the embedded model, or that there shall be none at all."""

    model: Path | None = None
    threads: int | None = None
    none: bool = False


class ListenFlags(NamedTuple):
    """What the command line said of how to listen; see Listen."""

    lan: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: Sequence[str] | None = None
    hostnames: Sequence[str] | None = None


class DispatchFlags(NamedTuple):
    """What the command line said of Dispatch's clients and workers."""

    dispatch: bool = False
    legacy_private: bool = False


class CoordinatorPlan(NamedTuple):
    """How a coordinator starts. `limits` and `clocks` have those that were chosen, by the names of defaults.py in lower
    case; among the limits is how long things are kept. `dialect` is what more is allowed to Dispatch's clients and
    workers, by the names of Settings.
    """

    port: Setting[int]
    data_dir: Setting[Path]
    listen: Listen
    limits: Mapping[str, int]
    clocks: Mapping[str, float]
    dialect: Mapping[str, bool]


class WorkerPlan(NamedTuple):
    """How a worker starts; `data_dir` is where `worker/` lies. Without `slots` it has those of its providers.

    It runs TASK jobs unless `tasks` says no, and no others if `models` does. Cloud providers run after `cloud` only.
    """

    name: Setting[str | None]
    slots: Setting[int | None]
    drain_timeout_s: Setting[float]
    models: Setting[bool]
    tasks: Setting[bool]
    data_dir: Setting[Path]
    providers: Mapping[str, ProviderTable]
    cloud: bool


def coordinator_plan(
    file: ConfigFile,
    flags: ListenFlags = ListenFlags(),
    dispatch: DispatchFlags = DispatchFlags(),
    *,
    port: int | None = None,
    data_dir: Path | None = None,
) -> CoordinatorPlan:
    """Raises ConfigInvalid; StartError for a way to listen that makes no sense."""
    file.refuse_unnamed("coordinator")
    at = first_said(
        (port, "--port"),
        (file.tables.coordinator.port, file.origin("coordinator.port")),
        default=defaults.PORT,
    )
    return CoordinatorPlan(
        port=at,
        data_dir=_data_dir(file, "coordinator", data_dir),
        listen=_listen(file, flags, at.value, dispatch=dispatch.dispatch),
        limits={**limits(file), **retention(file)},
        clocks=_chosen(file.tables.clocks),
        dialect=_dialect(file, dispatch),
    )


def worker_plan(
    file: ConfigFile,
    flags: ModelFlags,
    *,
    name: str | None = None,
    slots: int | None = None,
    drain_timeout_s: float | None = None,
    data_dir: Path | None = None,
    cloud: bool = False,
) -> WorkerPlan:
    """Raises ConfigInvalid; StartError for a worker that would have nothing to do, or its model taken away."""
    file.refuse_unnamed("worker", "providers")
    said = file.tables.worker
    models, tasks = _kinds(file, flags, cloud=cloud)
    at_once: Setting[int | None] = first_said(
        (slots, "--slots"), (said.slots, file.origin("worker.slots")), default=None
    )
    return WorkerPlan(
        name=first_said((name, "--name"), (said.name, file.origin("worker.name")), default=None),
        slots=at_once,
        drain_timeout_s=first_said(
            (drain_timeout_s, "--drain-timeout-s"),
            (said.drain_timeout_s, file.origin("worker.drain_timeout_s")),
            default=defaults.DRAIN_TIMEOUT_S,
        ),
        models=models,
        tasks=tasks,
        data_dir=_data_dir(file, "worker", data_dir),
        providers=_with_flags(provider_tables(file), flags, at_once.value),
        cloud=cloud,
    )


def _kinds(file: ConfigFile, flags: ModelFlags, *, cloud: bool) -> tuple[Setting[bool], Setting[bool]]:
    """Whether it runs prompts on models, and whether it runs tasks."""
    if flags.none and (flags.model is not None or cloud):
        raise StartError(f"--no-model and {'--cloud' if cloud else '--model'} contradict each other; leave one out")
    said = file.tables.worker
    wanted = True if flags.model is not None else False if flags.none else None
    origin = "--model" if flags.model is not None else "--no-model"
    models = first_said((wanted, origin), (said.models, file.origin("worker.models")), default=True)
    tasks = first_said((said.tasks, file.origin("worker.tasks")), default=True)
    if not models.value and not tasks.value:
        raise StartError(f"{models.origin} and {tasks.origin} leave this worker nothing to run; take one back")
    return models, tasks


def coordinator_data_dir(file: ConfigFile, option: Path | None) -> Path:
    """Where the coordinator keeps its data. Raises ConfigInvalid."""
    file.refuse_unnamed("coordinator")
    return _data_dir(file, "coordinator", option).value


def worker_data_dir(file: ConfigFile, option: Path | None) -> Path:
    """Where the worker keeps its data. Raises ConfigInvalid."""
    file.refuse_unnamed("worker")
    return _data_dir(file, "worker", option).value


def provider_tables(file: ConfigFile) -> dict[str, ProviderTable]:
    """The `[providers.NAME]` tables, checked; a model's path made absolute. Raises ConfigInvalid."""
    tables = {}
    for name, raw in file.tables.providers.items():
        table = file.check_table(raw, ProviderTable, f"providers.{name}")
        if table.model is not None:
            table = msgspec.structs.replace(table, model=str(file.directory(table.model)))
        tables[name] = table
    return tables


def limits(file: ConfigFile) -> dict[str, int]:
    """The limits that were chosen. Raises ConfigInvalid for those that contradict each other."""
    chosen = _chosen(file.tables.limits)
    whole = chosen.get("max_pending", defaults.MAX_PENDING)
    if chosen.get("max_pending_per_tenant", min(whole, defaults.MAX_PENDING_PER_TENANT)) > whole:
        raise ConfigInvalid(
            f"{file.origin('limits.max_pending_per_tenant')}: limits.max_pending_per_tenant is more than"
            f" limits.max_pending ({whole}); a tenant's queue is a part of the queue"
        )
    return chosen


def _chosen(table: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(table).items() if value is not None}


def retention(file: ConfigFile) -> dict[str, int]:
    """How long things shall be kept, as far as that was chosen. Raises ConfigInvalid if texts are to outlive jobs."""
    chosen = {name: value for name, value in msgspec.structs.asdict(file.tables.retention).items() if value is not None}
    jobs = chosen.get("jobs_days", defaults.JOBS_DAYS)
    texts = chosen.get("texts_days", min(jobs, defaults.TEXTS_DAYS) if jobs else defaults.TEXTS_DAYS)
    if jobs and (texts == 0 or texts > jobs):
        name = "texts_days" if "texts_days" in chosen else "jobs_days"
        raise ConfigInvalid(
            f"{file.origin(f'retention.{name}')}: a job's texts go with the job, after retention.jobs_days ({jobs});"
            " keep jobs at least as long as their texts (0: for ever)"
        )
    return chosen if texts == defaults.TEXTS_DAYS else {**chosen, "texts_days": texts}


def _dialect(file: ConfigFile, flags: DispatchFlags) -> dict[str, bool]:
    """Raises StartError for what would be without effect."""
    said = file.tables.dispatch
    private, commands = flags.legacy_private or bool(said.legacy_private), bool(said.commands)
    if (private or commands) and not (flags.dispatch or said.enabled):
        given = "--legacy-private" if flags.legacy_private else file.origin(_first_true(said))
        raise StartError(f"{given} is about Dispatch's clients and workers, who are not served: add --dispatch.")
    return {"legacy_private": private, "dispatch_commands": commands}


def _first_true(said: DispatchTable) -> str:
    return "dispatch.legacy_private" if said.legacy_private else "dispatch.commands"


def _listen(file: ConfigFile, flags: ListenFlags, port: int, *, dispatch: bool) -> Listen:
    from cavvy.api.listening import Listen

    said = file.tables.coordinator
    own = (
        flags
        if flags.tls_cert or flags.tls_key
        else ListenFlags(
            tls_cert=file.directory(said.tls_cert) if said.tls_cert else None,
            tls_key=file.directory(said.tls_key) if said.tls_key else None,
        )
    )
    return Listen(
        port=port,
        lan=flags.lan or bool(said.lan),
        tls_cert=own.tls_cert,
        tls_key=own.tls_key,
        behind_proxy=tuple(flags.behind_proxy or said.behind_proxy or ()),
        hostnames=tuple(flags.hostnames or said.hostnames or ()),
        dispatch=dispatch or bool(file.tables.dispatch.enabled),
    )


def _check_model(path: Path) -> None:
    """Raises ModelMissing before anything is started."""
    if not path.is_file():
        raise ModelMissing(f"there is no model file {path}; give a GGUF file with --model")


def _data_dir(file: ConfigFile, section: str, option: Path | None) -> Setting[Path]:
    variable = os.environ.get("CAVVY_DATA_DIR")
    said = getattr(file.tables, section).data_dir
    return first_said(
        (option, "--data-dir"),
        (Path(variable) if variable else None, "CAVVY_DATA_DIR"),
        (file.directory(said) if said else None, file.origin(f"{section}.data_dir")),
        default=config.data_dir(),
    )


def _with_flags(tables: dict[str, ProviderTable], flags: ModelFlags, slots: int | None) -> dict[str, ProviderTable]:
    """The tables, the embedded model's overruled by the command line."""
    if flags.model is not None:
        _check_model(flags.model)
        table = msgspec.structs.replace(tables.get(LLAMACPP, ProviderTable()), model=str(flags.model), enabled=True)
        tables = {LLAMACPP: table, **{name: other for name, other in tables.items() if name != LLAMACPP}}
    elif flags.threads or slots:
        tables = {**tables, LLAMACPP: tables.get(LLAMACPP, ProviderTable())}
    for name, table in tables.items():
        if kind_of(name, table) == LLAMACPP:
            threads = flags.threads or table.threads
            tables[name] = msgspec.structs.replace(table, threads=threads, slots=table.slots or slots)
    return tables
