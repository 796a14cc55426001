"""Whether the process lives, and whether it takes work."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, Router, get

from cavvy import defaults
from cavvy.api.documented import documented
from cavvy.api.services import services
from cavvy.api.views import iso
from cavvy.protocol.rest_health import Health
from cavvy.version import __version__

AnyRequest = Request[Any, Any, Any]
__all__ = ["health_router"]

_OK = Health(status="ok", version=__version__)


@get(
    "/v1/health",
    operation_class=documented("Alive", answers={200: ("The process answers", Health)}, example=_OK, public=True),
)
async def health(request: AnyRequest) -> Response[bytes]:
    """Whether the process answers at all; needs no key. Dispatch's clients are told what theirs tells them."""
    here = services(request)
    if not here.ring.admits_anonymous(request):
        return _answer("ok", 200)
    return _answer(
        "ok",
        200,
        workers_online=sum(one.profile.serves(defaults.DISPATCH_TENANT) for one in here.sessions.online().values()),
        network=defaults.DISPATCH_NETWORK,
        timestamp=iso(here.clock().wall_ms),
    )


@get(
    "/v1/ready",
    operation_class=documented(
        "Ready",
        answers={200: ("Takes work", Health), 503: ("Takes none now", Health)},
        example={200: _OK, 503: Health(status="the store takes no writes", version=__version__)},
        public=True,
    ),
)
async def ready(request: AnyRequest) -> Response[bytes]:
    """503 while the store takes no writes or the process stops; `status` says why. Needs no key."""
    shut = services(request).engine.shut
    return _answer("ok", 200) if shut is None else _answer(shut, 503)


def _answer(status: str, code: int, **more: Any) -> Response[bytes]:
    body = msgspec.json.encode(Health(status=status, version=__version__, **more))
    return Response(body, status_code=code, media_type="application/json")


health_router = Router("/", route_handlers=[health, ready])
