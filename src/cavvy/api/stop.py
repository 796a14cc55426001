"""Stopping everything of a tenant or of a thread over HTTP, and letting it go on."""

from __future__ import annotations

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath

from cavvy.api import examples
from cavvy.api.auth import MANAGES, READS, SUBMITS
from cavvy.api.bodies import read_object
from cavvy.api.documented import documented, in_path
from cavvy.api.fields import checked_name
from cavvy.api.jobs import AnyRequest, known_query
from cavvy.api.services import services
from cavvy.api.submission import parse_body, parse_cancel
from cavvy.api.views import stop_view
from cavvy.core.commands import CancelThread, ReleaseStop, StopTenant
from cavvy.core.effects import Reply
from cavvy.protocol.rest_stop import CancelBody, StopAnswer, StopBody, StopView, ThreadStopped

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
        answers={
            200: ("Nothing starts any more; this is what it found", StopAnswer),
            202: ("The same, but the store takes no writes: it is written as soon as it does", StopAnswer),
        },
        example={
            200: StopAnswer(**_STOPPED, running=3, pending=120, durable=True),
            202: StopAnswer(**_STOPPED, running=3, pending=120, durable=False),
        },
    ),
)
async def stop_everything(request: AnyRequest) -> Response[bytes]:
    """Of the caller's tenant: what waits never starts, what runs is told to stop, new work is refused until released.

    It survives a restart. Without `latch` new work goes on being accepted. Repeating it changes nothing. While the
    store takes no writes it holds all the same (202, `durable` false), but a coordinator that ends before it is written
    forgets it.
    """
    here = services(request)
    caller = here.caller(request, *SUBMITS)
    known_query(request)
    body = parse_body(await read_object(request, optional=True), StopBody)
    reason = checked_name(body.reason, "reason")
    ref = here.engine.next_ref()
    command = StopTenant(ref=ref, tenant=caller.tenant, by=caller.user_id, reason=reason, latch=body.latch)
    reply, durable = await here.engine.stop_work(command)
    found = stop_view(reply.stop)
    answer = StopAnswer(
        stopped=found.stopped, by=found.by, reason=found.reason, at=found.at, **_counts(reply), durable=durable
    )
    return _json(answer, 200 if durable else 202)


@post(
    "/v1/threads/{thread_id:str}/cancel",
    status_code=200,
    operation_class=documented(
        "Stop a thread",
        body=CancelBody,
        body_required=False,
        request_example=CancelBody(reason="no longer needed"),
        answers={
            200: ("What it found; what waited has ended, what ran was told to stop", ThreadStopped),
            202: ("The same, but the store takes no writes: it is written as soon as it does", ThreadStopped),
        },
        example={
            200: ThreadStopped(running=1, pending=2, durable=True),
            202: ThreadStopped(running=1, pending=2, durable=False),
        },
        parameters=(in_path("thread_id", "What the jobs' `thread_id` says.", "chat-7"),),
    ),
)
async def cancel_thread(request: AnyRequest, thread_id: FromPath[str]) -> Response[bytes]:
    """Every job of the tenant with this `thread_id` that has not ended; later ones are not concerned.

    A thread that nobody named is one without jobs.
    """
    here = services(request)
    caller = here.caller(request, *SUBMITS)
    known_query(request)
    reason = parse_cancel(await read_object(request, optional=True))
    ref = here.engine.next_ref()
    command = CancelThread(ref=ref, tenant=caller.tenant, thread=thread_id, by=caller.user_id, reason=reason)
    reply, durable = await here.engine.stop_work(command)
    return _json(ThreadStopped(**_counts(reply), durable=durable), 200 if durable else 202)


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


def _counts(reply: Reply) -> dict[str, int]:
    assert reply.stopped is not None
    return {"running": reply.stopped.running, "pending": reply.stopped.pending}


def _json(body: StopView | ThreadStopped, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")


stop_router = Router("/", route_handlers=[get_stop, stop_everything, release_stop, cancel_thread])
