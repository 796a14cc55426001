"""What a key is, told to whoever holds it."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, Router, get

from cavvy.api.auth import Role
from cavvy.api.documented import documented
from cavvy.api.services import services
from cavvy.protocol.rest_keys import OwnKey

__all__ = ["whoami_router"]


@get(
    "/v1/key",
    operation_class=documented(
        "This key",
        answers={200: ("What the key in the request is", OwnKey)},
        example=OwnKey(id="b3Zx81kPq0Ld", role="submit", tenant="default", user="owner"),
    ),
)
async def own_key(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The id, role, tenant and user of the key that asks; any valid key may. The operator's key has no tenant."""
    caller = services(request).caller(request, *Role)
    own = OwnKey(id=caller.key_id, role=caller.role.value, tenant=caller.tenant or None, user=caller.user_id)
    return Response(msgspec.json.encode(own), media_type="application/json")


whoami_router = Router("/", route_handlers=[own_key])
