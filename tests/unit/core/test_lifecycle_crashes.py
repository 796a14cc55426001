"""The crash windows of the lifecycle, one case each: killed at the worst moment, healed as the table says.

A cell is a place (what is stored), something that happens there, and what is seen then.
"""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.core.commands import StopTenant
from cavvy.core.effects import Reply, ReplyCode
from cavvy.core.job import JobStatus
from cavvy.core.worker_status import WorkerAction
from cavvy.core.writes import Usage
from cavvy.errors import Refused
from tests.unit.core.scene import Act, Scene, asked, at_heartbeat, cells, completion, lost, registered, running


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
    assert await registered(scene, await scene.worker.connect(finished=(scene.ref,))) == "go_on"
    await completion(scene)
    assert (await scene.verdict(), (await scene.job()).accepted_epoch) == ("accepted", 1)


async def a_result_was_not_acknowledged(scene: Scene) -> None:
    await running(scene)
    await scene.die_after_commit(await scene.worker.completed(scene.grant))
    stored = await scene.job()
    assert await registered(scene, await scene.worker.connect(finished=(scene.ref,))) == "accepted"
    await completion(scene)
    assert (await scene.verdict(), await scene.job()) == ("accepted", stored)


async def a_cancel_was_not_pushed(scene: Scene) -> None:
    await running(scene)
    await scene.die_after_commit(scene.stack.cancellation(scene.grant.job_id))
    assert await registered(scene, await scene.worker.connect(held=(scene.ref,))) == "stop"
    await scene.do(scene.worker.stopped(scene.grant))
    assert await scene.outcome() == "failed aborted"


async def a_cancel_of_a_pending_job_was_not_pushed(scene: Scene) -> None:
    """The worker of its lost attempt still runs it."""
    await lost(scene)
    await scene.die_after_commit(scene.stack.cancellation(scene.grant.job_id))
    assert await registered(scene, await scene.worker.connect(held=(scene.ref,))) == "stale"
    assert await at_heartbeat(scene) == "stale"
    assert await scene.outcome() == "failed aborted"


async def a_stop_was_not_pushed(scene: Scene) -> None:
    """Of all the tenant has: the one that runs is told when its worker comes back, the one that waits never starts."""
    await running(scene)
    waiting = await scene.stack.submit("next")
    stop = StopTenant(ref=scene.stack.next_ref(), tenant=defaults.TENANT, by="owner")
    await scene.die_after_commit(stop)
    assert await registered(scene, await scene.worker.connect(held=(scene.ref,))) == "stop"
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
    assert await registered(scene, await scene.worker.connect(held=(scene.ref,))) == "worker_revoked"
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


#: What a later issue brings.
NOT_YET = {"a child's end": "fan-out"}

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


@pytest.mark.parametrize("play", cells(CRASHES, NOT_YET))
async def test_a_crash_window_is_healed(scene: Scene, play: Act) -> None:
    await play(scene)
