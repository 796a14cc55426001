"""API keys over HTTP: list, make, rotate, revoke. Secrets are shown once, in the answer that makes them."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.params import FromPath
from msgspec import Meta

from cavvy import defaults
from cavvy.api import examples
from cavvy.api.auth import MANAGES, OPERATES, Caller, Role, new_key, new_secret
from cavvy.api.bodies import read_object
from cavvy.api.documented import documented, query
from cavvy.api.fields import checked_name, moment_ms, refuse
from cavvy.api.jobs import AnyRequest, known_query
from cavvy.api.problems import ProblemError
from cavvy.api.services import Services, services
from cavvy.api.submission import parse_body
from cavvy.api.views import key_view, new_key_view
from cavvy.core.commands import CreateApiKey, CreateTenant, RevokeApiKey, RotateApiKey
from cavvy.core.effects import Reply, ReplyCode
from cavvy.core.identity import OF_NO_TENANT, ApiKey
from cavvy.protocol.rest_keys import NOT_BUILT_KEY_FIELDS, KeyBody, KeyList, KeyView, NewKey, RotateBody

__all__ = ["decide", "keys_router"]

_TENANT = query(
    "tenant",
    "Whose keys: for the operator's key only, which without it means the operator's own.",
    Annotated[str, Meta(min_length=1)],
    defaults.TENANT,
)
_REFUSALS = {
    ReplyCode.NOT_FOUND: ("not_found", "There is no such key, or it has ended already; `cavvy keys list` shows them."),
    ReplyCode.FORBIDDEN: ("forbidden", "This key may not do that, or has ended meanwhile."),
    ReplyCode.LAST_KEY: (
        "last_key",
        "Nobody could make keys here any more. Make another key of this role that lasts as long, then revoke this one;"
        " or rotate it with grace_s 0, which ends its secret at once.",
    ),
    ReplyCode.TOO_MANY_KEYS: (
        "too_many_keys",
        f"There are {defaults.MAX_KEYS_PER_TENANT} keys; revoke those that nobody uses.",
    ),
    ReplyCode.TENANT_TAKEN: ("tenant_taken", "There is a tenant of this id already; `cavvy tenants list` shows them."),
}


class _Manager(NamedTuple):
    """Who asks, and whose keys they mean (empty: the operator's own)."""

    caller: Caller
    tenant: str


@get(
    "/v1/keys",
    operation_class=documented(
        "Every key",
        answers={200: ("Oldest first, the ended ones too", KeyList)},
        example=KeyList(keys=[examples.KEY]),
        parameters=(_TENANT,),
        errors=("not_found",),
    ),
)
async def list_keys(request: AnyRequest) -> Response[bytes]:
    """Of the caller's tenant; never a secret."""
    here = services(request)
    manager = await _manager(here, request)
    now_ms = here.clock().wall_ms
    shown = [key_view(key, now_ms) for key in await _keys(here, manager.tenant)]
    return _json(KeyList(keys=shown))


@get(
    "/v1/keys/{key_id:str}",
    operation_class=documented("One key", answers={200: ("It", KeyView)}, example=examples.KEY, parameters=(_TENANT,)),
)
async def get_key(request: AnyRequest, key_id: FromPath[str]) -> Response[bytes]:
    """Without its secret."""
    here = services(request)
    manager = await _manager(here, request)
    return _json(key_view(await _key(here, manager, key_id), here.clock().wall_ms))


@post(
    "/v1/keys",
    operation_class=documented(
        "Make a key",
        body=KeyBody,
        request_example=examples.KEY_BODY,
        answers={201: ("Its secret is shown once, in `key`", NewKey)},
        example=examples.NEW_KEY,
        parameters=(_TENANT,),
        errors=("not_supported", "not_found", "too_many_keys"),
    ),
)
async def create_key(request: AnyRequest) -> Response[bytes]:
    """It is good at once. Nobody makes a key of a role above their own."""
    here = services(request)
    manager = await _manager(here, request)
    body = parse_body(await read_object(request), KeyBody, NOT_BUILT_KEY_FIELDS)
    now_ms = here.clock().wall_ms
    role = _role(body.role, manager)
    secret, key = new_key(
        role,
        manager.tenant,
        checked_name(body.user, "user") or defaults.USER,
        now_ms,
        name=checked_name(body.name, "name"),
        created_by=manager.caller.key_id,
        act_for_users=body.act_for_users,
        expires_at_ms=_expiry(body.expires_at, now_ms),
    )
    ref = here.engine.next_ref()
    await decide(here, CreateApiKey(ref=ref, by=manager.caller.key_id, key=key))
    return _json(new_key_view(key, now_ms, secret, here.reach.line(secret)), 201)


@delete(
    "/v1/keys/{key_id:str}",
    status_code=200,
    operation_class=documented(
        "Revoke a key",
        answers={200: ("It has ended", KeyView)},
        example=examples.REVOKED_KEY,
        parameters=(_TENANT,),
        errors=("last_key",),
    ),
)
async def revoke_key(request: AnyRequest, key_id: FromPath[str]) -> Response[bytes]:
    """At once, with its streams and long polls. Idempotent; the last admin key of a tenant stays."""
    here = services(request)
    manager = await _manager(here, request)
    key = await _key(here, manager, key_id)
    if key.revoked_at_ms is None:
        ref, by = here.engine.next_ref(), manager.caller.key_id
        await decide(here, RevokeApiKey(ref=ref, by=by, tenant=manager.tenant, key_id=key_id))
    return _json(key_view(await _key(here, manager, key_id), here.clock().wall_ms))


@post(
    "/v1/keys/{key_id:str}/rotate",
    status_code=200,
    operation_class=documented(
        "Give a key a new secret",
        body=RotateBody,
        body_required=False,
        request_example={"grace_s": 3600},
        answers={200: ("The new secret is shown once, in `key`", NewKey)},
        example=examples.ROTATED_KEY,
        parameters=(_TENANT,),
    ),
)
async def rotate_key(request: AnyRequest, key_id: FromPath[str]) -> Response[bytes]:
    """The old secret goes on for `grace_s` seconds (0 to 30 days, else a day); one older than that ends at once."""
    here = services(request)
    manager = await _manager(here, request)
    grace_s = parse_body(await read_object(request, optional=True), RotateBody).grace_s
    if not 0 <= grace_s <= defaults.KEY_GRACE_MAX_S:
        refuse("grace_s", f"must be from 0 to {defaults.KEY_GRACE_MAX_S}")
    key = await _key(here, manager, key_id)
    secret, secret_hash = new_secret(Role(key.role), key.key_id)
    await decide(
        here,
        RotateApiKey(
            ref=here.engine.next_ref(),
            by=manager.caller.key_id,
            tenant=manager.tenant,
            key_id=key_id,
            secret_hash=secret_hash,
            grace_s=grace_s,
        ),
    )
    rotated = await _key(here, manager, key_id)
    return _json(new_key_view(rotated, here.clock().wall_ms, secret, here.reach.line(secret)))


async def decide(here: Services, command: CreateApiKey | RevokeApiKey | RotateApiKey | CreateTenant) -> None:
    """Returns when the command is carried out and durable. Raises ProblemError when it is refused."""
    reply = await here.engine.ask(command, command.ref)
    assert isinstance(reply, Reply)
    if reply.code is not ReplyCode.OK:
        raise ProblemError(*_REFUSALS[reply.code])


async def _manager(here: Services, request: AnyRequest) -> _Manager:
    """Who asks for whose keys. The tenant comes from the key, and only the operator's may name another."""
    caller = here.caller(request, *MANAGES, *OPERATES)
    known_query(request, "tenant")
    tenant = request.query_params.get("tenant")
    if caller.role is not Role.OPERATOR:
        if tenant is not None:
            raise ProblemError("forbidden", "Only the operator's key names a tenant; leave '?tenant=' out.")
        return _Manager(caller, caller.tenant)
    if tenant is not None and all(one.id != tenant for one in await here.store.tenants()):
        raise ProblemError("not_found", "There is no such tenant; `cavvy tenants list` shows them.")
    return _Manager(caller, tenant or "")


async def _keys(here: Services, tenant: str) -> list[ApiKey]:
    return [key for key in await here.store.api_keys() if key.tenant == tenant]


async def _key(here: Services, manager: _Manager, key_id: str) -> ApiKey:
    for key in await _keys(here, manager.tenant):
        if key.key_id == key_id:
            return key
    raise ProblemError("not_found", "There is no key of this id; `cavvy keys list` shows them.")


def _role(given: str, manager: _Manager) -> Role:
    """The role of a new key; the core decides whether the caller may give it."""
    of_tenant = [role.value for role in Role if role not in OF_NO_TENANT]
    if manager.caller.role is Role.OPERATOR and not manager.tenant:
        if given in of_tenant:
            refuse("role", "a key of this role belongs to a tenant; name it with '?tenant='")
        allowed = [role.value for role in Role if role in OF_NO_TENANT]
    else:
        allowed = of_tenant
    if given in OF_NO_TENANT and given not in allowed:
        raise ProblemError("forbidden", f"Only the operator's key, without '?tenant=', makes keys of the role {given}.")
    if given not in allowed:
        refuse("role", f"must be exactly one of: {', '.join(allowed)}")
    return Role(given)


def _expiry(given: str | None, now_ms: int) -> int | None:
    """When a new key ends."""
    at_ms = moment_ms(given, "expires_at")
    if at_ms is not None and at_ms <= now_ms:
        refuse("expires_at", "must be in the future")
    return at_ms


def _json(body: Any, status: int = 200) -> Response[bytes]:
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json", headers=headers)


keys_router = Router("/", route_handlers=[list_keys, get_key, create_key, revoke_key, rotate_key])
