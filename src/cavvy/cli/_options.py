"""Options that every command has, before or after its name: --json, --config, and --url, --key for client commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from cavvy.client import Cavvy

__all__ = ["Common", "client_options", "json_option", "server_options", "without_key_option"]

_ADDED: dict[str, tuple[Any, Any]] = {
    "json": (Annotated[bool, typer.Option("--json", help="Print JSON.")], False),
    "config": (
        Annotated[Path | None, typer.Option("--config", help="The cavvy.toml to follow.", show_default="see `doctor`")],
        None,
    ),
    "url": (Annotated[str | None, typer.Option("--url", help="The coordinator's address.")], None),
    "key": (Annotated[str | None, typer.Option("--key", help="The API key.")], None),
}


class Common(NamedTuple):
    """The values given anywhere on the line; the last one of each wins."""

    json: bool = False
    url: str | None = None
    key: str | None = None
    config: Path | None = None

    def client(self, *, operator: bool = False, timeout: float = 30.0) -> Cavvy:
        from cavvy.client import Cavvy

        return Cavvy(self.url, self.key, config=self.config, operator=operator, timeout=timeout)


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `command(common, …)` the options --json, --config, --url and --key."""
    return _with_options(command, ("json", "config", "url", "key"))


def without_key_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `command(common, …)` the options --json, --config and --url; its own --key means something else."""
    return _with_options(command, ("json", "config", "url"))


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `command(common, …)` the options --json and --config."""
    return _with_options(command, ("json", "config"))


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `command(common, …)` the option --json."""
    return _with_options(command, ("json",))


def _with_options(command: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    @functools.wraps(command)
    def wrapped(ctx: typer.Context, **given: Any) -> Any:
        added = {name: given.pop(name) for name in names}
        return command(_merged(ctx, added), **given)

    kind = inspect.Parameter
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    parameters = [
        kind("ctx", kind.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(parameter.replace(kind=kind.KEYWORD_ONLY) for parameter in own),
        *(kind(name, kind.KEYWORD_ONLY, default=_ADDED[name][1], annotation=_ADDED[name][0]) for name in names),
    ]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect looks for it
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del wrapped.__wrapped__
    return wrapped


def _merged(ctx: typer.Context, added: dict[str, Any]) -> Common:
    """What was given before this command, overruled by what was given with it; kept for the commands below it."""
    before: Common = ctx.meta.get(__name__, Common())
    common = before._replace(**{name: value for name, value in added.items() if value})
    ctx.meta[__name__] = common
    return common
