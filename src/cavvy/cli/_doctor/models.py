"""Is there anything to run jobs on?"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from cavvy.cli._doctor.finding import Finding, fine, unknown, wrong
from cavvy.client.config import Setting
from cavvy.errors import StartError
from cavvy.providers.build import Discovered, discover
from cavvy.providers.settings import ProviderTable, kind_of

__all__ = ["look_at_models"]

CHECK = "models"
WHY = "A worker needs something to run jobs on."


def look_at_models(
    tables: Mapping[str, ProviderTable], *, wanted: Setting[bool], is_client_only: bool
) -> list[Finding]:
    """`is_client_only`: the coordinator is another machine, and this one need not have a model. Nor need it if none is
    `wanted`.
    """
    if not wanted.value:
        return [fine(CHECK, f"none is wanted ({wanted.origin}): a worker here runs tasks only")]
    missing = list(_missing(tables))
    if missing:
        return missing
    try:
        found = asyncio.run(discover(tables, cloud=False, environ=os.environ))
    except StartError as error:
        if is_client_only and not tables:
            return [unknown(CHECK, "no model on this machine; jobs run where the coordinator's workers are")]
        return [wrong(CHECK, "there is no provider that could run a job", why=WHY, fix=str(error))]
    return list(_of(found))


def _missing(tables: Mapping[str, ProviderTable]) -> Iterator[Finding]:
    """The weights that the configuration names and that are not there."""
    for name, table in tables.items():
        if table.model is None or table.enabled is False or kind_of(name, table) != "llamacpp":
            continue
        if not Path(table.model).is_file():
            yield wrong(
                CHECK,
                f"[providers.{name}]: there is no model file {table.model}",
                why="The worker does not start without it.",
                fix=f"put a GGUF file there, or correct `model` in [providers.{name}] of cavvy.toml",
            )


def _of(found: Discovered) -> Iterator[Finding]:
    for provider in found.providers:
        yield fine(CHECK, f"{provider.name} serves {', '.join(provider.models) or 'what it finds when it starts'}")
    for note in found.notes:
        yield unknown(CHECK, note.removeprefix("model: "))
    for cloud in found.unused_cloud:
        yield unknown(CHECK, f"{cloud.name} is not used ({cloud.env} is set; {cloud.price})", "cavvy up --cloud")
