"""What is read of a result beforehand saves the core work, and decides nothing."""

from __future__ import annotations

import msgspec
import pytest

from cavvy import defaults
from cavvy.core.canonical import canonical_flat, sha256_hex
from cavvy.core.commands import JobCompleted
from cavvy.core.effects import Assign
from cavvy.core.job import FailureCode, JobStatus, JobType
from cavvy.core.reading import Reading, ResultForm, read
from cavvy.core.results import Result
from cavvy.testing import FakeWorker, Stack

ANSWER, TASK = ResultForm(JobType.LLM_INFER), ResultForm(JobType.TASK)
RESULT = canonical_flat(Result(text="é", model="m", finish_reason="stop"))


async def granted(stack: Stack) -> tuple[FakeWorker, Assign]:
    worker = FakeWorker(stack)
    await worker.join()
    grant = stack.assigned(await stack.submit())
    await stack.do(worker.started(grant))
    return worker, grant


async def outcome(stack: Stack, completion: JobCompleted) -> tuple[JobStatus, bytes | None, str | None]:
    await stack.do(completion)
    record = await stack.job(completion.job_id)
    return record.status, record.result, record.attempts[0].code


# -- what a result is by itself


def test_an_answer_is_its_text_and_names_its_model() -> None:
    assert read(RESULT, ANSWER) == Reading(
        result=RESULT, form=ANSWER, output_hash=sha256_hex(RESULT), size=len("é".encode()), model="m"
    )


def test_a_tasks_output_is_all_of_its_object() -> None:
    task = b'{"method":"m"}'
    assert read(task, TASK) == Reading(result=task, form=TASK, output_hash=sha256_hex(task), size=len(task))


@pytest.mark.parametrize(("result", "form"), [(RESULT, TASK), (b'{"method":"m"}', ANSWER), (b"\xff", TASK)])
def test_what_is_no_such_result_has_a_flaw(result: bytes, form: ResultForm) -> None:
    assert "cannot be read" in (read(result, form).flaw or "")


def test_an_output_that_is_too_long_is_only_measured() -> None:
    found = read(b"[" * (defaults.MAX_OUTPUT_BYTES + 1), TASK)
    assert (found.size, found.flaw) == (defaults.MAX_OUTPUT_BYTES + 1, None)


def test_dispatchs_way_of_saying_that_there_is_none_is_a_failure() -> None:
    assert read(b'{"error":"no"}', ResultForm(JobType.TASK, legacy=True)).failure is FailureCode.WORKER_ERROR


# -- what it counts for


@pytest.mark.parametrize("carried", [True, False])
async def test_p15_a_completion_is_decided_alike_with_its_reading_and_without(stack: Stack, carried: bool) -> None:
    worker, grant = await granted(stack)
    completion = await worker.completed(grant)
    reading = read(completion.result, ANSWER) if carried else None
    carrying = msgspec.structs.replace(completion, reading=reading)
    assert await outcome(stack, carrying) == (JobStatus.COMPLETED, completion.result, None)


async def test_p15_a_reading_of_other_bytes_counts_for_nothing(stack: Stack) -> None:
    worker, grant = await granted(stack)
    completion = await worker.completed(grant)
    forged = msgspec.structs.replace(completion, result=RESULT, reading=read(completion.result, ANSWER))
    assert await outcome(stack, forged) == (JobStatus.PENDING, None, "rejected_receipt")


async def test_p15_a_reading_in_another_form_counts_for_nothing(stack: Stack) -> None:
    worker, grant = await granted(stack)
    completion = await worker.completed(grant)
    failed = read(completion.result, ResultForm(JobType.LLM_INFER, legacy=True))
    misread = msgspec.structs.replace(completion, reading=msgspec.structs.replace(failed, flaw="it is not so"))
    assert await outcome(stack, misread) == (JobStatus.COMPLETED, completion.result, None)


async def test_p03_a_reading_does_not_make_another_workers_result_count(stack: Stack) -> None:
    worker, grant = await granted(stack)
    other = FakeWorker(stack, "other")
    await other.join()
    completion = await worker.completed(grant)
    stolen = msgspec.structs.replace(completion, session=other.session, reading=read(completion.result, ANSWER))
    await stack.do(stolen)
    assert (await stack.job(grant.job_id)).status is JobStatus.RUNNING


# -- who is asked for one


async def test_a_result_is_wanted_of_the_worker_that_has_the_job(stack: Stack) -> None:
    worker, grant = await granted(stack)
    assert stack.core.form_of(worker.session, grant.job_id, grant.epoch) == ANSWER


async def test_p03_no_result_is_wanted_of_anybody_else_or_of_another_attempt(stack: Stack) -> None:
    worker, grant = await granted(stack)
    other = FakeWorker(stack, "other")
    await other.join()
    wanted = stack.core.form_of
    assert wanted(other.session, grant.job_id, grant.epoch) is None
    assert wanted(worker.session, grant.job_id, grant.epoch + 1) is None
    assert wanted(worker.session, "another", 1) is None
    assert wanted(0, grant.job_id, grant.epoch) is None
