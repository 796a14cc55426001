"""Whether the process lives, and whether it takes work."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, Router, get

from cavvy.api.documented import documented
from cavvy.api.services import services
from cavvy.protocol.rest_health import Health
from cavvy.version import __version__

__all__ = ["health_router"]

_OK = Health(status="ok", version=__version__)


@get(
    "/v1/health",
    operation_class=documented("Alive", answers={200: ("The process answers", Health)}, example=_OK, public=True),
)
async def health() -> Response[bytes]:
    """Whether the process answers at all; needs no key."""
    return _answer("ok", 200)


@get(
    "/v1/ready",
    operation_class=documented(
        "Ready",
        answers={200: ("Takes work", Health), 503: ("Takes none now", Health)},
        example={200: _OK, 503: Health(status="the store takes no writes", version=__version__)},
        public=True,
    ),
)
async def ready(request: Request[Any, Any, Any]) -> Response[bytes]:
    """503 while the store takes no writes or the process stops; `status` says why. Needs no key."""
    shut = services(request).engine.shut
    return _answer("ok", 200) if shut is None else _answer(shut, 503)


def _answer(status: str, code: int) -> Response[bytes]:
    body = msgspec.json.encode(Health(status=status, version=__version__))
    return Response(body, status_code=code, media_type="application/json")


health_router = Router("/", route_handlers=[health, ready])
