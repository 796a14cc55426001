"""What cavvy.toml says of one provider: a `[providers.NAME]` table."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cavvy import defaults

__all__ = ["Kind", "ProviderTable", "kind_of"]

Kind = Literal["llamacpp", "anyllm", "command"]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=defaults.MAX_NAME_CHARS)]
VariableName = Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$", max_length=defaults.MAX_NAME_CHARS)]


class ProviderTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.NAME]`. A field that its kind has no use for is refused when the provider is built.

    Secrets are never in here: `api_key_env` names the environment variable that holds one.
    """

    enabled: bool | None = None
    kind: Kind | None = None
    slots: Annotated[int, Meta(ge=1, le=defaults.MAX_SLOTS)] | None = None
    models: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=defaults.MAX_MODELS)] | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=86400)] | None = None
    # anyllm
    provider: Name | None = None
    url: Annotated[str, Meta(pattern="^https?://[^/]", max_length=2048)] | None = None
    api_key_env: VariableName | None = None
    # llamacpp; `context_tokens` also bounds what Ollama is asked to set aside
    model: Text | None = None
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    context_tokens: Annotated[int, Meta(ge=256, le=16 << 20)] | None = None
    # command
    command: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)] | None = None
    env: tuple[VariableName, ...] | None = None


def kind_of(name: str, table: ProviderTable) -> Kind:
    """The table's kind: as it says, else what its name and fields mean."""
    if table.kind is not None:
        return table.kind
    if table.command is not None:
        return "command"
    return "llamacpp" if name == "llamacpp" else "anyllm"
