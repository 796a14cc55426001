"""The resume table row by row, and which clock of a lease runs out first."""

from __future__ import annotations

import pytest

from cavvy.core.job import CancelRequest, JobHeader, JobStatus, Needs
from cavvy.core.lease import Lapse, Lease, Resumption, lapse, resumption
from cavvy.core.times import AttemptClock

MINE, THEIRS = "aa" * 32, "bb" * 32
ACCEPT_TIMEOUT_S = 5.0


def job(
    status: JobStatus, *, epoch: int = 2, worker: str | None = MINE, lost: bool = False, asked: bool = False
) -> JobHeader:
    return JobHeader(
        id="j",
        seq=1,
        number=1,
        user_id="owner",
        needs=Needs(),
        status=status,
        created_at_ms=0,
        epoch=epoch,
        worker=worker,
        lost=lost,
        cancel=CancelRequest(by="owner", reason=None, at_ms=1) if asked else None,
    )


@pytest.mark.parametrize(
    ("held", "answer"),
    [
        pytest.param(job(JobStatus.ASSIGNED), Resumption.GO_ON, id="assigned"),
        pytest.param(job(JobStatus.RUNNING), Resumption.GO_ON, id="running"),
        pytest.param(job(JobStatus.PENDING, lost=True), Resumption.REVIVE, id="lost, nobody else has it"),
        pytest.param(job(JobStatus.PENDING), Resumption.STALE, id="taken back"),
        pytest.param(job(JobStatus.ASSIGNED, asked=True), Resumption.STOP, id="assigned, cancel requested"),
        pytest.param(job(JobStatus.RUNNING, asked=True), Resumption.STOP, id="running, cancel requested"),
        pytest.param(job(JobStatus.RUNNING, epoch=3), Resumption.STALE, id="granted to me again"),
        pytest.param(job(JobStatus.RUNNING, epoch=3, worker=THEIRS), Resumption.STALE, id="granted to another"),
        pytest.param(job(JobStatus.PENDING, epoch=3, lost=True), Resumption.STALE, id="a later attempt is lost"),
        pytest.param(job(JobStatus.RUNNING, epoch=1), Resumption.STALE, id="an epoch that was never granted"),
        pytest.param(job(JobStatus.RUNNING, worker=THEIRS), Resumption.STALE, id="another's attempt"),
        pytest.param(job(JobStatus.PENDING, worker=THEIRS, lost=True), Resumption.STALE, id="another's lost attempt"),
        pytest.param(job(JobStatus.PENDING, epoch=0, worker=None), Resumption.STALE, id="never granted"),
        pytest.param(None, Resumption.UNKNOWN, id="terminal or never there"),
    ],
)
def test_what_becomes_of_attempt_2_that_its_worker_says_it_has(held: JobHeader | None, answer: Resumption) -> None:
    assert resumption(held, MINE, 2) is answer


def lease(*, taken: bool = True, stop_by_s: float | None = None) -> Lease:
    """Granted at 100, good until 110."""
    clock = AttemptClock(heard_s=100.0)
    return Lease(worker=MINE, epoch=1, granted_s=100.0, until_s=110.0, clock=clock, taken=taken, stop_by_s=stop_by_s)


@pytest.mark.parametrize(
    ("one", "now_s", "expected"),
    [
        pytest.param(lease(), 100.0, None, id="fresh"),
        pytest.param(lease(), 109.999, None, id="just before its end"),
        pytest.param(lease(), 110.0, Lapse.LEASE_END, id="at its end"),
        pytest.param(lease(), 1e9, Lapse.LEASE_END, id="long after"),
        pytest.param(lease(taken=False), 104.999, None, id="not taken, in time"),
        pytest.param(lease(taken=False), 105.0, Lapse.NOT_TAKEN, id="not taken in time"),
        pytest.param(lease(taken=False), 110.0, Lapse.LEASE_END, id="neither taken nor renewed"),
        pytest.param(lease(stop_by_s=103.0), 102.999, None, id="asked to stop, in time"),
        pytest.param(lease(stop_by_s=103.0), 103.0, Lapse.STOP_UNANSWERED, id="asked to stop, silent"),
        pytest.param(lease(stop_by_s=103.0), 110.0, Lapse.STOP_UNANSWERED, id="asked to stop, silent for a lease"),
        pytest.param(lease(stop_by_s=120.0), 110.0, Lapse.LEASE_END, id="asked to stop, lost before"),
        pytest.param(lease(taken=False, stop_by_s=103.0), 105.0, Lapse.STOP_UNANSWERED, id="asked to stop, not taken"),
    ],
)
def test_which_clock_has_run_out(one: Lease, now_s: float, expected: Lapse | None) -> None:
    assert lapse(one, now_s, ACCEPT_TIMEOUT_S) is expected
