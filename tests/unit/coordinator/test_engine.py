"""The engine loop's four kinds of failed commit, and the one way to come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from cavvy import defaults
from cavvy.coordinator.engine import CommandFailed, Engine, StoreUnavailable
from cavvy.core.commands import Command, Heartbeat, Progress, SessionResumed, SubmitJob
from cavvy.core.effects import Assign, Effect, HeartbeatAnswered, Reply, ReplyCode
from cavvy.core.job import AttemptRef, JobType
from cavvy.core.matching import Profile
from cavvy.core.writes import InsertJob, Write
from cavvy.errors import CommitUnknown, Fenced, Refused, RolledBack, StoreDamaged
from cavvy.store.base import LoadRow
from cavvy.store.memory import MemoryStore
from cavvy.testing import FailingStore, FakeWorker, Stack, VirtualClock, dice


class RecordingOutlet:
    """Keeps what is released; `sockets` is what is said after a rebuild. `news` is set at each release."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.sockets: list[Command] = []
        self.news = asyncio.Event()

    def release(self, effect: Effect) -> None:
        self.effects.append(effect)
        self.news.set()

    def resume(self) -> Sequence[Command]:
        return self.sockets


class Rig:
    """An engine over a store that fails on command."""

    def __init__(self) -> None:
        self.store = FailingStore(MemoryStore())
        self.outlet = RecordingOutlet()
        self.stack = Stack()  # makes commands only
        self.engine = Engine(
            self.store,  # type: ignore[arg-type]
            self.stack.settings,
            clock=VirtualClock(),
            dice=dice(),
            outlet=self.outlet,
        )

    async def submit(self, prompt: str = "hi", *, key: str | None = None) -> Reply:
        answer = await self.engine.ask(*self.submission(prompt, key=key))
        assert isinstance(answer, Reply)
        return answer

    def submission(self, prompt: str = "hi", *, key: str | None = None) -> tuple[SubmitJob, int]:
        command = self.stack.submission(prompt, key=key)
        return command, command.ref

    async def until(self, kind: type[Effect]) -> Effect:
        while True:
            found = [one for one in self.outlet.effects if isinstance(one, kind)]
            if found:
                return found[-1]
            self.outlet.news.clear()
            await self.outlet.news.wait()


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(defaults, "COMMIT_RETRY_PAUSE_S", 0.001)
    monkeypatch.setattr(defaults, "COMMIT_PROBE_S", 0.001)
    rig = Rig()
    await rig.engine.open()
    running = asyncio.create_task(rig.engine.run())
    while rig.engine.shut is not None:
        await asyncio.sleep(0)
    yield rig
    rig.engine.stop()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_p01_an_answer_comes_only_after_the_commit(rig: Rig) -> None:
    gate = asyncio.Event()
    commit = rig.store.inner.commit

    async def slow(writes: Sequence[Write], *, term: int) -> None:
        await gate.wait()
        await commit(writes, term=term)

    rig.store.inner.commit = slow  # type: ignore[method-assign]
    asking = asyncio.create_task(rig.submit())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not asking.done()
    gate.set()
    assert (await asking).code is ReplyCode.OK


async def test_commands_that_wait_during_a_commit_share_the_next_one(rig: Rig) -> None:
    before = rig.store.commits
    await asyncio.gather(*(rig.submit() for _ in range(50)))
    assert rig.store.commits - before <= 2


async def test_rolled_back_writes_are_tried_again_until_they_go_through(rig: Rig) -> None:
    rig.store.fail_commits = [RolledBack("busy")] * 3
    reply = await rig.submit()
    assert await rig.store.job("default", reply.job_id or "") is not None


async def test_while_the_store_takes_nothing_new_work_is_refused_at_the_door(rig: Rig) -> None:
    rig.store.fail_commits = [RolledBack("the disk is full")] * 10_000
    first = asyncio.create_task(rig.submit())
    while rig.engine.shut is None:
        await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable) as refused:
        await rig.submit()
    assert refused.value.accepted is False
    rig.store.fail_commits.clear()
    assert (await first).code is ReplyCode.OK


async def test_after_two_seconds_the_caller_hears_that_the_outcome_is_unknown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "COMMIT_RETRY_S", 0.0)
    rig.store.fail_commits = [RolledBack("the disk is full")] * 3
    command, ref = rig.submission()
    with pytest.raises(StoreUnavailable) as unknown:
        await rig.engine.ask(command, ref)
    assert unknown.value.accepted is None
    while rig.engine.shut is not None:
        await asyncio.sleep(0)
    assert await rig.store.job("default", command.id) is not None


async def test_heartbeats_are_answered_while_the_store_takes_nothing(rig: Rig) -> None:
    rig.store.fail_commits = [RolledBack("the disk is full")] * 10_000
    first = asyncio.create_task(rig.submit())
    while rig.engine.shut is None:
        await asyncio.sleep(0)
    rig.engine.post(Heartbeat(session=7, held=(), free=1))
    assert await rig.until(HeartbeatAnswered) == HeartbeatAnswered(session=7)
    rig.store.fail_commits.clear()
    await first


async def test_signs_of_life_do_not_pile_up_while_the_store_takes_nothing(rig: Rig) -> None:
    rig.store.fail_commits = [RolledBack("the disk is full")] * 10_000
    first = asyncio.create_task(rig.submit())
    while rig.engine.shut is None:
        await asyncio.sleep(0)
    for _ in range(100):
        rig.engine.post(Progress(session=7, refs=(AttemptRef("job", 1),)))
    rig.engine.post(Heartbeat(session=7, held=(), free=1))
    await rig.until(HeartbeatAnswered)
    assert not [command for command in rig.engine._door.inbox if isinstance(command, Progress)]
    rig.store.fail_commits.clear()
    await first


async def test_of_a_refused_batch_only_the_guilty_command_fails(rig: Rig) -> None:
    rig.store.refuse = lambda write: (
        Refused("not this one") if isinstance(write, InsertJob) and b"guilty" in write.input else None
    )
    answers = await asyncio.gather(
        rig.submit("guilty"), *(rig.submit(f"good {number}") for number in range(50)), return_exceptions=True
    )
    assert isinstance(answers[0], CommandFailed)
    assert [one.code for one in answers[1:] if isinstance(one, Reply)] == [ReplyCode.OK] * 50
    assert len(await rig.store.jobs("default", before=None, limit=100)) == 50


async def test_an_exception_in_the_core_fails_its_own_command_only(rig: Rig) -> None:
    class Unheard(SubmitJob, frozen=True, kw_only=True, tag=True):
        """A command the core has no handler for."""

    command, _ = rig.submission()
    strange = Unheard(**{name: getattr(command, name) for name in command.__struct_fields__})
    bad, good = await asyncio.gather(rig.engine.ask(strange, strange.ref), rig.submit(), return_exceptions=True)
    assert isinstance(bad, CommandFailed)
    assert isinstance(good, Reply)


@pytest.mark.parametrize("error", [CommitUnknown("I/O error in COMMIT"), Fenced("a newer term rules")])
async def test_an_unknown_outcome_or_a_newer_term_ends_the_process_with_75(rig: Rig, error: Exception) -> None:
    rig.store.fail_commits = [error]
    command, ref = rig.submission()
    with pytest.raises(StoreUnavailable) as unknown:
        await rig.engine.ask(command, ref)
    assert unknown.value.accepted is None
    assert rig.engine.exit_code == 75


async def test_a_rebuild_learns_from_the_sockets_what_goes_on(rig: Rig) -> None:
    worker = FakeWorker(rig.stack)
    await _join(rig, worker)
    await rig.submit()
    grant = await rig.until(Assign)
    assert isinstance(grant, Assign)
    rig.outlet.sockets = [_resumed(worker, AttemptRef(grant.job_id, grant.epoch))]
    rig.outlet.effects.clear()
    rig.store.fail_commits = [Refused("once")]
    await rig.submit()
    assert rig.engine.stands(worker.session, grant.job_id, grant.epoch)
    assert not [one for one in rig.outlet.effects if isinstance(one, Assign) and one.job_id == grant.job_id]


async def test_a_rebuild_sends_again_what_never_left(rig: Rig) -> None:
    worker = FakeWorker(rig.stack)
    await _join(rig, worker)
    await rig.submit()
    grant = await rig.until(Assign)
    assert isinstance(grant, Assign)
    rig.outlet.sockets = [_resumed(worker)]
    rig.outlet.effects.clear()
    rig.store.fail_commits = [Refused("once")]
    await rig.submit()
    again = await rig.until(Assign)
    assert isinstance(again, Assign)
    assert (again.job_id, again.epoch) == (grant.job_id, grant.epoch)


async def test_numbers_are_not_given_twice_after_a_rebuild(rig: Rig) -> None:
    first = await rig.submit()
    rig.store.fail_commits = [Refused("once")]
    second = await rig.submit()
    records = [await rig.store.job("default", one.job_id or "") for one in (first, second)]
    assert len({record.number for record in records if record}) == 2


async def test_what_waits_at_stop_is_still_committed(rig: Rig) -> None:
    asking = asyncio.create_task(rig.submit())
    await asyncio.sleep(0)
    rig.engine.stop()
    assert (await asking).code is ReplyCode.OK


async def test_after_stop_new_work_is_refused(rig: Rig) -> None:
    rig.engine.stop()
    with pytest.raises(StoreUnavailable) as refused:
        await rig.submit()
    assert refused.value.accepted is False


async def test_a_damaged_store_ends_the_process_with_6_and_is_not_tried_for_ever(rig: Rig) -> None:
    rig.store.fail_commits = [
        RolledBack("I/O error"),
        StoreDamaged("the disk image is malformed"),
        *[RolledBack("")] * 9,
    ]
    command, ref = rig.submission()
    with pytest.raises(StoreUnavailable) as unknown:
        await rig.engine.ask(command, ref)
    assert (unknown.value.accepted, rig.engine.exit_code) == (None, 6)


async def test_a_store_that_cannot_be_loaded_after_a_refusal_ends_the_process_with_6(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> AsyncIterator[Sequence[LoadRow]]:
        raise StoreDamaged("the disk image is malformed")

    monkeypatch.setattr(rig.store, "load", load)
    rig.store.fail_commits = [Refused("no such table: job")]
    command, ref = rig.submission()
    with pytest.raises(StoreUnavailable):
        await rig.engine.ask(command, ref)
    assert rig.engine.exit_code == 6


async def test_told_to_stop_while_the_store_takes_nothing_it_stops_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "COMMIT_RETRY_S", 3600.0)
    rig.store.fail_commits = [RolledBack("the disk is full")] * 10_000
    asking = asyncio.create_task(rig.submit())
    while rig.engine.shut is None:
        await asyncio.sleep(0)
    rig.engine.stop()
    with pytest.raises(StoreUnavailable) as unknown:
        async with asyncio.timeout(60):
            await asking
    assert (unknown.value.accepted, rig.engine.exit_code) == (None, None)


async def _join(rig: Rig, worker: FakeWorker) -> None:
    """Enrols and registers the worker through the engine."""
    from cavvy.core.commands import CreateWorkerToken, RegisterWorker

    token = b"t" * 32
    ref = rig.stack.next_ref()
    await rig.engine.ask(
        CreateWorkerToken(ref=ref, token_hash=token, tenant="default", created_by="owner", ttl_s=60), ref
    )
    worker.session, ref = 1, rig.stack.next_ref()
    profile = Profile(tenant="", job_types=frozenset({JobType.LLM_INFER}), models=frozenset({"m"}))
    register = RegisterWorker(
        ref=ref,
        session=1,
        worker=worker.key,
        worker_id="wrk_1",
        name="w",
        instance=worker.instance,
        profile=profile,
        slots=1,
        token_hash=token,
    )
    await rig.engine.ask(register, ref)


def _resumed(worker: FakeWorker, *held: AttemptRef) -> SessionResumed:
    profile = Profile(tenant="", job_types=frozenset({JobType.LLM_INFER}), models=frozenset({"m"}))
    return SessionResumed(session=1, worker=worker.key, instance=worker.instance, profile=profile, slots=1, held=held)


async def test_the_door_opens_again_when_the_store_answers_at_last_even_with_a_refusal(rig: Rig) -> None:
    rig.store.fail_commits = [RolledBack("the disk is full"), Refused("once")]
    await rig.submit()
    assert rig.engine.shut is None
    assert (await rig.submit()).code is ReplyCode.OK
