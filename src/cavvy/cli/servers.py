"""`cavvy up`, `cavvy coordinator`, `cavvy worker`: the processes that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cavvy import defaults
from cavvy.cli._options import Common, json_option

__all__ = ["coordinator", "up", "worker"]

DataDir = Annotated[Path | None, typer.Option(help="Where the data is kept.", show_default="the user's data directory")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")]
Model = Annotated[Path | None, typer.Option(help="A GGUF file to run.", show_default="a tiny demo model")]
Name = Annotated[str | None, typer.Option(help="What to call the worker.", show_default="the machine's name")]
Slots = Annotated[int, typer.Option(min=1, max=defaults.MAX_SLOTS, help="Jobs at the same time.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads of the model.")]


@json_option
def up(
    common: Common,
    model: Model = None,
    port: Port = defaults.PORT,
    data_dir: DataDir = None,
    name: Name = None,
    slots: Slots = defaults.LLAMACPP_SLOTS,
    threads: Threads = defaults.LLAMACPP_THREADS,
) -> int:
    """Run a coordinator and a worker on this machine, until Ctrl-C."""
    from cavvy.cli import _serve

    options = _serve.WorkerOptions(weights=_serve.weights(model), name=name, slots=slots, threads=threads)
    return _serve.run(_serve.up(_serve.data_directory(data_dir), port, options, as_json=common.json))


@json_option
def coordinator(common: Common, port: Port = defaults.PORT, data_dir: DataDir = None) -> int:
    """Run a coordinator, until Ctrl-C. With --json it prints {"url", "pid"} once it listens."""
    from cavvy.cli import _serve

    return _serve.run(_serve.coordinator(_serve.data_directory(data_dir), port, as_json=common.json))


@json_option
def worker(
    common: Common,
    join: Annotated[str | None, typer.Option(help="What `cavvy workers token` printed; only the first time.")] = None,
    model: Model = None,
    data_dir: DataDir = None,
    name: Name = None,
    slots: Slots = defaults.LLAMACPP_SLOTS,
    threads: Threads = defaults.LLAMACPP_THREADS,
) -> int:
    """Run a worker, until Ctrl-C."""
    from cavvy.cli import _serve

    options = _serve.WorkerOptions(weights=_serve.weights(model), name=name, slots=slots, threads=threads)
    return _serve.run(_serve.worker(_serve.data_directory(data_dir) / "worker", join, options))
