"""Stopping everything of a tenant over HTTP, and letting it go on."""

from __future__ import annotations

import msgspec
from litestar import Response, Router, get, post

from cavvy.api import examples
from cavvy.api.auth import MANAGES, READS, SUBMITS
from cavvy.api.bodies import read_object
from cavvy.api.documented import documented
from cavvy.api.fields import checked_name
from cavvy.api.jobs import AnyRequest, known_query
from cavvy.api.services import services
from cavvy.api.submission import parse_body
from cavvy.api.views import stop_view
from cavvy.core.commands import ReleaseStop, StopTenant
from cavvy.core.effects import Reply
from cavvy.protocol.rest import StopAnswer, StopBody, StopView

__all__ = ["stop_router"]

_STOPPED = {field: getattr(examples.STOPPED, field) for field in StopView.__struct_fields__}


@get(
    "/v1/stop",
    operation_class=documented(
        "Whether everything is stopped",
        answers={200: ("Who stopped it, why and when", StopView)},
        example=examples.STOPPED,
    ),
)
async def get_stop(request: AnyRequest) -> Response[bytes]:
    """While it is, new work is refused with 409 `stopped`."""
    here = services(request)
    caller = here.caller(request, *READS)
    known_query(request)
    return _json(stop_view(here.engine.stop_of(caller.tenant)))


@post(
    "/v1/stop",
    status_code=200,
    operation_class=documented(
        "Stop everything",
        body=StopBody,
        body_required=False,
        request_example=StopBody(reason="it went wild"),
        answers={200: ("Nothing starts any more; this is what it found", StopAnswer)},
        example=StopAnswer(**_STOPPED, running=3, pending=120, durable=True),
    ),
)
async def stop_everything(request: AnyRequest) -> Response[bytes]:
    """Of the caller's tenant: what waits never starts, what runs is told to stop, new work is refused until released.

    It survives a restart. Without `latch` new work goes on being accepted. Repeating it changes nothing.
    """
    here = services(request)
    caller = here.caller(request, *SUBMITS)
    known_query(request)
    body = parse_body(await read_object(request, optional=True), StopBody)
    reason = checked_name(body.reason, "reason")
    ref = here.engine.next_ref()
    command = StopTenant(ref=ref, tenant=caller.tenant, by=caller.user_id, reason=reason, latch=body.latch)
    reply = await here.engine.ask(command, ref)
    assert isinstance(reply, Reply)
    assert reply.stopped is not None
    found = stop_view(reply.stop)
    view = {field: getattr(found, field) for field in found.__struct_fields__}
    return _json(StopAnswer(**view, running=reply.stopped.running, pending=reply.stopped.pending, durable=True))


@post(
    "/v1/stop/release",
    status_code=200,
    operation_class=documented(
        "Let work go on",
        answers={200: ("New work is accepted", StopView)},
        example=StopView(stopped=False),
    ),
)
async def release_stop(request: AnyRequest) -> Response[bytes]:
    """With an admin's key. What the stop ended stays ended. Repeating it changes nothing."""
    here = services(request)
    caller = here.caller(request, *MANAGES)
    known_query(request)
    ref = here.engine.next_ref()
    await here.engine.ask(ReleaseStop(ref=ref, tenant=caller.tenant), ref)
    return _json(stop_view(here.engine.stop_of(caller.tenant)))


def _json(body: StopView) -> Response[bytes]:
    return Response(msgspec.json.encode(body), media_type="application/json")


stop_router = Router("/", route_handlers=[get_stop, stop_everything, release_stop])
