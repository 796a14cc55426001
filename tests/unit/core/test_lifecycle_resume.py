"""The resume table of the lifecycle, every cell as one case: what a worker hears of an attempt it has.

A cell is a place (what is stored), something that happens there, and what is seen then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.unit.core.scene import (
    Act,
    Scene,
    aborted,
    asked,
    assigned,
    at_heartbeat,
    cells,
    completed,
    granted_to_another,
    lost,
    never_heard_of,
    registered,
    revoked,
    running,
    unpaired,
    what_was_told,
)


async def at_register(scene: Scene) -> str:
    await scene.worker.disconnect()
    answer = await scene.worker.connect(held=(scene.ref,))
    return await registered(scene, answer)


async def at_register_finished(scene: Scene) -> str:
    await scene.worker.disconnect()
    answer = await scene.worker.connect(finished=(scene.ref,))
    return await registered(scene, answer)


async def at_register_after_restart(scene: Scene) -> str:
    await scene.stack.restart()
    answer = await scene.worker.connect(held=(scene.ref,))
    return await registered(scene, answer)


async def at_rebuild(scene: Scene) -> str:
    await scene.stack.rebuild()
    scene.stack.effects.clear()
    await scene.do(scene.worker.resumed(scene.ref))
    return what_was_told(scene)


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


def _way(way: Way) -> str:
    return way.__name__.replace("_", " ")


RESUME_CELLS = {
    f"{row}, {_way(way)}": (place, way, *expected)
    for row, (place, ways) in RESUME.items()
    for way, expected in ways.items()
}


@pytest.mark.parametrize(("place", "way", "told", "becomes"), cells(RESUME_CELLS))
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


@pytest.mark.parametrize(("place", "instance", "end"), cells(NOT_HELD))
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
