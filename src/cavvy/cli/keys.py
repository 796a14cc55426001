"""`cavvy keys`: list, create, rotate, revoke."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cavvy.cli import _output
from cavvy.cli._options import Common, client_options

if TYPE_CHECKING:
    from cavvy.protocol.rest_keys import KeyView, NewKey

__all__ = ["Login", "app", "print_new_key"]

app = typer.Typer(
    help="Make, see and end API keys. A key's secret is shown once, when it is made.", no_args_is_help=True
)

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as `cavvy keys list` shows it.")]
Tenant = Annotated[
    str | None, typer.Option("--tenant", metavar="TENANT", help="Of this tenant, with the operator's key.")
]
Login = Annotated[bool, typer.Option("--login", help="Print the `cavvy login` line for another machine instead.")]
Operator = Annotated[bool, typer.Option("--operator", help="Of the operator, with the operator's key.")]

_LENGTH = re.compile("([0-9]{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@app.callback()
@client_options
def _keys(common: Common) -> None:
    pass


@app.command("list")
@client_options
def list_keys(common: Common, tenant: Tenant = None, operator: Operator = False) -> None:
    """List the keys, ended ones too. No secret is shown: none is kept."""
    with common.client(operator=_is_operators(tenant, operator)) as client:
        keys = client.keys(tenant=tenant)
    if common.json:
        _output.print_json({"keys": keys})
        return
    rows = [(key.id, key.role, key.status, key.name, _user(key), key.created_at, key.expires_at) for key in keys]
    _output.print_table(("ID", "ROLE", "IS", "NAME", "USER", "CREATED", "EXPIRES"), rows)


@app.command("create")
@client_options
def create(
    common: Common,
    role: Annotated[
        str,
        typer.Option(
            help="admin: everything in the tenant; submit: jobs; read: look, change nothing; worker. "
            "metrics: the coordinator's numbers alone, made with the operator's key."
        ),
    ] = "submit",
    name: Annotated[str | None, typer.Option(help="What it is for; shown in the list.")] = None,
    user: Annotated[str | None, typer.Option(help="Whose jobs it submits.", show_default="owner")] = None,
    act_for_users: Annotated[
        bool, typer.Option("--act-for-users", help="It may say in each job which user it is for (user_id).")
    ] = False,
    expires: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it ends: 12h, 90d, or 2030-01-31T12:00:00Z.")
    ] = None,
    login: Login = False,
    tenant: Tenant = None,
    operator: Operator = False,
) -> None:
    """Make a key. It is good at once; its secret is shown this once."""
    until = None if expires is None else _time(expires)
    with common.client(operator=_is_operators(tenant, operator or role == "metrics")) as client:
        made = client.create_key(
            "operator" if operator else role,
            name=name,
            user=user,
            act_for_users=act_for_users,
            expires_at=until,
            tenant=tenant,
        )
    if common.json:
        _output.print_json(made)
    else:
        print_new_key(made, login=login)


@app.command("rotate")
@client_options
def rotate(
    common: Common,
    key_id: KeyId,
    grace: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long the old secret goes on: 0s, 30m, 12h, 7d.", show_default="24h"),
    ] = None,
    login: Login = False,
    tenant: Tenant = None,
    operator: Operator = False,
) -> None:
    """Give a key a new secret, shown this once. The old one goes on for a while, so that programs can follow."""
    grace_s = None if grace is None else int(_length(grace, "--grace").total_seconds())
    with common.client(operator=_is_operators(tenant, operator)) as client:
        made = client.rotate_key(key_id, grace_s=grace_s, tenant=tenant)
    kept = _keep_own(made)
    if common.json:
        _output.print_json(made)
    else:
        print_new_key(made, login=login)
        _output.note(f"the old secret ends {made.old_secret_until or 'now'}")
    if kept is not None:
        _output.note(f"this account's own key: the new secret is in {kept}")


@app.command("revoke")
@client_options
def revoke(common: Common, key_id: KeyId, tenant: Tenant = None, operator: Operator = False) -> None:
    """End a key at once, with whatever it is reading. The last admin key of a tenant stays: rotate it instead."""
    with common.client(operator=_is_operators(tenant, operator)) as client:
        ended = client.revoke_key(key_id, tenant=tenant)
    if common.json:
        _output.print_json(ended)
    else:
        _output.print_text(f"{ended.id}: {ended.status}")


def print_new_key(made: NewKey, *, login: bool) -> None:
    """The secret, or with `login` the command that holds it, to stdout, alone; the rest to stderr, without it."""
    from cavvy.protocol.line import is_loopback_host, parse_line

    line = parse_line(made.login)
    if login:
        _output.print_text(f"cavvy login {made.login}")
        is_here = is_loopback_host(line.host) and line.pin is None
        where = "under another account of this machine; started with --lan the coordinator lets others in, too"
        _output.note(f"shown this once; type it {where if is_here else 'on the other machine'}")
        return
    pin = f"#{line.pin}" if line.pin else ""
    _output.print_text(made.key)
    _output.note(f"shown this once; `cavvy login {line.url('http')}{pin}` asks for it")


def _is_operators(tenant: str | None, operator: bool) -> bool:
    if tenant is not None and operator:
        raise typer.BadParameter("give --tenant or --operator: the operator's keys belong to no tenant")
    return operator or tenant is not None


def _user(key: KeyView) -> str:
    return f"{key.user}, and others" if key.act_for_users else key.user


def _time(given: str) -> datetime | str:
    """A length of time from now, or a moment as it is written."""
    if set(given) & set("-T"):
        return given
    try:
        return datetime.now(UTC) + _length(given, "--expires")
    except OverflowError:
        raise typer.BadParameter(f"--expires {given} is too far away") from None


def _length(given: str, option: str) -> timedelta:
    found = _LENGTH.fullmatch(given)
    if found is None:
        raise typer.BadParameter(f"{option} takes a length of time such as 30m, 12h or 90d, not {given!r}")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _keep_own(made: NewKey) -> str | None:
    """If it is a key of this account's credentials file, puts the new secret there, so that nobody locks himself out;
    the file's path then.
    """
    import msgspec

    from cavvy.client import config

    stored = config.read_credentials()
    for name in ("key", "operator_key"):
        secret: str | None = getattr(stored, name)
        if secret is not None and secret.split("_")[2:3] == [made.id]:
            return str(config.write_credentials(msgspec.structs.replace(stored, **{name: made.key})))
    return None
