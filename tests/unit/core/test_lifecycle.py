"""The transition table, cell by cell, as lifecycle.md has it; what is not built yet is not here."""

from __future__ import annotations

import pytest

from cavvy.core.job import TERMINAL, AttemptEnd, CancelRequest, FailureCode, JobStatus
from cavvy.core.lifecycle import Event, Phase, Step, phase_of, step

NOTHING = Step()
GRANTED = Step(JobStatus.ASSIGNED)
RUNS = Step(JobStatus.RUNNING)
COMPLETED = Step(JobStatus.COMPLETED, AttemptEnd.COMPLETED)
WAITS_AGAIN = Step(JobStatus.PENDING, AttemptEnd.UNDELIVERED, counted=False)
LOST_UNSTARTED = Step(JobStatus.PENDING, AttemptEnd.LOST, counted=False)
LOST = Step(JobStatus.PENDING, AttemptEnd.LOST, FailureCode.WORKER_LOST, counted=True)
FAILED = Step(JobStatus.FAILED, AttemptEnd.FAILED, FailureCode.WORKER_ERROR, counted=True)
FAILED_FOR_NOW = Step(JobStatus.PENDING, AttemptEnd.FAILED, FailureCode.WORKER_ERROR, counted=True)
REJECTED = Step(JobStatus.PENDING, AttemptEnd.FAILED, FailureCode.REJECTED_RECEIPT, counted=True)
QUIT = Step(JobStatus.FAILED, AttemptEnd.LOST, FailureCode.WORKER_LOST, counted=True)
TURNED_DOWN = Step(JobStatus.PENDING, AttemptEnd.REJECTED, FailureCode.NO_ELIGIBLE_WORKER)
DRAINED = Step(JobStatus.PENDING, AttemptEnd.DRAINED, counted=False)
REVOKED = Step(JobStatus.PENDING, AttemptEnd.REVOKED, counted=False)
ABORTED = Step(JobStatus.FAILED, AttemptEnd.ABORTED, FailureCode.ABORTED)
ABORTED_UNGRANTED = Step(JobStatus.FAILED, None, FailureCode.ABORTED)

TIMEOUT = Step(JobStatus.FAILED, AttemptEnd.TIMEOUT, FailureCode.TIMEOUT, counted=True)
STALLED = Step(JobStatus.FAILED, AttemptEnd.STALLED, FailureCode.STALLED, counted=True)
STALLED_UNSTARTED = Step(JobStatus.FAILED, AttemptEnd.STALLED, FailureCode.STALLED)
DEADLINE = Step(JobStatus.FAILED, AttemptEnd.DEADLINE, FailureCode.DEADLINE)
DEADLINE_UNGRANTED = Step(JobStatus.FAILED, None, FailureCode.DEADLINE)
UNTRUSTED = Step(JobStatus.FAILED, None, FailureCode.NO_TRUSTED_WORKER)
UNMATCHED = Step(JobStatus.FAILED, None, FailureCode.NO_ELIGIBLE_WORKER)

#: What each event does to a job that is pending, assigned, running, asked to stop; None: it cannot happen there.
TABLE: dict[Event, tuple[Step | None, Step | None, Step | None, Step | None]] = {
    Event.GRANT: (GRANTED, None, None, None),
    Event.UNDELIVERED: (None, WAITS_AGAIN, None, ABORTED),
    Event.STARTED: (None, RUNS, NOTHING, NOTHING),
    Event.COMPLETED: (COMPLETED, COMPLETED, COMPLETED, COMPLETED),
    Event.FAILED: (NOTHING, FAILED, FAILED, ABORTED),
    Event.FAILED_FOR_NOW: (NOTHING, FAILED_FOR_NOW, FAILED_FOR_NOW, ABORTED),
    Event.RECEIPT_REJECTED: (NOTHING, REJECTED, REJECTED, ABORTED),
    Event.STOPPED: (NOTHING, QUIT, QUIT, ABORTED),
    Event.LEASE_END: (None, LOST_UNSTARTED, LOST, ABORTED),
    Event.REVOKED: (None, REVOKED, REVOKED, ABORTED),
    Event.REJECTED: (NOTHING, TURNED_DOWN, TURNED_DOWN, ABORTED),
    Event.DRAINED: (NOTHING, DRAINED, DRAINED, ABORTED),
    Event.REVIVED: (RUNS, None, None, None),
    Event.CANCEL: (ABORTED_UNGRANTED, NOTHING, NOTHING, NOTHING),
    Event.STOP_UNANSWERED: (None, None, None, ABORTED),
    Event.TIMEOUT: (None, TIMEOUT, TIMEOUT, ABORTED),
    Event.STALLED: (None, STALLED_UNSTARTED, STALLED, ABORTED),
    Event.DEADLINE: (DEADLINE_UNGRANTED, DEADLINE, DEADLINE, ABORTED),
    Event.UNTRUSTED: (UNTRUSTED, None, None, None),
    Event.UNMATCHED: (UNMATCHED, None, None, None),
}
LIVE = (Phase.PENDING, Phase.ASSIGNED, Phase.RUNNING, Phase.STOPPING)
CELLS = [(phase, event, found) for event, row in TABLE.items() for phase, found in zip(LIVE, row, strict=True)]

ASKED = CancelRequest(by="owner", reason=None, at_ms=1)


def test_the_table_has_a_row_for_every_event() -> None:
    assert set(TABLE) == set(Event)


def test_the_table_has_a_column_for_every_phase_that_is_not_terminal() -> None:
    assert set(LIVE) == set(Phase) - {Phase.TERMINAL}


@pytest.mark.parametrize(("phase", "event", "expected"), CELLS, ids=lambda one: getattr(one, "name", ""))
def test_a_cell_of_the_table(phase: Phase, event: Event, expected: Step | None) -> None:
    assert step(phase, event) == expected


@pytest.mark.parametrize("event", Event)
def test_nothing_leads_out_of_a_terminal_status(event: Event) -> None:
    assert step(Phase.TERMINAL, event) is None


@pytest.mark.parametrize("event", Event)
def test_p10_a_job_that_was_asked_to_stop_never_waits_or_starts_again(event: Event) -> None:
    found = step(Phase.STOPPING, event)
    assert found is None or found.status in (None, *TERMINAL)


@pytest.mark.parametrize("event", [one for one in Event if one is not Event.COMPLETED])
def test_p10_whatever_ends_a_job_that_was_asked_to_stop_but_a_result_is_an_abort(event: Event) -> None:
    found = step(Phase.STOPPING, event)
    assert found in (None, NOTHING, ABORTED)


def test_an_abort_is_no_try() -> None:
    aborts = [found for _, _, found in CELLS if found is not None and found.failure is FailureCode.ABORTED]
    assert aborts
    assert not any(found.counted for found in aborts)


def test_a_loss_counts_only_if_the_attempt_had_started() -> None:
    counted = {phase for phase, event, found in CELLS if event is Event.LEASE_END and found and found.counted}
    assert counted == {Phase.RUNNING}


def test_a_job_fails_for_a_reason_also_if_what_counts_was_its_last_try() -> None:
    for phase, event, found in CELLS:
        if found is not None:
            may_fail = found.status is JobStatus.FAILED or found.counted or event is Event.REJECTED
            assert (found.failure is not None) == (may_fail and found.status is not None), (phase, event)


@pytest.mark.parametrize(
    ("status", "cancel", "phase"),
    [
        (JobStatus.PENDING, None, Phase.PENDING),
        (JobStatus.ASSIGNED, None, Phase.ASSIGNED),
        (JobStatus.RUNNING, None, Phase.RUNNING),
        (JobStatus.ASSIGNED, ASKED, Phase.STOPPING),
        (JobStatus.RUNNING, ASKED, Phase.STOPPING),
        (JobStatus.COMPLETED, None, Phase.TERMINAL),
        (JobStatus.COMPLETED, ASKED, Phase.TERMINAL),
        (JobStatus.FAILED, None, Phase.TERMINAL),
        (JobStatus.FAILED, ASKED, Phase.TERMINAL),
    ],
)
def test_the_phase_of_a_job(status: JobStatus, cancel: CancelRequest | None, phase: Phase) -> None:
    assert phase_of(status, cancel) is phase
