"""The cancel table of the lifecycle, every cell as one case: what an event does to a job.

A cell is a place (what is stored), something that happens there, and what is seen then.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.commands import RunAgain, StopTenant
from cavvy.core.effects import (
    Reply,
    ReplyCode,
    StopAttempt,
)
from cavvy.core.job import DEFAULT_TERMS, TERMINAL, JobStatus, Terms
from cavvy.core.worker_status import WorkerAction
from cavvy.errors import Refused
from cavvy.store.base import header_of
from cavvy.testing import Stack
from tests.unit.core.scene import (
    Act,
    Scene,
    aborted,
    asked,
    asked_unstarted,
    assigned,
    cells,
    completed,
    completion,
    failed,
    running,
)


async def job_failed(scene: Scene) -> None:
    """With an error that no other try would heal."""
    await scene.do(scene.worker.failed(scene.grant, "input_too_large"))


async def job_failed_for_now(scene: Scene) -> None:
    """With an error that another try may heal."""
    await scene.do(scene.worker.failed(scene.grant, retryable=True))


async def job_stopped(scene: Scene) -> None:
    await scene.do(scene.worker.stopped(scene.grant))


async def lease_end(scene: Scene) -> None:
    await scene.do(scene.worker.beat(free=0))
    await scene.later(defaults.LEASE_TTL_S + 2 * defaults.SWEEP_S)


async def grace_over(scene: Scene) -> None:
    await scene.stack.restart()
    await scene.stack.later(defaults.RESTART_GRACE_S + 2 * defaults.SWEEP_S)


async def socket_lost(scene: Scene) -> None:
    await scene.worker.disconnect()
    await scene.stack.later(defaults.REQUEUE_AFTER_S + 2 * defaults.SWEEP_S)


async def job_reject(scene: Scene) -> None:
    """It is paused before, so that it is not granted the same job again."""
    await scene.do(scene.stack.management(scene.worker.key, WorkerAction.PAUSE))
    await scene.do(scene.worker.rejected(scene.grant))


async def drain(scene: Scene) -> None:
    """The worker said that it leaves, and is gone: nobody waits for it."""
    await scene.do(scene.worker.draining())
    await scene.worker.disconnect()
    await scene.do()


async def stop_ack_timeout(scene: Scene) -> None:
    await scene.do(scene.worker.beat(scene.ref, free=0))
    await scene.stack.later(defaults.STOP_ACK_TIMEOUT_S + 2 * defaults.SWEEP_S)


async def timeout(scene: Scene) -> None:
    """It shows life all the time, and runs too long."""
    for _ in range(int(HASTY.timeout_s) + 2):
        await scene.stack.later(1.0, scene.worker.beat(scene.ref, free=0), scene.worker.progress(scene.grant))


async def stall(scene: Scene) -> None:
    """Its worker is there, and nothing comes."""
    for _ in range(int(HASTY.stall_timeout_s) + 2):
        await scene.stack.later(1.0, scene.worker.beat(scene.ref, free=0))


async def deadline(scene: Scene) -> None:
    """Long before any other time is over."""
    assert HASTY.deadline_at_ms is not None
    await scene.stack.later((HASTY.deadline_at_ms - scene.stack.clock().wall_ms) / 1000, step_s=0.1)


async def cancel_again(scene: Scene) -> None:
    await scene.do(scene.stack.cancellation(scene.grant.job_id, "again"))


#: Times that end an attempt soon; the deadline is the first of all.
BEGUN_MS = Stack().clock().wall_ms
HASTY = Terms(timeout_s=6.0, first_token_timeout_s=4.0, stall_timeout_s=4.0, deadline_at_ms=BEGUN_MS + 2_000)
NO_DEADLINE = replace(HASTY, deadline_at_ms=None)
TERMS: dict[Act, Terms] = {timeout: NO_DEADLINE, stall: NO_DEADLINE, deadline: HASTY}

AT_WORK = {"assigned": assigned, "running": running}
ASKED = {"assigned and asked": asked_unstarted, "running and asked": asked}
ENDED = {"completed": completed, "failed": failed, "aborted": aborted}
UNCHANGED = "unchanged"

#: For each event: what a job at work becomes, one that was asked to stop, one that has ended.
CANCEL: dict[Act, tuple[str | None, str | None, str | None]] = {
    completion: ("completed", "completed, request shown", UNCHANGED),
    job_failed: ("failed input_too_large", "failed aborted", UNCHANGED),
    job_failed_for_now: ("pending", "failed aborted", UNCHANGED),
    job_stopped: ("failed worker_lost", "failed aborted", UNCHANGED),
    lease_end: ("pending", "failed aborted", UNCHANGED),
    grace_over: ("pending", "failed aborted", UNCHANGED),
    socket_lost: ("pending", "failed aborted", UNCHANGED),
    job_reject: ("pending", "failed aborted", UNCHANGED),
    drain: ("pending", "failed aborted", UNCHANGED),
    stop_ack_timeout: (None, "failed aborted", UNCHANGED),
    timeout: ("failed timeout", "failed aborted", UNCHANGED),
    stall: ("failed stalled", "failed aborted", UNCHANGED),
    deadline: ("failed deadline", "failed aborted", UNCHANGED),
    cancel_again: ("cancel requested", "cancel requested", UNCHANGED),
}


#: What has not started has no timeout that runs.
IMPOSSIBLE = {(timeout, "assigned"), (timeout, "assigned and asked")}


def _cancel_cells() -> dict[str, tuple[Act, Act, str]]:
    found = {}
    for event, columns in CANCEL.items():
        for places, expected in zip((AT_WORK, ASKED, ENDED), columns, strict=True):
            for name, place in places.items():
                if expected is not None and (event, name) not in IMPOSSIBLE:
                    found[f"{event.__name__.replace('_', ' ')}, {name}"] = (place, event, expected)
    return found


@pytest.mark.parametrize(("place", "event", "becomes"), cells(_cancel_cells()))
async def test_what_an_event_does_to_a_job(scene: Scene, place: Act, event: Act, becomes: str) -> None:
    scene.terms = TERMS.get(event, DEFAULT_TERMS)
    await place(scene)
    before = await scene.job()
    await event(scene)
    if becomes == UNCHANGED:
        assert before.status in TERMINAL
        assert await scene.job() == before
    else:
        assert await scene.outcome() == becomes


@pytest.mark.parametrize(
    ("event", "becomes"), [(job_failed_for_now, "failed worker_error"), (lease_end, "failed worker_lost")]
)
async def test_p08_after_the_last_try_a_job_fails_for_what_ended_that(scene: Scene, event: Act, becomes: str) -> None:
    scene.terms = Terms(max_attempts=1)
    await running(scene)
    await event(scene)
    assert await scene.outcome() == becomes


async def run_again(scene: Scene) -> ReplyCode:
    command = RunAgain(ref=scene.stack.next_ref(), job=header_of(await scene.job()))
    await scene.do(command)
    return scene.stack.last(Reply).code


@pytest.mark.parametrize("place", [failed, aborted], ids=lambda one: one.__name__)
async def test_retry_leads_out_of_failed_to_the_next_epoch_with_no_try_counted(scene: Scene, place: Act) -> None:
    await place(scene)
    assert await run_again(scene) is ReplyCode.OK
    job = await scene.job()
    assert (job.id, job.status, job.epoch, job.tries, job.cancel) == (scene.grant.job_id, "assigned", 2, 0, None)


@pytest.mark.parametrize("place", [assigned, running, asked], ids=lambda one: one.__name__)
async def test_retry_of_a_job_that_has_not_ended_changes_nothing(scene: Scene, place: Act) -> None:
    await place(scene)
    before = await scene.job()
    assert await run_again(scene) is ReplyCode.NOT_FAILED
    assert await scene.job() == before


async def test_retry_never_leads_out_of_completed(scene: Scene) -> None:
    await completed(scene)
    with pytest.raises(Refused):
        await run_again(scene)


async def test_retry_is_refused_while_everything_is_stopped(scene: Scene) -> None:
    await failed(scene)
    await scene.do(StopTenant(ref=scene.stack.next_ref(), tenant=defaults.TENANT, by="owner"))
    assert await run_again(scene) is ReplyCode.STOPPED
    assert (await scene.job()).status is JobStatus.FAILED


@pytest.mark.parametrize("event", [job_reject, drain], ids=lambda one: one.__name__)
@pytest.mark.parametrize("place", AT_WORK.values(), ids=AT_WORK)
async def test_p12_what_a_worker_gives_back_is_no_try(scene: Scene, place: Act, event: Act) -> None:
    await place(scene)
    await event(scene)
    job = await scene.job()
    assert (job.tries, [one.counted for one in job.attempts]) == (0, [False])


@pytest.mark.parametrize(
    ("place", "verdict"),
    [(completed, "accepted"), (failed, "stale"), (aborted, "stale")],
    ids=lambda one: getattr(one, "__name__", one),
)
async def test_p04_what_the_worker_of_an_ended_job_hears_of_its_result(scene: Scene, place: Act, verdict: str) -> None:
    await place(scene)
    await completion(scene)
    assert await scene.verdict() == verdict


async def test_p10_a_repeated_cancel_is_answered_as_the_first(scene: Scene) -> None:
    await asked(scene)
    first = scene.stack.last(Reply)
    await cancel_again(scene)
    again = scene.stack.last(Reply)
    assert (again.status, again.cancel) == (first.status, first.cancel)


async def test_p10_the_slot_of_an_unanswered_stop_is_busy_until_the_worker_reports(scene: Scene) -> None:
    await asked(scene)
    await stop_ack_timeout(scene)
    waiting = await scene.stack.submit("next")
    assert (await scene.stack.job(waiting)).status is JobStatus.PENDING
    await scene.do(scene.worker.stopped(scene.grant))
    assert (await scene.stack.job(waiting)).status is JobStatus.ASSIGNED


@pytest.mark.parametrize("event", [timeout, stall])
async def test_p07_timeout_and_stall_do_not_end_what_waits(scene: Scene, event: Act) -> None:
    await running(scene)
    scene.terms = NO_DEADLINE
    waiting = await scene.stack.submit("next", terms=NO_DEADLINE)
    await event(scene)
    assert (await scene.stack.job(waiting)).status is JobStatus.PENDING


async def test_p07_its_deadline_ends_a_job_that_waits(scene: Scene) -> None:
    await running(scene)
    waiting = await scene.stack.submit("next", terms=HASTY)
    await deadline(scene)
    job = await scene.stack.job(waiting)
    assert job.failure is not None
    assert (job.status, job.failure.code, job.attempts) == ("failed", "deadline", ())


@pytest.mark.parametrize("event", [timeout, stall, deadline], ids=lambda one: one.__name__)
async def test_p07_a_worker_is_told_to_stop_what_has_no_time_left(scene: Scene, event: Act) -> None:
    scene.terms = TERMS[event]
    await running(scene)
    await event(scene)
    stop = scene.stack.last(StopAttempt)
    assert (stop.job_id, stop.epoch) == scene.ref


async def test_p10_a_pending_job_that_is_cancelled_ends_in_the_same_commit(scene: Scene) -> None:
    await running(scene)
    waiting = await scene.stack.submit("next")
    scene.stack.writes.clear()
    await scene.do(scene.stack.cancellation(waiting))
    assert [type(one).__name__ for one in scene.stack.writes] == ["FailJob"]
    job = await scene.stack.job(waiting)
    assert job.failure is not None
    assert (job.status, job.failure.code) == ("failed", "aborted")
