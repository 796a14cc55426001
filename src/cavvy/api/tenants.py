"""Tenants over HTTP, for the operator: list, make."""

from __future__ import annotations

import re

import msgspec
from litestar import Response, Router, get, post

from cavvy import defaults
from cavvy.api import examples
from cavvy.api.auth import OPERATES, Role, new_key
from cavvy.api.bodies import read_object
from cavvy.api.documented import documented
from cavvy.api.fields import refuse
from cavvy.api.jobs import AnyRequest, known_query
from cavvy.api.keys import decide
from cavvy.api.services import services
from cavvy.api.submission import parse_body
from cavvy.api.views import iso, new_key_view
from cavvy.core.commands import CreateTenant
from cavvy.core.identity import Tenant
from cavvy.protocol.rest_tenants import NewTenant, TenantBody, TenantList, TenantView

__all__ = ["tenants_router"]

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@get(
    "/v1/tenants",
    operation_class=documented(
        "Every tenant",
        answers={200: ("Oldest first", TenantList)},
        example=TenantList(tenants=[examples.TENANT]),
    ),
)
async def list_tenants(request: AnyRequest) -> Response[bytes]:
    """With the operator's key."""
    here = services(request)
    here.caller(request, *OPERATES)
    known_query(request)
    shown = [
        TenantView(id=one.id, created_at=iso(one.created_at_ms), weight=one.weight)
        for one in await here.store.tenants()
    ]
    return Response(msgspec.json.encode(TenantList(tenants=shown)), media_type="application/json")


@post(
    "/v1/tenants",
    operation_class=documented(
        "Make a tenant",
        body=TenantBody,
        request_example=TenantBody(id="acme", weight=2.0),
        answers={201: ("With its first admin key, whose secret is shown once", NewTenant)},
        example=examples.NEW_TENANT,
        errors=("tenant_taken",),
    ),
)
async def create_tenant(request: AnyRequest) -> Response[bytes]:
    """With the operator's key. Nothing of one tenant is visible to another."""
    here = services(request)
    caller = here.caller(request, *OPERATES)
    known_query(request)
    wanted = parse_body(await read_object(request), TenantBody)
    tenant_id = wanted.id
    if not _ID.fullmatch(tenant_id):
        refuse("id", "must be 1 to 63 of a-z, 0-9 and '-', not beginning with '-'")
    if tenant_id == defaults.DISPATCH_TENANT:
        refuse("id", "is the tenant of Dispatch's clients, who send no key; `cavvy coordinator --dispatch` makes it")
    now_ms = here.clock().wall_ms
    secret, key = new_key(Role.ADMIN, tenant_id, defaults.USER, now_ms, created_by=caller.key_id)
    tenant = Tenant(id=tenant_id, created_at_ms=now_ms, weight=wanted.weight)
    await decide(here, CreateTenant(ref=here.engine.next_ref(), by=caller.key_id, tenant=tenant, key=key))
    admin = new_key_view(key, now_ms, secret, here.reach.line(secret))
    made = NewTenant(id=tenant.id, created_at=iso(now_ms), weight=tenant.weight, admin=admin)
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(made), status_code=201, media_type="application/json", headers=headers)


tenants_router = Router("/", route_handlers=[list_tenants, create_tenant])
