"""`cavvy tenants`: list, create; for the operator."""

from __future__ import annotations

from typing import Annotated

import typer

from cavvy import defaults
from cavvy.cli import _output
from cavvy.cli._options import Common, client_options
from cavvy.cli.keys import Login, print_new_key

__all__ = ["app"]

app = typer.Typer(
    help="See and make tenants, with the operator's key. Tenants see nothing of each other.", no_args_is_help=True
)


@app.callback()
@client_options
def _tenants(common: Common) -> None:
    pass


@app.command("list")
@client_options
def list_tenants(common: Common) -> None:
    """List the tenants."""
    with common.client(operator=True) as client:
        tenants = client.tenants()
    if common.json:
        _output.print_json({"tenants": tenants})
    else:
        rows = [(one.id, f"{one.weight:g}", one.created_at) for one in tenants]
        _output.print_table(("ID", "WEIGHT", "CREATED"), rows)


@app.command("create")
@client_options
def create(
    common: Common,
    tenant_id: Annotated[str, typer.Argument(metavar="TENANT", help="Its id: a-z, 0-9 and -, at most 63.")],
    weight: Annotated[
        float,
        typer.Option(
            min=defaults.TENANT_WEIGHT_MIN,
            max=defaults.TENANT_WEIGHT_MAX,
            help="Its share of the workers it has in common with others, relative to theirs.",
        ),
    ] = defaults.TENANT_WEIGHT,
    login: Login = False,
) -> None:
    """Make a tenant. Its first admin key is shown this once."""
    with common.client(operator=True) as client:
        made = client.create_tenant(tenant_id, weight=weight)
    if common.json:
        _output.print_json(made)
    else:
        print_new_key(made.admin, login=login)
