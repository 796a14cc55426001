"""The tables of the lifecycle, every cell as one case against the real coordinator: resume, cancel, crash windows.

A cell is a place (what is stored), something that happens there, and what is seen then. NOT_YET names the cells whose
feature does not exist: one that holds nevertheless fails, so that the list can only shrink.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.commands import Command, RunAgain, StopTenant
from cavvy.core.effects import (
    Assign,
    CloseSession,
    CompletionAnswered,
    HeartbeatAnswered,
    Registered,
    Reply,
    ReplyCode,
    StopAttempt,
    Verdict,
)
from cavvy.core.job import DEFAULT_TERMS, TERMINAL, AttemptRef, JobStatus, Terms
from cavvy.core.worker_status import WorkerAction
from cavvy.core.writes import Usage
from cavvy.errors import Refused
from cavvy.store.base import JobRecord, header_of
from cavvy.testing import FakeWorker, Stack

#: What a later issue brings; see the module's docstring.
NOT_YET: dict[str, str] = {
    "crash: a child's end": "fan-out",
}


class Scene:
    """One worker with one slot, one job, and what has become of both."""

    def __init__(self) -> None:
        self.stack = Stack()
        self.worker = FakeWorker(self.stack)
        self.terms = DEFAULT_TERMS
        self.grant: Assign

    async def open(self) -> None:
        await self.stack.start()
        await self.worker.join()

    async def submit(self) -> None:
        """A job that the worker is granted at once, as `terms` say."""
        command = self.stack.submission(terms=self.terms)
        await self.stack.do(command)
        self.grant = self.stack.assigned(command.id)

    @property
    def ref(self) -> AttemptRef:
        return self.worker.ref(self.grant)

    async def job(self) -> JobRecord:
        return await self.stack.job(self.grant.job_id)

    async def do(self, *commands: Command) -> None:
        await self.stack.do(*commands)

    async def later(self, seconds: float) -> None:
        """Time passes; the worker's socket is heard of, the attempt is not."""
        for _ in range(int(seconds / 2)):
            await self.stack.later(2.0)
            session = self.stack.core._board.fleet.get(self.worker.session)
            if session is not None:
                session.last_heard_s = self.stack.clock().mono_s

    async def outcome(self) -> str:
        """The job as the cancel table calls it."""
        job = await self.job()
        if job.failure is not None:
            return f"failed {job.failure.code}"
        if job.cancel is not None:
            return "completed, request shown" if job.status is JobStatus.COMPLETED else "cancel requested"
        return job.status

    async def verdict(self) -> str:
        """The newest answer to a result; the core leaves what is not live to the store, as here."""
        answer = self.stack.last(CompletionAnswered)
        return await self._resolved(answer.verdict, AttemptRef(answer.job_id, answer.epoch))

    async def _resolved(self, verdict: Verdict, ref: AttemptRef) -> str:
        if verdict is not Verdict.UNKNOWN:
            return verdict
        stored = await self.stack.store.accepted(*ref)
        return Verdict.ACCEPTED if stored == (self.worker.key, True) else Verdict.STALE

    async def die_before_commit(self, *commands: Command) -> None:
        """Decided, not written; the process is killed and starts again."""
        now = self.stack.clock()
        for command in commands:
            self.stack.core.handle(command, now)
        self.stack.core.tick(now)
        await self.stack.restart()

    async def die_after_commit(self, *commands: Command) -> None:
        """Written; the process is killed before anybody hears of it, and starts again."""
        effects = len(self.stack.effects)
        await self.stack.do(*commands)
        del self.stack.effects[effects:]
        await self.stack.restart()


Act = Callable[[Scene], Awaitable[None]]


# What is stored when the worker turns up with its attempt, or without it


async def assigned(scene: Scene) -> None:
    await scene.submit()


async def running(scene: Scene) -> None:
    await scene.submit()
    await scene.do(scene.worker.started(scene.grant))
    await scene.stack.later(defaults.LAZY_WRITE_S)


async def lost(scene: Scene) -> None:
    """Its lease has ended, nobody else has the job, and it cannot be granted: the slot is not free."""
    await running(scene)
    await scene.do(scene.worker.beat(free=0))
    await scene.later(defaults.LEASE_TTL_S + 2 * defaults.SWEEP_S)
    assert (await scene.job()).status is JobStatus.PENDING


async def asked(scene: Scene) -> None:
    await running(scene)
    await scene.do(scene.stack.cancellation(scene.grant.job_id))


async def asked_unstarted(scene: Scene) -> None:
    await assigned(scene)
    await scene.do(scene.stack.cancellation(scene.grant.job_id))


async def revoked(scene: Scene) -> None:
    await running(scene)
    await scene.do(scene.stack.management(scene.worker.key, WorkerAction.REVOKE))


async def unpaired(scene: Scene) -> None:
    """A PRIVATE job ran here, and its user does not trust this worker any more."""
    await scene.do(scene.stack.pairing(scene.worker.key))
    command = scene.stack.submission(private=True)
    await scene.do(command)
    scene.grant = scene.stack.assigned(command.id)
    await scene.do(scene.worker.started(scene.grant))
    await scene.stack.later(defaults.LAZY_WRITE_S)
    await scene.do(scene.stack.unpairing(scene.worker.key))


async def completed(scene: Scene) -> None:
    await running(scene)
    await scene.do(await scene.worker.completed(scene.grant))


async def failed(scene: Scene) -> None:
    await running(scene)
    await scene.do(scene.worker.failed(scene.grant, "input_too_large"))
    assert (await scene.job()).status is JobStatus.FAILED


async def aborted(scene: Scene) -> None:
    await asked(scene)
    await scene.do(scene.worker.stopped(scene.grant))


async def granted_to_another(scene: Scene) -> None:
    await lost(scene)
    other = FakeWorker(scene.stack, "other")
    await other.join()
    assert scene.stack.assigned(scene.grant.job_id).epoch == 2


async def never_heard_of(scene: Scene) -> None:
    await scene.submit()
    await scene.do(await scene.worker.completed(scene.grant))
    scene.grant = replace(scene.grant, job_id="00000000-0000-7000-8000-00000000ffff")


# The resume table: what the worker is told, however it turns up


async def at_register(scene: Scene) -> str:
    await scene.worker.disconnect()
    answer = await scene.worker.connect(held=(scene.ref,))
    return await _registered(scene, answer)


async def at_register_finished(scene: Scene) -> str:
    await scene.worker.disconnect()
    answer = await scene.worker.connect(finished=(scene.ref,))
    return await _registered(scene, answer)


async def at_register_after_restart(scene: Scene) -> str:
    await scene.stack.restart()
    answer = await scene.worker.connect(held=(scene.ref,))
    return await _registered(scene, answer)


async def _registered(scene: Scene, answer: Registered) -> str:
    if answer.code is not ReplyCode.OK:
        return answer.code
    (entry,) = answer.resume
    return await scene._resolved(entry.verdict, scene.ref)


async def at_heartbeat(scene: Scene) -> str:
    scene.stack.effects.clear()
    await scene.do(scene.worker.beat(scene.ref, free=0))
    return _told(scene)


async def at_rebuild(scene: Scene) -> str:
    await scene.stack.rebuild()
    scene.stack.effects.clear()
    await scene.do(scene.worker.resumed(scene.ref))
    return _told(scene)


def _told(scene: Scene) -> str:
    """What a worker hears that is online: silence is "go on"; a stop of a stale attempt looks like any other."""
    closed = scene.stack.all(CloseSession)
    if closed:
        return f"closed {closed[-1].code}"
    if any(scene.ref in one.lost for one in scene.stack.all(HeartbeatAnswered)):
        return "stale"
    if any((one.job_id, one.epoch) == scene.ref for one in scene.stack.all(StopAttempt)):
        return "stop"
    heard = scene.stack.core._board.fleet.get(scene.worker.session) is not None
    return "go_on" if heard else "nobody is there"


Way = Callable[[Scene], Awaitable[str]]
REGISTER, BEAT, REBUILD = at_register, at_heartbeat, at_rebuild

#: What is stored, and for each way of turning up: what the worker is told, what the job is then.
RESUME: dict[str, tuple[Act, dict[Way, tuple[str, str]]]] = {
    "assigned": (
        assigned,
        {
            REGISTER: ("go_on", "assigned"),
            at_register_after_restart: ("go_on", "assigned"),
            BEAT: ("go_on", "assigned"),
            REBUILD: ("go_on", "assigned"),
        },
    ),
    "running": (
        running,
        {
            REGISTER: ("go_on", "running"),
            at_register_after_restart: ("go_on", "running"),
            BEAT: ("go_on", "running"),
            REBUILD: ("go_on", "running"),
        },
    ),
    "pending, lost": (
        lost,
        {
            REGISTER: ("go_on", "running"),
            at_register_after_restart: ("go_on", "running"),
            at_register_finished: ("go_on", "running"),
            BEAT: ("go_on", "running"),
            REBUILD: ("go_on", "running"),
        },
    ),
    "cancel_requested": (
        asked,
        {
            REGISTER: ("stop", "cancel requested"),
            at_register_after_restart: ("stop", "cancel requested"),
            at_register_finished: ("go_on", "cancel requested"),  # the first committed end wins: it may still complete
            BEAT: ("stop", "cancel requested"),
            REBUILD: ("stop", "cancel requested"),
        },
    ),
    "unpaired": (
        unpaired,
        {
            REGISTER: ("stale", "pending"),
            at_register_after_restart: ("stale", "pending"),
            at_register_finished: ("stale", "pending"),
            BEAT: ("stale", "pending"),
            REBUILD: ("stop", "pending"),
        },
    ),
    "worker revoked": (
        revoked,
        {
            REGISTER: ("worker_revoked", "pending"),
            at_register_after_restart: ("worker_revoked", "pending"),
            BEAT: ("nobody is there", "pending"),
            REBUILD: ("closed 4403", "pending"),
        },
    ),
    "accepted": (
        completed,
        {
            REGISTER: ("accepted", "completed"),
            at_register_after_restart: ("accepted", "completed"),
            at_register_finished: ("accepted", "completed"),
        },
    ),
    "higher epoch": (
        granted_to_another,
        {
            REGISTER: ("stale", "assigned"),
            at_register_after_restart: ("stale", "assigned"),
            at_register_finished: ("stale", "assigned"),
            BEAT: ("stale", "assigned"),
            REBUILD: ("stop", "assigned"),
        },
    ),
    "terminal": (
        aborted,
        {
            REGISTER: ("stale", "failed aborted"),
            at_register_after_restart: ("stale", "failed aborted"),
            at_register_finished: ("stale", "failed aborted"),
            BEAT: ("stale", "failed aborted"),
            REBUILD: ("stop", "failed aborted"),
        },
    ),
    "unknown job": (
        never_heard_of,
        {
            REGISTER: ("stale", "unknown"),
            at_register_after_restart: ("stale", "unknown"),
            at_register_finished: ("stale", "unknown"),
            BEAT: ("stale", "unknown"),
            REBUILD: ("stop", "unknown"),
        },
    ),
}


def cells(table: str, rows: dict[str, Any]) -> list[Any]:
    """A case for each cell, named by the table and the cell; one that is not built yet is expected to fail."""
    found = []
    for name, cell in rows.items():
        full = f"{table}: {name}"
        marks = [pytest.mark.xfail(strict=True, reason=NOT_YET[full])] if full in NOT_YET else []
        NAMED.add(full)
        found.append(pytest.param(*cell, id=name, marks=marks))
    return found


NAMED: set[str] = set()


def _way(way: Way) -> str:
    return way.__name__.replace("_", " ")


RESUME_CELLS = {
    f"{row}, {_way(way)}": (place, way, *expected)
    for row, (place, ways) in RESUME.items()
    for way, expected in ways.items()
}


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    await scene.open()
    return scene


@pytest.mark.parametrize(("place", "way", "told", "becomes"), cells("resume", RESUME_CELLS))
async def test_what_is_answered_about_a_held_attempt(
    scene: Scene, place: Act, way: Way, told: str, becomes: str
) -> None:
    await place(scene)
    assert await way(scene) == told
    if becomes != "unknown":
        assert await scene.outcome() == becomes


async def test_p13_what_goes_on_may_deliver_in_its_attempt(scene: Scene) -> None:
    await lost(scene)
    assert await at_register_finished(scene) == "go_on"
    await scene.do(await scene.worker.completed(scene.grant))
    job = await scene.job()
    assert (await scene.verdict(), job.status, job.accepted_epoch, job.tries) == ("accepted", "completed", 1, 0)


#: Granted to this worker and not held by it: who turns up, after what; what becomes of the attempt.
NOT_HELD: dict[str, tuple[Act, str, tuple[str, bool] | None]] = {
    "same instance, never started": (assigned, "worker-1", None),
    "same instance, started": (running, "worker-1", ("lost", True)),
    "other instance, never started": (assigned, "worker-2", ("lost", False)),
    "other instance, started": (running, "worker-2", ("lost", True)),
    "other instance, cancel requested": (asked, "worker-2", ("aborted", False)),
}


@pytest.mark.parametrize(("place", "instance", "end"), cells("resume, not held", NOT_HELD))
async def test_what_becomes_of_a_grant_that_its_worker_does_not_hold(
    scene: Scene, place: Act, instance: str, end: tuple[str, bool] | None
) -> None:
    await place(scene)
    scene.stack.effects.clear()
    await scene.worker.disconnect()
    await scene.worker.connect(instance=instance)
    job = await scene.job()
    first = job.attempts[0]
    if end is None:
        assert scene.stack.assigned(job.id).epoch == 1, "sent again, same epoch"
        assert first.end is None
    else:
        assert (first.end, first.counted) == end
        assert job.tries == end[1]


# The cancel table: what an event does to a job that is at work, was asked to stop, or has ended


async def completion(scene: Scene) -> None:
    await scene.do(await scene.worker.completed(scene.grant))


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


@pytest.mark.parametrize(("place", "event", "becomes"), cells("cancel", _cancel_cells()))
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


# Crash windows: killed at the worst moment, healed as the table says


async def the_201_is_lost(scene: Scene) -> None:
    """The same key finds the job, in the store and, if nobody looks there, by the store's own refusal."""
    command = scene.stack.submission(key="once")
    await scene.die_after_commit(command)
    found = await scene.stack.store.idempotent(defaults.TENANT, ["once"], not_before_ms=0)
    assert found["once"].job_id == command.id
    with pytest.raises(Refused):
        await scene.do(scene.stack.submission(key="once"))
    jobs = await scene.stack.store.jobs(defaults.TENANT, before=None, limit=10)
    assert [one.id for one in jobs] == [command.id]


async def the_commit_of_a_submit_is_lost(scene: Scene) -> None:
    await scene.die_before_commit(scene.stack.submission(key="once"))
    again = await scene.stack.submit(key="once")
    assert [one.id for one in await scene.stack.store.jobs(defaults.TENANT, before=None, limit=10)] == [again]


async def a_grant_was_not_sent(scene: Scene) -> None:
    command = scene.stack.submission()
    await scene.die_after_commit(command)
    await scene.worker.connect()
    scene.grant = scene.stack.assigned(command.id)
    await scene.do(await scene.worker.completed(scene.grant))
    job = await scene.job()
    assert (job.status, job.tries) == ("completed", 0)


async def a_grant_was_not_sent_and_its_worker_stays_away(scene: Scene) -> None:
    command = scene.stack.submission()
    await scene.die_after_commit(command)
    await scene.stack.later(defaults.RESTART_GRACE_S + 2 * defaults.SWEEP_S)
    job = await scene.stack.job(command.id)
    assert (job.status, job.tries) == ("pending", 0)


async def a_result_was_not_written(scene: Scene) -> None:
    await running(scene)
    await scene.die_before_commit(await scene.worker.completed(scene.grant))
    assert (await scene.job()).status is JobStatus.RUNNING
    assert await _registered(scene, await scene.worker.connect(finished=(scene.ref,))) == "go_on"
    await completion(scene)
    assert (await scene.verdict(), (await scene.job()).accepted_epoch) == ("accepted", 1)


async def a_result_was_not_acknowledged(scene: Scene) -> None:
    await running(scene)
    await scene.die_after_commit(await scene.worker.completed(scene.grant))
    stored = await scene.job()
    assert await _registered(scene, await scene.worker.connect(finished=(scene.ref,))) == "accepted"
    await completion(scene)
    assert (await scene.verdict(), await scene.job()) == ("accepted", stored)


async def a_cancel_was_not_pushed(scene: Scene) -> None:
    await running(scene)
    await scene.die_after_commit(scene.stack.cancellation(scene.grant.job_id))
    assert await _registered(scene, await scene.worker.connect(held=(scene.ref,))) == "stop"
    await scene.do(scene.worker.stopped(scene.grant))
    assert await scene.outcome() == "failed aborted"


async def a_cancel_of_a_pending_job_was_not_pushed(scene: Scene) -> None:
    """The worker of its lost attempt still runs it."""
    await lost(scene)
    await scene.die_after_commit(scene.stack.cancellation(scene.grant.job_id))
    assert await _registered(scene, await scene.worker.connect(held=(scene.ref,))) == "stale"
    assert await at_heartbeat(scene) == "stale"
    assert await scene.outcome() == "failed aborted"


async def a_stop_was_not_pushed(scene: Scene) -> None:
    """Of all the tenant has: the one that runs is told when its worker comes back, the one that waits never starts."""
    await running(scene)
    waiting = await scene.stack.submit("next")
    stop = StopTenant(ref=scene.stack.next_ref(), tenant=defaults.TENANT, by="owner")
    await scene.die_after_commit(stop)
    assert await _registered(scene, await scene.worker.connect(held=(scene.ref,))) == "stop"
    await scene.do(scene.worker.stopped(scene.grant))
    assert await scene.outcome() == "failed aborted"
    job = await scene.stack.job(waiting)
    assert job.failure is not None
    assert (job.failure.code, job.attempts) == ("aborted", ())
    await scene.do(scene.stack.submission("new"))
    assert scene.stack.last(Reply).code is ReplyCode.STOPPED, "the latch holds"


async def a_revocation_was_not_pushed(scene: Scene) -> None:
    await running(scene)
    await scene.die_after_commit(scene.stack.management(scene.worker.key, WorkerAction.REVOKE))
    assert await _registered(scene, await scene.worker.connect(held=(scene.ref,))) == "worker_revoked"
    assert await scene.outcome() == "pending"


async def an_attempts_end_was_not_written(scene: Scene) -> None:
    """Its end and what it used are one commit: neither is there."""
    await asked(scene)
    await scene.die_before_commit(scene.worker.stopped(scene.grant))
    (attempt,) = (await scene.job()).attempts
    assert (attempt.end, attempt.usage) == (None, None)


async def an_attempts_end_was_not_told(scene: Scene) -> None:
    """Its end and what it used are one commit: both are there."""
    await asked(scene)
    await scene.die_after_commit(scene.worker.stopped(scene.grant))
    (attempt,) = (await scene.job()).attempts
    assert (attempt.end, attempt.usage) == ("aborted", Usage(output_tokens=3))


async def a_childs_end(scene: Scene) -> None:
    raise NotImplementedError("there is no fan-out")


CRASHES: dict[str, tuple[Act]] = {
    "commit, before the 201": (the_201_is_lost,),
    "submit, before its commit": (the_commit_of_a_submit_is_lost,),
    "commit of a grant, before job_assign": (a_grant_was_not_sent,),
    "commit of a grant, its worker stays away": (a_grant_was_not_sent_and_its_worker_stays_away,),
    "job_complete received, before its commit": (a_result_was_not_written,),
    "commit of the completion, before the ack": (a_result_was_not_acknowledged,),
    "cancel committed, before the push": (a_cancel_was_not_pushed,),
    "cancel of a pending job committed": (a_cancel_of_a_pending_job_was_not_pushed,),
    "stop committed, before the push": (a_stop_was_not_pushed,),
    "revocation committed, before the push": (a_revocation_was_not_pushed,),
    "end of an attempt, before its commit": (an_attempts_end_was_not_written,),
    "end of an attempt, after its commit": (an_attempts_end_was_not_told,),
    "a child's end": (a_childs_end,),
}


@pytest.mark.parametrize("play", cells("crash", CRASHES))
async def test_a_crash_window_is_healed(scene: Scene, play: Act) -> None:
    await play(scene)


def test_what_is_not_built_yet_names_cells_that_there_are() -> None:
    assert NOT_YET.keys() <= NAMED
