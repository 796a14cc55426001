"""`GET /v1/events`: everything that changes for a tenant, from now on. No replay: who comes back lists again."""

from __future__ import annotations

from collections.abc import AsyncIterator

from litestar import get
from litestar.response import Stream

from cavvy import defaults
from cavvy.api import sse
from cavvy.api.auth import READS, Caller
from cavvy.api.documented import documented
from cavvy.api.examples import TENANT_EVENTS
from cavvy.api.jobs import AnyRequest, known_query
from cavvy.api.listing import newest
from cavvy.api.services import Services, services
from cavvy.protocol.rest_events import EventsCursor

__all__ = ["tenant_events"]

TOO_SLOW = "too_slow"


@get(
    "/v1/events",
    operation_class=documented(
        "What changes",
        answers={200: ("Server-sent events, without end", str)},
        example=TENANT_EVENTS,
        media_type=sse.MEDIA_TYPE,
    ),
)
async def tenant_events(request: AnyRequest) -> Stream:
    """Events `cursor`, `job`, `worker`, `stop`, `bye` of the tenant, without texts. Of several changes the last.

    There is no replay: `cursor` comes first, and from there nothing is left out. List what was before, and list again
    after each reconnect. `Last-Event-ID` is not looked at. A reader that is too slow gets `bye`.
    """
    here = services(request)
    caller = here.caller(request, *READS)
    known_query(request)
    return Stream(_stream(here, caller), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


async def _stream(here: Services, caller: Caller) -> AsyncIterator[bytes]:
    """Listens first and asks for the cursor then, so that nothing falls between. Lasts as long as the caller's key."""
    good_s = here.left_s(caller)
    async with here.feed.listen(caller.tenant) as listener:
        cursor = sse.event("cursor", EventsCursor(cursor=await newest(here, caller)))
        if good_s():
            yield cursor
        while good_s() and not here.feed.stopping:
            if listener.behind:
                yield sse.bye(TOO_SLOW)
                return
            if (block := listener.take()) is not None:
                yield block
            elif not await listener.news(min(defaults.SSE_HEARTBEAT_S, good_s())) and good_s():
                yield sse.HEARTBEAT
        yield sse.bye()
