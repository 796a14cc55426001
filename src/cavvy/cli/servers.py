"""`cavvy up`, `cavvy coordinator`, `cavvy worker`: the processes that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cavvy import defaults
from cavvy.cli._options import Common, server_options

__all__ = ["coordinator", "up", "worker"]

DataDir = Annotated[Path | None, typer.Option(help="Where the data is kept.", show_default="the user's data directory")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.", show_default=str(defaults.PORT))
]
Lan = Annotated[bool, typer.Option("--lan", help="Let other machines connect, with TLS.")]
TlsCert = Annotated[Path | None, typer.Option(help="Your certificate, PEM with its chain.", show_default="self-signed")]
TlsKey = Annotated[Path | None, typer.Option(help="Its key.", show_default=False)]
BehindProxy = Annotated[
    list[str] | None, typer.Option(metavar="ADDR", help="Believe this proxy's X-Forwarded-*; may be repeated.")
]
Hostname = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST[:PORT]", help="A name that other machines know it by; may be repeated."),
]
Dispatch = Annotated[
    bool, typer.Option("--dispatch", help="Serve Dispatch's clients on this machine, without keys, and its workers.")
]
LegacyPrivate = Annotated[
    bool, typer.Option("--legacy-private", help="Let users pair with Dispatch's workers for PRIVATE jobs.")
]
Model = Annotated[Path | None, typer.Option(help="A GGUF file to run.", show_default="what is found here")]
NoModel = Annotated[
    bool, typer.Option("--no-model", help="Run tasks only, on no model: on a phone or a small machine.")
]
Name = Annotated[str | None, typer.Option(help="What to call the worker.", show_default="the machine's name")]
Slots = Annotated[
    int | None,
    typer.Option(min=1, max=defaults.MAX_SLOTS, help="Jobs at the same time.", show_default="all its providers'"),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads of a GGUF model.", show_default=str(defaults.LLAMACPP_THREADS)),
]
DrainTimeout = Annotated[
    float | None,
    typer.Option(
        "--drain-timeout-s",
        min=0,
        help="How long what runs may take to end, when it is told to stop.",
        show_default=f"{defaults.DRAIN_TIMEOUT_S:g}",
    ),
]
Cloud = Annotated[bool, typer.Option("--cloud", help="Also use the cloud providers whose keys are found; costs money.")]


@server_options
def up(
    common: Common,
    model: Model = None,
    no_model: NoModel = False,
    cloud: Cloud = False,
    port: Port = None,
    lan: Lan = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    behind_proxy: BehindProxy = None,
    hostname: Hostname = None,
    dispatch: Dispatch = False,
    legacy_private: LegacyPrivate = False,
    data_dir: DataDir = None,
    name: Name = None,
    slots: Slots = None,
    threads: Threads = None,
    drain_timeout_s: DrainTimeout = None,
) -> int:
    """Run a coordinator and a worker on this machine, until Ctrl-C. It uses the local models it finds."""
    from cavvy.cli import _config, _serve
    from cavvy.client.config import config_file

    file = config_file(common.config)
    listen = _config.ListenFlags(lan, tls_cert, tls_key, behind_proxy, hostname)
    dialect = _config.DispatchFlags(dispatch, legacy_private)
    where = _config.coordinator_plan(file, listen, dialect, port=port, data_dir=data_dir)
    flags = _config.ModelFlags(model, threads, none=no_model)
    plan = _config.worker_plan(
        file, flags, name=name, slots=slots, drain_timeout_s=drain_timeout_s, data_dir=data_dir, cloud=cloud
    )
    return _serve.run(_serve.up(where, plan, file, as_json=common.json))


@server_options
def coordinator(
    common: Common,
    port: Port = None,
    lan: Lan = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    behind_proxy: BehindProxy = None,
    hostname: Hostname = None,
    dispatch: Dispatch = False,
    legacy_private: LegacyPrivate = False,
    data_dir: DataDir = None,
) -> int:
    """Run a coordinator, until Ctrl-C. With --json it prints {"url", "pid"} once it listens."""
    from cavvy.cli import _config, _serve
    from cavvy.client.config import config_file

    file = config_file(common.config)
    listen = _config.ListenFlags(lan, tls_cert, tls_key, behind_proxy, hostname)
    dialect = _config.DispatchFlags(dispatch, legacy_private)
    plan = _config.coordinator_plan(file, listen, dialect, port=port, data_dir=data_dir)
    return _serve.run(_serve.coordinator(plan, file, as_json=common.json))


@server_options
def worker(
    common: Common,
    join: Annotated[str | None, typer.Option(help="What `cavvy workers token` printed; only the first time.")] = None,
    model: Model = None,
    no_model: NoModel = False,
    cloud: Cloud = False,
    data_dir: DataDir = None,
    name: Name = None,
    slots: Slots = None,
    threads: Threads = None,
    drain_timeout_s: DrainTimeout = None,
) -> int:
    """Run a worker, until Ctrl-C lets what it runs end; a second one stops it. It uses the local models it finds."""
    from cavvy.cli import _config, _serve
    from cavvy.client.config import config_file

    flags = _config.ModelFlags(model, threads, none=no_model)
    file = config_file(common.config)
    plan = _config.worker_plan(
        file, flags, name=name, slots=slots, drain_timeout_s=drain_timeout_s, data_dir=data_dir, cloud=cloud
    )
    return _serve.run(_serve.worker(plan, file, join))
