"""`cavvy login`: makes a coordinator, perhaps on another machine, the one this account uses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cavvy.cli import _output
from cavvy.cli._options import Common, json_option

if TYPE_CHECKING:
    from cavvy.client.config import Connection
    from cavvy.protocol.rest_keys import OwnKey

__all__ = ["login"]


@json_option
def login(
    common: Common,
    place: Annotated[str, typer.Argument(metavar="LINE|URL", help="cavvy://HOST:PORT/KEY#PIN, or the URL alone.")],
) -> None:
    """Keep a coordinator's address, key and pin for this account. With the URL alone it asks for the key.

    The key is tried first. What was kept before is put aside, not lost.
    """
    from cavvy.client import Cavvy, config

    url, key, pin = _understood(place)
    tried = config.connection(url, key or _asked(url), pin=pin, config=common.config)
    with Cavvy(tried.url, tried.key, pin=tried.pin, config=common.config) as client:
        own = client.own_key()
    aside = _keep(tried, own)
    if common.json:
        _output.print_json({"url": tried.url, "key": own})
        return
    if aside is not None:
        _output.note(f"what was kept before is now in {aside}")
    tenant = f" of the tenant {own.tenant}" if own.tenant else ""
    _output.print_text(f"logged in at {tried.url} as {own.user}: {own.role}{tenant}")
    _warn_of_what_wins(common, tried)


def _understood(place: str) -> tuple[str, str | None, str | None]:
    """URL, key and pin. Raises InvalidInput."""
    from cavvy.errors import InvalidInput
    from cavvy.protocol.line import parse_line

    if not place.startswith("cavvy:"):
        url, _, pin = place.partition("#")
        return url, None, pin or None
    try:
        line = parse_line(place)
        if not line.secret.startswith("cav_") or line.secret.startswith("cav_wrk_"):
            raise ValueError("what stands behind its last / is no API key")
    except ValueError as error:
        hint = "`cavvy keys create` makes a key and says how to log in with it."
        raise InvalidInput("invalid_login", f"This line cannot be used to log in: {error}. {hint}") from None
    return line.url("http"), line.secret, line.pin


def _asked(url: str) -> str:
    """The key, typed without being shown, or from stdin. Raises InvalidInput when there is none."""
    from cavvy.errors import InvalidInput

    if sys.stdin.isatty():
        return str(typer.prompt(f"API key for {url}", hide_input=True, err=True)).strip()
    key = sys.stdin.readline().strip()
    if not key:
        raise InvalidInput("invalid_login", "there is no key on stdin; give it there, or type it in a terminal")
    return key


def _keep(tried: Connection, own: OwnKey) -> str | None:
    """Writes the credentials file; where an earlier one is now, None if nothing of it was lost."""
    import msgspec

    from cavvy.client import config
    from cavvy.client.config import Credentials
    from cavvy.errors import ClientError

    stored = config.read_credentials()
    same = (stored.url, stored.pin) == (tried.url, tried.pin)
    kept = stored if same else Credentials(url=tried.url, pin=tried.pin)
    if own.role == "operator":
        new = msgspec.structs.replace(kept, operator_key=tried.key)
    else:
        new = msgspec.structs.replace(kept, key=tried.key)
    try:
        aside = config.put_credentials_aside() if new != stored else None
        config.write_credentials(new)
    except OSError as error:
        raise ClientError(f"cannot write {config.credentials_path()}: {error.strerror}; nothing is kept") from error
    return str(aside) if aside is not None else None


def _warn_of_what_wins(common: Common, kept: Connection) -> None:
    """Says so when something else than the credentials file still decides where commands go."""
    from cavvy.client import config

    settings = config.connection_settings(config=common.config)
    for setting, wanted in ((settings.url, kept.url), (settings.key, kept.key)):
        if setting.origin != str(config.credentials_path()) and setting.value != wanted:
            _output.note(f"but {setting.origin} comes before it, and says something else")
            return
