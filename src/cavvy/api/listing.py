"""`GET /v1/jobs`: pages of jobs, all or those looked for."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from litestar import Response, get
from msgspec import Meta

from cavvy import defaults
from cavvy.api import examples
from cavvy.api.auth import READS, Caller
from cavvy.api.documented import documented, query
from cavvy.api.jobs import AnyRequest, Name, known_query, whole_number
from cavvy.api.problems import ProblemError
from cavvy.api.services import Services, services
from cavvy.api.views import job_view
from cavvy.core.job import Effort, JobStatus
from cavvy.protocol.rest_job import Job, JobList
from cavvy.store.base import JobFilter, JobRecord

__all__ = ["list_jobs", "newest"]

Limit = Annotated[int, Meta(ge=1, le=defaults.LIST_LIMIT_MAX)]
E = TypeVar("E", bound=StrEnum)
_ACTIVE = frozenset({JobStatus.ASSIGNED, JobStatus.RUNNING})


@get(
    "/v1/jobs",
    operation_class=documented(
        "Jobs, newest first",
        answers={200: ("One page", JobList)},
        example=JobList(jobs=[examples.LISTED], cursor="6"),
        parameters=(
            query("status", "Only those in this status.", JobStatus, "completed"),
            query("worker", "Only those this worker has been given, by id or key.", Name, examples.WORKER_ID),
            query("thread", "Only those with this `thread_id`.", Name, "report"),
            query("effort", "Only those of this effort.", Effort, "deep"),
            query("q", "Only those with this text in id, model, prompt, messages or metadata.", Name, "rivers"),
            query("limit", "How many at most.", Limit, defaults.LIST_LIMIT),
            query("cursor", "`cursor` of the page before.", str, "6"),
        ),
    ),
)
async def list_jobs(request: AnyRequest) -> Response[bytes]:
    """`cursor` gets the next page and is null on the last one.

    Filters hold together. A request looks at a bounded number of jobs: with a filter a page may hold fewer than
    `limit`, even none, and still have a cursor. `q` is looked for in strings, in upper or lower case, not in outputs.
    """
    here = services(request)
    caller = here.caller(request, *READS)
    known_query(request, "limit", "cursor", "status", "worker", "thread", "effort", "q")
    asked = request.query_params
    limit = whole_number(asked.get("limit"), "limit", defaults.LIST_LIMIT, 1, defaults.LIST_LIMIT_MAX)
    before = whole_number(asked.get("cursor"), "cursor", 0, 0, 2**53) or None
    status = _one_of(JobStatus, asked.get("status"), "status")
    wanted = JobFilter(
        statuses=None if status is None else (_ACTIVE if status in _ACTIVE else frozenset({status})),
        worker=await _worker(here, caller, asked.get("worker")),
        thread_id=_text(asked.get("thread"), "thread"),
        effort=_one_of(Effort, asked.get("effort"), "effort"),
        text=_text(asked.get("q"), "q"),
    )
    page = await _page(here, caller, wanted, status, before, limit)
    return Response(msgspec.json.encode(page), media_type="application/json")


async def newest(here: Services, caller: Caller) -> str | None:
    """The cursor before the newest job there is; None when there is none."""
    found = await here.store.jobs(caller.tenant, before=None, limit=1)
    return str(found[0].number + 1) if found else None


async def _page(
    here: Services, caller: Caller, wanted: JobFilter, status: JobStatus | None, before: int | None, limit: int
) -> JobList:
    """Looks for one job more than is shown, to know whether there is another page."""
    waits = here.waits()
    shown: list[tuple[int, Job]] = []
    for _ in range(defaults.FIND_READS):
        records, before = await _some(here, caller, wanted, before, limit + 1 - len(shown))
        views = ((one.number, job_view(one, waits, here.hub.peek(one.id), texts=False)) for one in records)
        # Which of the two an active job is, the view knows better: a start is written down a little later.
        shown += [(number, view) for number, view in views if status not in _ACTIVE or view.status is status]
        if len(shown) > limit:
            return JobList(jobs=[view for _, view in shown[:limit]], cursor=str(shown[limit - 1][0]))
        if before is None:
            break
    return JobList(jobs=[view for _, view in shown], cursor=None if before is None else str(before))


async def _some(
    here: Services, caller: Caller, wanted: JobFilter, before: int | None, limit: int
) -> tuple[list[JobRecord], int | None]:
    """The next few, and from where to go on."""
    if wanted == JobFilter():
        records = await here.store.jobs(caller.tenant, before=before, limit=limit)
        return list(records), records[-1].number if len(records) == limit else None
    found = await here.store.find_jobs(caller.tenant, wanted, before=before, limit=limit)
    return list(found.jobs), found.before


def _one_of(kind: type[E], text: str | None, name: str) -> E | None:
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        allowed = [one.value for one in kind]
        detail = f"{name!r} must be exactly one of: {', '.join(allowed)}."
        raise ProblemError("invalid_field", detail, field=name, allowed=allowed) from None


async def _worker(here: Services, caller: Caller, name: str | None) -> str | None:
    """The key of the worker of this id or key."""
    if name is None:
        return None
    for one in await here.store.workers(caller.tenant):
        if name in (one.id, one.key):
            return one.key
    raise ProblemError(
        "invalid_field", "There is no worker of this id; `cavvy workers list` shows them.", field="worker"
    )


def _text(text: str | None, name: str) -> str | None:
    if text is not None and not 1 <= len(text) <= defaults.MAX_NAME_CHARS:
        detail = f"{name!r} must be 1 to {defaults.MAX_NAME_CHARS} characters long."
        raise ProblemError("invalid_field", detail, field=name)
    return text
