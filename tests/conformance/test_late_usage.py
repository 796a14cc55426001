"""What an attempt had used is told by its worker, often after its end: every store books it, once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cavvy.core.job import AttemptEnd
from cavvy.core.writes import BookUsage, Usage
from cavvy.store.base import AttemptRecord
from tests.conformance.samples import TENANT, WORKER, OpenStore, failed, granted, inserted, job_id, requeued, started

OTHER_WORKER = "cd" * 32


async def attempts(opened: OpenStore, number: int) -> Sequence[AttemptRecord]:
    job = await opened.store.job(TENANT, job_id(number))
    assert job is not None
    return job.attempts


def booked(number: int, epoch: int = 1, worker: str = WORKER, *, tokens: int = 9) -> BookUsage:
    return BookUsage(job_id=job_id(number), epoch=epoch, worker=worker, usage=Usage(output_tokens=tokens))


async def test_usage_that_is_told_after_an_attempts_end_is_booked_once(opened: OpenStore) -> None:
    timed_out = failed(1, end=AttemptEnd.TIMEOUT, counted=True)
    await opened.commit(inserted(1), granted(1), started(1), timed_out, booked(1))
    await opened.commit(booked(1, tokens=10))
    (attempt,) = await attempts(opened, 1)
    assert attempt.usage == Usage(output_tokens=9)


@pytest.mark.parametrize(
    "late",
    [booked(2), booked(3), booked(1, epoch=2), booked(1, worker=OTHER_WORKER)],
    ids=["an attempt that goes on", "a job that never was", "an attempt that never was", "another worker's"],
)
async def test_nobody_else_books_usage_and_no_attempt_that_goes_on_has_any(opened: OpenStore, late: BookUsage) -> None:
    await opened.commit(inserted(1), granted(1), failed(1), inserted(2), granted(2))
    await opened.commit(late)
    assert [one.usage for number in (1, 2) for one in await attempts(opened, number)] == [None, None]


async def test_usage_of_an_attempt_that_was_lost_is_booked_while_the_job_runs_elsewhere(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), requeued(1), granted(1, 2, OTHER_WORKER), booked(1))
    assert [one.usage for one in await attempts(opened, 1)] == [Usage(output_tokens=9), None]
