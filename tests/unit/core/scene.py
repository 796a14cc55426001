"""Where the cells of the lifecycle's tables play: a worker, its job, and the places both may have come to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.commands import Command
from cavvy.core.effects import (
    Assign,
    CloseSession,
    CompletionAnswered,
    HeartbeatAnswered,
    Registered,
    ReplyCode,
    StopAttempt,
    Verdict,
)
from cavvy.core.job import DEFAULT_TERMS, AttemptRef, JobStatus
from cavvy.core.worker_status import WorkerAction
from cavvy.store.base import JobRecord
from cavvy.testing import FakeWorker, Stack


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


async def registered(scene: Scene, answer: Registered) -> str:
    if answer.code is not ReplyCode.OK:
        return answer.code
    (entry,) = answer.resume
    return await scene._resolved(entry.verdict, scene.ref)


async def at_heartbeat(scene: Scene) -> str:
    scene.stack.effects.clear()
    await scene.do(scene.worker.beat(scene.ref, free=0))
    return what_was_told(scene)


def what_was_told(scene: Scene) -> str:
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


async def completion(scene: Scene) -> None:
    await scene.do(await scene.worker.completed(scene.grant))


def cells(rows: dict[str, Any], not_yet: Mapping[str, str] = MappingProxyType({})) -> list[Any]:
    """A case for each cell. Those of `not_yet` lack a feature: one that holds nevertheless fails, so that the list can
    only shrink.
    """
    assert not_yet.keys() <= rows.keys()
    marks = {name: pytest.mark.xfail(strict=True, reason=reason) for name, reason in not_yet.items()}
    return [pytest.param(*cell, id=name, marks=marks.get(name, ())) for name, cell in rows.items()]
