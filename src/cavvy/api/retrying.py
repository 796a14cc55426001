"""`POST /v1/jobs/{id}/retry`: a job that has failed runs again, under the same id."""

from __future__ import annotations

import msgspec
from litestar import Response, post
from litestar.params import FromPath

from cavvy import logs
from cavvy.api import examples
from cavvy.api.auth import SUBMITS, Caller
from cavvy.api.bodies import read_object
from cavvy.api.documented import documented
from cavvy.api.jobs import AnyRequest, find_job, known_query
from cavvy.api.problems import ProblemError
from cavvy.api.services import Services, services
from cavvy.api.submitting import queue_full
from cavvy.api.views import job_view, stopped_problem
from cavvy.coordinator.engine import CommandFailed
from cavvy.core.commands import RunAgain
from cavvy.core.effects import Reply, ReplyCode
from cavvy.core.job import TERMINAL, JobStatus
from cavvy.protocol.rest_job import Job
from cavvy.store.base import JobRecord, header_of

__all__ = ["retry_job"]

log = logs.get_logger()


@post(
    "/v1/jobs/{job_id:str}/retry",
    status_code=200,
    operation_class=documented(
        "Run a failed job again",
        answers={200: ("The job, which waits or runs again", Job)},
        example=examples.SUBMITTED,
        errors=("invalid_json", "body_too_large", "unsupported_media_type", "not_failed", "deadline_passed", "stopped",
                "erased", "queue_full"),
    ),
)  # fmt: skip
async def retry_job(request: AnyRequest, job_id: FromPath[str]) -> Response[bytes]:
    """The same job, its `tries` counted anew, under the next attempt; the attempts before stay. There is no body.

    Only a job that has failed, or was stopped, runs again. One that waits or runs after a retry is answered as it is.
    """
    here = services(request)
    caller = here.caller(request, *SUBMITS)
    known_query(request)
    body = await read_object(request, optional=True)
    if body:
        raise ProblemError("invalid_field", "There is nothing to say here; send no body.", field=next(iter(body)))
    record = await find_job(here, caller, job_id)
    if not _runs_again(record):
        await _run_again(here, caller, record)
        record = await find_job(here, caller, job_id)
        log.info("job_retried", job_id=job_id, by=caller.key_id)
    shown = job_view(record, here.waits(), here.hub.peek(job_id))
    return Response(msgspec.json.encode(shown), media_type="application/json")


def _runs_again(record: JobRecord) -> bool:
    """Whether it has been retried and has not ended since: asking once more changes nothing."""
    return record.status not in TERMINAL and record.retried_epoch is not None


async def _run_again(here: Services, caller: Caller, record: JobRecord) -> None:
    """Raises ProblemError for a job that may not. Looks again if it has changed since it was read."""
    _check_failed(record)
    ref = here.engine.next_ref()
    try:
        reply = await here.engine.ask(RunAgain(ref=ref, job=header_of(record)), ref)
    except CommandFailed:
        newer = await find_job(here, caller, record.id)
        if (newer.status, newer.epoch) == (record.status, record.epoch):
            raise
        return _check_runs_again(newer)
    assert isinstance(reply, Reply)
    if reply.code is ReplyCode.NOT_FAILED:
        return _check_runs_again(await find_job(here, caller, record.id))
    return _check(reply)


def _check_runs_again(record: JobRecord) -> None:
    """Somebody else was quicker."""
    if not _runs_again(record):
        raise _not_failed(record)


def _check_failed(record: JobRecord) -> None:
    if record.status is not JobStatus.FAILED:
        raise _not_failed(record)
    if record.erased_at_ms is not None:
        raise _erased()


def _check(reply: Reply) -> None:
    if reply.code is ReplyCode.STOPPED and reply.stop is not None:
        raise stopped_problem(reply.stop)
    if reply.code is ReplyCode.DEADLINE_PASSED:
        raise ProblemError("deadline_passed", "The job's deadline has passed; submit it anew with another one.")
    if reply.code is ReplyCode.ERASED:
        raise _erased()
    if reply.code is ReplyCode.QUEUE_FULL:
        raise queue_full()


def _not_failed(record: JobRecord) -> ProblemError:
    return ProblemError("not_failed", f"The job is {record.status}; only one that has failed runs again.")


def _erased() -> ProblemError:
    return ProblemError("erased", "The texts of this job were erased, so nobody can run it; submit it anew.")
