"""`cavvy demo`: the whole product on this machine, in a minute, leaving nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cavvy.cli._options import Common, json_option

__all__ = ["demo"]


@json_option
def demo(
    common: Common,
    model: Annotated[Path | None, typer.Option(help="A GGUF file.", show_default="the tiny demo model")] = None,
) -> int:
    """Start a coordinator and a worker, ask a question, check the signed answer, stop everything."""
    from cavvy.cli import _demo

    return _demo.run(model)
