"""Jobs that came over Dispatch's commit routes: who gets them, and how long they are looked for."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.commands import RunAgain
from cavvy.core.effects import Assign, Reply, ReplyCode, StopAttempt
from cavvy.core.job import AttemptEnd, Effort, FailureCode, JobStatus, JobType, Needs, Policy, Terms
from cavvy.core.prices import PRICES, policy_of, price_of
from cavvy.core.ready import favourite
from cavvy.store.base import header_of
from cavvy.testing import FakeWorker, Stack

BOTH = frozenset(JobType)
LATE_S = defaults.SWEEP_S + 0.5


@pytest.fixture
async def stack() -> Stack:
    stack = Stack()
    await stack.start(grace=False)
    return stack


async def joined(stack: Stack, name: str, *, slots: int = 1, **profile: Any) -> FakeWorker:
    """A worker that says this of itself."""
    worker = FakeWorker(stack, name, slots=slots)
    said = worker.registration(token_hash=await stack.token())
    await stack.do(replace(said, profile=replace(said.profile, **{"job_types": BOTH, **profile})))
    return worker


async def committed(
    stack: Stack, policy: Policy | None, job_type: JobType = JobType.TASK, *, within_s: float = 60.0, **fields: Any
) -> str:
    """A job as the commit routes make them; its id."""
    terms = Terms(
        timeout_s=within_s,
        match_window_s=30,
        deadline_at_ms=stack.clock().wall_ms + int(within_s * 1000),
    )
    said = replace(
        stack.submission(**fields), needs=Needs(tenant="default", job_type=job_type, policy=policy), terms=terms
    )
    effects = await stack.do(said)
    (reply,) = [one for one in effects if isinstance(one, Reply)]
    assert reply.job_id is not None
    return reply.job_id


async def idle(stack: Stack, worker: FakeWorker, seconds: int, *held: Assign) -> None:
    """Time passes; the worker's heart beats."""
    for _ in range(seconds):
        await stack.later(1.0, worker.beat(*(worker.ref(one) for one in held)))


# Who gets them


@pytest.mark.parametrize(
    ("policy", "job_type", "kind"),
    [
        (Policy.CHEAP, JobType.TASK, "SEEKER"),
        (Policy.FAST, JobType.TASK, "DESKTOP"),
        (Policy.FAST, JobType.LLM_INFER, "DESKTOP"),
    ],
)
@pytest.mark.parametrize("first", ["SEEKER", "DESKTOP"])
async def test_of_two_that_are_as_free_the_kind_that_the_policy_likes_gets_the_job(
    stack: Stack, policy: Policy, job_type: JobType, kind: str, first: str
) -> None:
    """Whichever of them was idle longer."""
    kinds = [first, *({"SEEKER", "DESKTOP"} - {first})]
    workers = {}
    for one in kinds:
        workers[one] = await joined(stack, one, kind=one)
        stack.clock.advance(0.1)
    job = await committed(stack, policy, job_type)
    assert stack.assigned(job).session == workers[kind].session


@pytest.mark.parametrize(("policy", "job_type"), [(Policy.CHEAP, JobType.LLM_INFER), (None, JobType.TASK)])
@pytest.mark.parametrize("first", ["SEEKER", "DESKTOP"])
async def test_where_no_kind_is_liked_better_the_longest_idle_gets_the_job(
    stack: Stack, policy: Policy | None, job_type: JobType, first: str
) -> None:
    longest = await joined(stack, first, kind=first)
    stack.clock.advance(0.1)
    await joined(stack, "other", kind="DESKTOP" if first == "SEEKER" else "SEEKER")
    job = await committed(stack, policy, job_type)
    assert stack.assigned(job).session == longest.session


async def test_a_kind_that_is_liked_better_and_busier_does_not_get_the_job(stack: Stack) -> None:
    phone = await joined(stack, "phone", kind="SEEKER", slots=2)
    assert stack.assigned(await committed(stack, Policy.CHEAP)).session == phone.session
    computer = await joined(stack, "computer", kind="DESKTOP", slots=2)
    assert stack.assigned(await committed(stack, Policy.CHEAP)).session == computer.session


async def test_a_kind_that_is_liked_better_and_cannot_run_the_job_does_not_get_it(stack: Stack) -> None:
    await joined(stack, "computer", kind="DESKTOP", job_types=frozenset({JobType.LLM_INFER}))
    phone = await joined(stack, "phone", kind="SEEKER", job_types=frozenset({JobType.TASK}))
    assert stack.assigned(await committed(stack, Policy.FAST)).session == phone.session


async def test_the_turn_of_another_job_is_not_passed_over_for_a_kind(stack: Stack) -> None:
    """At the phone it is the critical job's turn: it goes there, and the other one where there is room."""
    urgent = replace(stack.submission(effort=Effort.CRITICAL), needs=Needs(job_type=JobType.TASK, model="mine"))
    await stack.do(urgent)
    cheap = await committed(stack, Policy.CHEAP)
    token, other = await stack.token(), await stack.token()
    desktop, phone = FakeWorker(stack, "computer"), FakeWorker(stack, "phone")
    said = [desktop.registration(token_hash=token), phone.registration(token_hash=other)]
    profiles = [{"kind": "DESKTOP", "models": frozenset({"m"})}, {"kind": "SEEKER", "models": frozenset({"mine"})}]
    await stack.do(
        *(
            replace(one, profile=replace(one.profile, job_types=BOTH, **profile))  # type: ignore[arg-type]
            for one, profile in zip(said, profiles, strict=True)
        )
    )
    assert stack.assigned(urgent.id).session == phone.session
    assert stack.assigned(cheap).session == desktop.session


async def test_many_jobs_fill_the_kind_that_is_liked_first_and_then_the_others(stack: Stack) -> None:
    jobs = [await committed(stack, Policy.CHEAP) for _ in range(4)]
    for name, kind in (("a", "DESKTOP"), ("b", "SEEKER"), ("c", "DESKTOP"), ("d", "SEEKER")):
        await joined(stack, name, kind=kind)
    assert {stack.assigned(job).job_id for job in jobs} == set(jobs)
    assert len({stack.assigned(job).session for job in jobs}) == 4


def test_only_these_policies_like_a_kind_better() -> None:
    liked = {(policy, job_type): favourite(Needs(policy=policy, job_type=job_type))
             for policy in (*Policy, None) for job_type in JobType}  # fmt: skip
    assert liked == {
        (Policy.FAST, JobType.LLM_INFER): "DESKTOP",
        (Policy.FAST, JobType.TASK): "DESKTOP",
        (Policy.CHEAP, JobType.LLM_INFER): None,
        (Policy.CHEAP, JobType.TASK): "SEEKER",
        (None, JobType.LLM_INFER): None,
        (None, JobType.TASK): None,
    }


# How long they are looked for


async def test_a_committed_job_is_assigned_in_the_very_step_that_takes_it(stack: Stack) -> None:
    await joined(stack, "w")
    job = await committed(stack, Policy.FAST)
    (attempt,) = (await stack.job(job)).attempts
    assert attempt.granted_at_ms == (await stack.job(job)).created_at_ms


async def test_a_worker_that_comes_online_takes_a_waiting_job_in_the_very_step_it_comes_in(stack: Stack) -> None:
    job = await committed(stack, Policy.FAST)
    await stack.later(20)
    worker = await joined(stack, "w")
    assert stack.assigned(job).session == worker.session


async def test_running_is_written(stack: Stack) -> None:
    worker = await joined(stack, "w")
    job = await committed(stack, Policy.FAST)
    await stack.do(worker.started(stack.assigned(job)))
    await stack.later(defaults.LAZY_WRITE_S, worker.beat(worker.ref(stack.assigned(job))))
    assert (await stack.job(job)).status is JobStatus.RUNNING


async def test_without_a_worker_for_thirty_seconds_it_fails_as_dispatch_says(stack: Stack) -> None:
    job = await committed(stack, Policy.FAST)
    await stack.later(28)
    assert (await stack.job(job)).status is JobStatus.PENDING
    await stack.later(2 + LATE_S)
    failure = (await stack.job(job)).failure
    assert failure is not None
    assert failure.code is FailureCode.NO_ELIGIBLE_WORKER


async def test_a_task_for_whose_whole_time_no_worker_came_says_that_and_not_that_it_took_too_long(
    stack: Stack,
) -> None:
    await stack.do()  # a sweep: the job's time is over between two
    await stack.later(defaults.SWEEP_S / 2)
    job = await committed(stack, Policy.CHEAP, within_s=30)
    await stack.later(30 + LATE_S)
    failure = (await stack.job(job)).failure
    assert failure is not None
    assert failure.code is FailureCode.NO_ELIGIBLE_WORKER
    assert "For 30 s no worker online could run it" in failure.message


async def test_a_task_that_a_worker_could_have_run_for_a_while_has_taken_too_long(stack: Stack) -> None:
    worker = await joined(stack, "busy")
    grant = stack.assigned(await committed(stack, Policy.CHEAP))
    second = await committed(stack, Policy.CHEAP, within_s=30)
    await idle(stack, worker, 5, grant)
    await worker.disconnect()
    await stack.later(25 + LATE_S)
    failure = (await stack.job(second)).failure
    assert failure is not None
    assert failure.code is FailureCode.TIMEOUT


async def test_a_worker_that_vanishes_leaves_its_job_to_another(stack: Stack) -> None:
    worker = await joined(stack, "w")
    job = await committed(stack, Policy.FAST)
    await stack.do(worker.started(stack.assigned(job)))
    await worker.disconnect()
    other = await joined(stack, "other")
    await stack.later(defaults.REQUEUE_AFTER_S + LATE_S, other.beat())
    await stack.later(defaults.RETRY_BASE_S + LATE_S, other.beat())
    assert stack.assigned(job).session == other.session


@pytest.mark.parametrize(("job_type", "within_s"), [(JobType.LLM_INFER, 60), (JobType.TASK, 30)])
async def test_a_worker_that_never_answers_loses_the_job_when_its_time_is_over_from_the_commit(
    stack: Stack, job_type: JobType, within_s: int
) -> None:
    worker = await joined(stack, "w")
    job = await committed(stack, Policy.FAST, job_type, within_s=within_s)
    grant = stack.assigned(job)
    await idle(stack, worker, 1, grant)
    await stack.do(worker.started(grant))
    await idle(stack, worker, within_s - 2, grant)
    assert (await stack.job(job)).status is JobStatus.RUNNING
    await idle(stack, worker, 1, grant)
    record = await stack.job(job)
    assert record.failure is not None
    assert (record.status, record.failure.code) == (JobStatus.FAILED, FailureCode.TIMEOUT)
    assert f"{within_s} s after its commit" in record.failure.message
    assert stack.last(StopAttempt).job_id == job
    assert record.attempts[0].end is AttemptEnd.DEADLINE


async def test_waiting_behind_a_busy_worker_counts(stack: Stack) -> None:
    worker = await joined(stack, "w")
    first = await stack.submit()
    grant = stack.assigned(first)
    await stack.do(worker.started(grant))
    job = await committed(stack, Policy.CHEAP, within_s=30)
    await idle(stack, worker, 30, grant)
    failure = (await stack.job(job)).failure
    assert failure is not None
    assert failure.code is FailureCode.TIMEOUT


async def test_the_time_goes_on_over_a_restart_and_nothing_is_stuck(stack: Stack) -> None:
    job = await committed(stack, Policy.FAST)
    await stack.restart()
    await stack.later(defaults.RESTART_GRACE_S + 60 + LATE_S)
    assert (await stack.job(job)).status is JobStatus.FAILED


async def test_a_deadline_that_somebody_else_gave_is_called_a_deadline(stack: Stack) -> None:
    job = await committed(stack, None, within_s=10)
    await stack.later(10 + LATE_S)
    failure = (await stack.job(job)).failure
    assert failure is not None
    assert failure.code is FailureCode.DEADLINE


# Run again


async def run_again(stack: Stack, job_id: str) -> ReplyCode:
    await stack.do(RunAgain(ref=900, job=header_of(await stack.job(job_id))))
    return stack.last(Reply).code


async def test_one_that_is_run_again_has_its_whole_time_anew(stack: Stack) -> None:
    job = await committed(stack, Policy.CHEAP, within_s=30)
    await stack.later(300)
    assert await run_again(stack, job) is ReplyCode.OK
    await stack.later(28)
    assert (await stack.job(job)).status is JobStatus.PENDING
    await stack.later(2 + LATE_S)
    failure = (await stack.job(job)).failure
    assert failure is not None
    assert failure.code is FailureCode.NO_ELIGIBLE_WORKER


async def test_its_new_time_outlives_a_restart(stack: Stack) -> None:
    job = await committed(stack, Policy.FAST, within_s=600)
    await stack.later(900)
    assert await run_again(stack, job) is ReplyCode.OK
    await stack.restart()
    await stack.later(5)
    worker = await joined(stack, "w")
    assert stack.assigned(job).session == worker.session


async def test_a_deadline_that_somebody_else_gave_holds_for_the_next_run_too(stack: Stack) -> None:
    job = await committed(stack, None, within_s=10)
    await stack.later(10 + LATE_S)
    assert await run_again(stack, job) is ReplyCode.DEADLINE_PASSED


# What they cost


def test_every_policy_has_a_price_for_every_job_type() -> None:
    assert {(policy, job_type) for policy in Policy for job_type in JobType} == set(PRICES)


def test_auto_is_the_policy_that_dispatch_takes() -> None:
    assert policy_of("AUTO", JobType.LLM_INFER) is Policy.FAST
    assert policy_of("AUTO", JobType.TASK) is Policy.CHEAP
    assert price_of(Policy.CHEAP, JobType.TASK) == "$0.001"


@pytest.mark.parametrize("named", ["fast", "BOGUS", ""])
def test_no_other_policy_is_known(named: str) -> None:
    with pytest.raises(ValueError, match=repr(named)):
        policy_of(named, JobType.TASK)
