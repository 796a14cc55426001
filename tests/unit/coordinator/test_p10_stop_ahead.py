"""A stop holds whatever the store does: before its commit while that fails or hangs, and durably as soon as it can."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from cavvy import defaults
from cavvy.coordinator.engine import StoreUnavailable
from cavvy.core.commands import CancelJob, CancelThread, StopTenant, Undelivered
from cavvy.core.effects import Assign, Reply, ReplyCode, StopAttempt
from cavvy.core.job import AttemptRef, JobStatus
from cavvy.core.latch import StopLatch, Stopped
from cavvy.core.writes import Write
from cavvy.errors import Refused, RolledBack
from cavvy.testing import FakeWorker
from tests.unit.coordinator.test_engine import Rig, _join, _resumed, rig

__all__ = ["rig"]
FULL = RolledBack("the disk is full")


async def settled(rig: Rig) -> None:
    """Lets the engine do what it can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def outage(rig: Rig) -> asyncio.Task[Reply]:
    """A submit whose commit fails, and goes on failing until `fail_commits` is cleared."""
    rig.store.fail_commits = [FULL] * 100_000
    submitting = asyncio.create_task(rig.submit("in the outage"))
    submitting.add_done_callback(lambda done: done.cancelled() or done.exception())
    while rig.engine.shut is None:
        await asyncio.sleep(0)
    return submitting


async def heal(rig: Rig, *errors: Exception) -> None:
    """`errors` are what the next commits raise before the store is well."""
    rig.store.fail_commits = list(errors)
    while rig.engine.shut is not None or rig.store.fail_commits:
        await asyncio.sleep(0)


async def running(rig: Rig) -> tuple[FakeWorker, Assign]:
    worker = FakeWorker(rig.stack)
    await _join(rig, worker)
    await rig.submit()
    grant = await rig.until(Assign)
    assert isinstance(grant, Assign)
    rig.engine.post(worker.started(grant))
    return worker, grant


def stop(rig: Rig, *, latch: bool = True) -> StopTenant:
    return StopTenant(ref=rig.engine.next_ref() + 10_000, tenant="default", by="ann", reason="wild", latch=latch)


def told(rig: Rig) -> list[str]:
    return [one.job_id for one in rig.outlet.effects if isinstance(one, StopAttempt)]


async def stored_latch(rig: Rig) -> StopLatch | None:
    rows = [row async for page in rig.store.load() for row in page]
    return next((row for row in rows if isinstance(row, StopLatch)), None)


async def test_p10_while_the_store_fails_a_stop_is_told_at_once_and_says_that_it_is_not_durable(rig: Rig) -> None:
    _, grant = await running(rig)
    await outage(rig)
    reply, durable = await rig.engine.stop_work(stop(rig))
    assert (durable, reply.stopped, told(rig)) == (False, Stopped(running=1, pending=1), [grant.job_id])
    held = rig.engine.stop_of("default")
    assert held is not None
    assert (held.by, held.latched) == ("ann", True)
    assert await stored_latch(rig) is None


async def test_p10_a_stop_in_an_outage_is_written_as_soon_as_the_store_takes_writes(rig: Rig) -> None:
    worker, grant = await running(rig)
    submitting = await outage(rig)
    await rig.engine.stop_work(stop(rig))
    rig.engine.post(worker.stopped(grant))
    await heal(rig)
    waiting = (await submitting).job_id or ""
    await settled(rig)
    for job_id in (grant.job_id, waiting):
        record = await rig.store.job("default", job_id)
        assert record.failure is not None
        assert (record.status, record.failure.code, record.failure.by) == ("failed", "aborted", "ann")
    latch = await stored_latch(rig)
    assert latch is not None
    assert latch.latched
    assert (await rig.submit()).code is ReplyCode.STOPPED


async def test_p10_a_grant_decided_before_the_stop_and_written_after_it_is_never_sent(rig: Rig) -> None:
    worker = FakeWorker(rig.stack)
    await _join(rig, worker)
    submitting = await outage(rig)
    await rig.engine.stop_work(stop(rig, latch=False))
    sent = []
    release = rig.outlet.release

    def send(effect: object) -> None:
        """As a socket's queue does: asks once more."""
        release(effect)  # type: ignore[arg-type]
        if isinstance(effect, Assign) and rig.engine.stands(effect.session, effect.job_id, effect.epoch):
            sent.append(effect)
        elif isinstance(effect, Assign):
            rig.engine.post(Undelivered(session=effect.session, job_id=effect.job_id, epoch=effect.epoch))

    rig.outlet.release = send  # type: ignore[method-assign]
    await heal(rig)
    job_id = (await submitting).job_id or ""
    await settled(rig)
    assert [one.job_id for one in rig.outlet.effects if isinstance(one, Assign)] == [job_id]
    assert sent == []
    assert (await rig.store.job("default", job_id)).status is JobStatus.FAILED
    fresh = await rig.submit()
    assert [one.job_id for one in sent] == [fresh.job_id]


async def test_p10_a_rebuild_after_the_outage_does_not_forget_the_stop(rig: Rig) -> None:
    worker, grant = await running(rig)
    rig.outlet.sockets = [_resumed(worker, AttemptRef(grant.job_id, grant.epoch))]
    submitting = await outage(rig)
    await rig.engine.stop_work(stop(rig))
    await heal(rig, FULL, Refused("once"))
    await submitting
    assert not rig.engine.stands(worker.session, grant.job_id, grant.epoch)
    await settled(rig)
    assert await stored_latch(rig) is not None
    assert (await rig.store.job("default", grant.job_id)).cancel is not None


async def test_p10_a_second_outage_before_it_is_written_does_not_forget_it_either(rig: Rig) -> None:
    submitting = await outage(rig)
    await rig.engine.stop_work(stop(rig))
    rig.store.fail_commits = [None, FULL, FULL]
    await submitting
    while await stored_latch(rig) is None:
        await asyncio.sleep(0)
    assert (await rig.submit()).code is ReplyCode.STOPPED


async def test_p10_a_stop_does_not_wait_for_a_commit_that_hangs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "STOP_AHEAD_S", 0.01)
    _, grant = await running(rig)
    gate = asyncio.Event()
    commit = rig.store.inner.commit

    async def hanging(writes: Sequence[Write], *, term: int) -> None:
        await gate.wait()
        await commit(writes, term=term)

    rig.store.inner.commit = hanging  # type: ignore[method-assign]
    submitting = asyncio.create_task(rig.submit())
    await settled(rig)
    _, durable = await rig.engine.stop_work(stop(rig))
    assert (durable, told(rig)) == (False, [grant.job_id])
    assert not rig.engine.stands(1, grant.job_id, grant.epoch)
    gate.set()
    await submitting
    await settled(rig)
    assert await stored_latch(rig) is not None


async def test_p10_a_stop_whose_own_commit_fails_is_told_all_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "STOP_AHEAD_S", 0.01)
    _, grant = await running(rig)
    await settled(rig)
    rig.store.fail_commits = [FULL] * 100_000
    _, durable = await rig.engine.stop_work(stop(rig))
    assert (durable, told(rig)) == (False, [grant.job_id])
    await heal(rig)
    await settled(rig)
    assert await stored_latch(rig) is not None


async def test_a_stop_whose_own_commit_fails_counts_what_that_commit_ends(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "STOP_AHEAD_S", 0.01)
    await running(rig)
    await rig.submit("waits")
    rig.store.fail_commits = [FULL] * 100_000
    reply, _ = await rig.engine.stop_work(stop(rig))
    assert reply.stopped == Stopped(running=1, pending=1)


async def test_a_cancel_whose_own_commit_fails_says_who_asked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "STOP_AHEAD_S", 0.01)
    job_id = (await rig.submit()).job_id or ""
    rig.store.fail_commits = [FULL] * 100_000
    command = CancelJob(ref=90_003, tenant="default", job_id=job_id, by="ann", reason="wild")
    reply, durable = await rig.engine.stop_work(command)
    assert (durable, reply.code) == (False, ReplyCode.OK)
    assert reply.cancel is not None
    assert reply.cancel.by == "ann"


async def test_p10_one_job_and_one_thread_are_stopped_in_an_outage_too(rig: Rig) -> None:
    worker, grant = await running(rig)
    command, ref = rig.submission()
    await rig.engine.ask(replace(command, thread_id="chat"), ref)
    await outage(rig)
    by_id = CancelJob(ref=90_001, tenant="default", job_id=grant.job_id, by="ann", reason="wild")
    reply, durable = await rig.engine.stop_work(by_id)
    assert (durable, reply.code, told(rig)) == (False, ReplyCode.OK, [grant.job_id])
    assert not rig.engine.stands(worker.session, grant.job_id, grant.epoch)
    by_thread = CancelThread(ref=90_002, tenant="default", thread="chat", by="ann")
    reply, durable = await rig.engine.stop_work(by_thread)
    assert (durable, reply.stopped) == (False, Stopped(running=0, pending=1))
    await heal(rig)
    await settled(rig)
    assert (await rig.store.job("default", command.id)).status is JobStatus.FAILED
    assert (await rig.store.job("default", grant.job_id)).cancel is not None


async def test_a_job_that_is_not_there_is_not_found_in_an_outage(rig: Rig) -> None:
    await outage(rig)
    nothing = CancelJob(ref=90_001, tenant="default", job_id="nothing", by="ann", reason=None)
    assert (await rig.engine.stop_work(nothing))[0].code is ReplyCode.NOT_FOUND


async def test_p18_a_stop_in_an_outage_concerns_its_own_tenant_only(rig: Rig) -> None:
    worker, grant = await running(rig)
    await outage(rig)
    for command in (
        replace(stop(rig), tenant="other"),
        CancelJob(ref=90_001, tenant="other", job_id=grant.job_id, by="eve", reason=None),
    ):
        await rig.engine.stop_work(command)
    assert told(rig) == []
    assert rig.engine.stands(worker.session, grant.job_id, grant.epoch)
    assert rig.engine.stop_of("default") is None


async def test_a_stop_repeated_in_an_outage_gets_the_same_answer_and_fills_nothing(rig: Rig) -> None:
    await running(rig)
    await outage(rig)
    first = await rig.engine.stop_work(stop(rig))
    waiting = len(rig.engine._door.inbox)
    assert await rig.engine.stop_work(stop(rig)) == first
    assert len(rig.engine._door.inbox) == waiting


async def test_a_stop_is_refused_while_the_coordinator_stops(rig: Rig) -> None:
    await outage(rig)
    rig.engine.stop()
    with pytest.raises(StoreUnavailable):
        await rig.engine.stop_work(stop(rig))


async def test_a_durable_stop_says_so(rig: Rig) -> None:
    _, durable = await rig.engine.stop_work(stop(rig))
    assert durable
    assert await stored_latch(rig) is not None


async def test_p10_a_coordinator_that_ends_in_the_outage_says_which_stop_was_not_written(rig: Rig) -> None:
    await outage(rig)
    await rig.engine.stop_work(stop(rig))
    with capture_logs() as lines:
        rig.engine.stop()
        while not (found := [line for line in lines if line["event"] == "stop_was_not_written"]):
            await asyncio.sleep(0)
    assert [(line["tenant"], line["by"]) for line in found] == [("default", "ann")]
