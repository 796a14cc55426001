"""`DELETE /v1/jobs/{id}`: the texts of a job that has ended are erased; what they hashed to stays."""

from __future__ import annotations

import msgspec
from litestar import Response, delete
from litestar.params import FromPath

from cavvy.api import examples
from cavvy.api.auth import SUBMITS, Caller, Role
from cavvy.api.documented import documented
from cavvy.api.jobs import AnyRequest, find_job, known_query
from cavvy.api.problems import ProblemError
from cavvy.api.services import services
from cavvy.api.views import job_view
from cavvy.core.commands import EraseJob
from cavvy.core.effects import Reply, ReplyCode
from cavvy.protocol.rest_job import Job
from cavvy.store.base import JobRecord

__all__ = ["erase_job"]


@delete(
    "/v1/jobs/{job_id:str}",
    status_code=200,
    operation_class=documented(
        "Erase a job's texts",
        answers={200: ("The job, without its texts", Job)},
        example=examples.ERASED,
        errors=("not_ended",),
    ),
)
async def erase_job(request: AnyRequest, job_id: FromPath[str]) -> Response[bytes]:
    """Prompt, messages, `stop`, metadata, result and the words of a failure go, for good. Status, attempts, usage,
    hashes and the receipt stay, and the receipt still verifies. Repeating it changes nothing.

    An admin key erases any job of the tenant, a submit key those of the users it may submit for.
    """
    here = services(request)
    caller = here.caller(request, *SUBMITS)
    known_query(request)
    record = await find_job(here, caller, job_id)
    _check_owner(caller, record)
    if record.erased_at_ms is None:
        ref = here.engine.next_ref()
        reply = await here.engine.ask(EraseJob(ref=ref, job_id=job_id, seq=record.seq), ref)
        assert isinstance(reply, Reply)
        if reply.code is ReplyCode.NOT_ENDED:
            detail = f"The job is {record.status}; stop it first, and erase it when it has ended."
            raise ProblemError("not_ended", detail, job_id=job_id)
        here.maintenance.erased()
        record = await find_job(here, caller, job_id)
    return Response(msgspec.json.encode(job_view(record, here.waits())), media_type="application/json")


def _check_owner(caller: Caller, record: JobRecord) -> None:
    """Raises ProblemError for a job of a user for whom this key may not speak: erasing cannot be undone."""
    if caller.role is not Role.ADMIN and not caller.act_for_users and record.user_id != caller.user_id:
        raise ProblemError(
            "forbidden", "A submit key erases jobs of its own user only; ask whoever has the admin key of this tenant."
        )
