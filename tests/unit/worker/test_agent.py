from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from cavvy import defaults
from cavvy.core import ed25519
from cavvy.core.job import AttemptRef, RejectReason, WorkerStatus
from cavvy.core.results import Result
from cavvy.core.writes import Usage
from cavvy.errors import ModelMissing, StartError, WorkerRefused
from cavvy.protocol.handshake import CloseCode
from cavvy.protocol.messages import (
    Capabilities,
    CompleteAck,
    Drain,
    Draining,
    HeartbeatAck,
    HeartbeatMessage,
    JobCancel,
    JobComplete,
    JobDelta,
    JobFailedMessage,
    JobReject,
    JobStartedMessage,
    JobStoppedMessage,
    Limits,
    Ping,
    Register,
    ResumeEntry,
    StatusMessage,
)
from cavvy.worker.agent import Worker
from cavvy.worker.identity import JoinLine, Membership, WorkerHome
from tests.unit.worker.support import MODEL, FakeCoordinator, FakeProvider, assign, job_id, running_coordinator


@pytest.fixture
async def coordinator() -> AsyncIterator[FakeCoordinator]:
    async with running_coordinator(FakeCoordinator()) as running:
        yield running


class Site:
    """A worker's home and provider, and the worker while it runs."""

    def __init__(self, directory: Path) -> None:
        self.home = WorkerHome(directory)
        self.provider = FakeProvider()

    def worker(self, join: JoinLine | None, *, slots: int = 2) -> Worker:
        return Worker(home=self.home, providers=[self.provider], slots=slots, name="box", join=join)

    @asynccontextmanager
    async def running(self, join: JoinLine | None, *, slots: int = 2) -> AsyncIterator[Worker]:
        worker = self.worker(join, slots=slots)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            await worker.stop()
            async with asyncio.timeout(5):
                await task


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "worker")


async def refusal(worker: Worker) -> str:
    async with asyncio.timeout(5):
        with pytest.raises(WorkerRefused) as refused:
            await worker.run()
    return str(refused.value)


async def until_heartbeat(coordinator: FakeCoordinator, wanted: Callable[[HeartbeatMessage], bool]) -> None:
    async with asyncio.timeout(5):
        while not wanted(await coordinator.heartbeats.get()):
            pass


def go_on(offset: int = 0) -> Callable[[Register], tuple[ResumeEntry, ...]]:
    return lambda register: tuple(
        ResumeEntry(job_id=ref.job_id, epoch=ref.epoch, verdict="go_on", offset=offset)
        for ref in (*register.held, *register.finished)
    )


class TestLogin:
    async def test_a_worker_enrols_with_its_token_and_remembers_whom_it_joined(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.running(coordinator.join) as worker:
            register = await coordinator.login()
            await worker.wait_connected()
        assert register.token == coordinator.join.token
        assert register.provider_pubkey == site.home.identity().key
        offer = msgspec.json.decode(register.capabilities, type=Capabilities)
        assert (offer.name, offer.slots, offer.models, offer.job_types) == ("box", 2, (MODEL,), ("LLM_INFER",))
        assert site.home.membership() == Membership(
            url=coordinator.url, coordinator_key=coordinator.key.hex(), name="box"
        )

    async def test_later_it_needs_no_line_and_shows_no_token(self, coordinator: FakeCoordinator, site: Site) -> None:
        for join in (coordinator.join, None, coordinator.join):
            async with site.running(join) as worker:
                await worker.wait_connected()
        assert [register.token for register in coordinator.registers] == [coordinator.join.token, None, None]
        assert len({register.instance for register in coordinator.registers}) == 3

    async def test_a_worker_that_was_removed_joins_again_with_a_new_token(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.running(coordinator.join) as worker:
            await worker.wait_connected()
        coordinator.refuse_logins = [CloseCode.NOT_ALLOWED]
        async with site.running(coordinator.join) as worker:
            await worker.wait_connected()
        assert [bool(register.token) for register in coordinator.registers] == [True, False, True]

    async def test_a_used_up_token_does_no_harm_to_a_worker_that_is_known(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.refuse_logins = [CloseCode.NOT_ALLOWED]
        async with site.running(coordinator.join):
            assert (await coordinator.login()).token is None

    def test_without_a_line_and_without_a_membership_there_is_nothing_to_run(self, tmp_path: Path) -> None:
        with pytest.raises(StartError, match="cavvy workers token"):
            Worker(home=WorkerHome(tmp_path / "w"), providers=[], slots=1)

    async def test_a_coordinator_with_another_key_is_refused_before_anything_is_told(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.shown_key = ed25519.public_key(bytes([9] * 32))
        assert "is not the one this worker was told to join" in await refusal(site.worker(coordinator.join))
        assert coordinator.registers == []

    async def test_the_pinned_key_counts_at_every_login(self, coordinator: FakeCoordinator, site: Site) -> None:
        async with site.running(coordinator.join) as worker:
            await worker.wait_connected()
        coordinator.shown_key = ed25519.public_key(bytes([9] * 32))
        assert "is not the one this worker was told to join" in await refusal(site.worker(None))

    async def test_a_forged_ack_is_refused(self, coordinator: FakeCoordinator, site: Site) -> None:
        coordinator.forge_ack = True
        assert "its signature is wrong" in await refusal(site.worker(coordinator.join))
        assert site.home.membership() is None

    @pytest.mark.parametrize(
        ("codes", "words"),
        [
            ([CloseCode.UNPROVEN], "does not believe this worker's key: token used"),
            ([CloseCode.NOT_ALLOWED, CloseCode.NOT_ALLOWED], "does not accept this worker: token used"),
            ([CloseCode.OTHER_INSTANCE], "Another process with the same key"),
        ],
    )
    async def test_a_refusal_for_good_ends_the_worker_with_a_reason(
        self, coordinator: FakeCoordinator, site: Site, codes: list[int], words: str
    ) -> None:
        coordinator.refuse_logins = list(codes)
        assert words in await refusal(site.worker(coordinator.join))
        assert site.provider.closed
        assert len(coordinator.registers) == len(codes)

    @pytest.mark.parametrize("code", [CloseCode.RESTART, CloseCode.UNAVAILABLE, CloseCode.BAD_FRAME, 1011])
    async def test_any_other_refusal_is_tried_again(self, coordinator: FakeCoordinator, site: Site, code: int) -> None:
        coordinator.refuse_logins = [code, code]
        async with site.running(coordinator.join):
            await coordinator.login()
        assert len(coordinator.registers) == 3

    async def test_a_coordinator_that_is_not_there_yet_is_waited_for(self, site: Site) -> None:
        late = FakeCoordinator()
        async with running_coordinator(late):
            pass
        with capture_logs() as logs:
            async with site.running(late.join):
                while not any(entry["event"] == "unreachable" for entry in logs):
                    await asyncio.sleep(0)
                async with running_coordinator(late):
                    await late.login()


class TestJobs:
    async def test_a_job_is_started_streamed_and_completed_in_that_order(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.running(coordinator.join):
            await coordinator.login()
            await coordinator.send(assign(1, "one two"))
            assert await coordinator.receive(JobStartedMessage) == JobStartedMessage(job_id=job_id(1), epoch=1)
            assert await coordinator.receive(JobDelta) == JobDelta(job_id=job_id(1), epoch=1, offset=0, text="one")
            assert await coordinator.receive(JobDelta) == JobDelta(job_id=job_id(1), epoch=1, offset=3, text="two")
            done = await coordinator.receive(JobComplete)
        assert msgspec.json.decode(done.result, type=Result).text == "onetwo"

    async def test_a_failure_leaves_the_worker_well(self, coordinator: FakeCoordinator, site: Site) -> None:
        async with site.running(coordinator.join):
            await coordinator.login()
            for number, prompt in enumerate(("fail", "explode", "break")):
                await coordinator.send(assign(number, prompt))
                await coordinator.receive(JobStartedMessage)
                await coordinator.receive(JobDelta)
                assert (await coordinator.receive(JobFailedMessage)).code == "worker_error"
            await coordinator.send(assign(9))
            await coordinator.receive(JobStartedMessage)

    async def test_a_cancelled_job_is_reported_stopped_with_what_it_used(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.running(coordinator.join):
            await coordinator.login()
            await coordinator.send(assign(1, "hold on"))
            await coordinator.receive(JobStartedMessage)
            await coordinator.receive(JobDelta)
            await coordinator.send(JobCancel(job_id=job_id(1), epoch=1, reason="enough"))
            stopped = await coordinator.receive(JobStoppedMessage)
            assert (stopped.job_id, stopped.epoch, stopped.usage) == (job_id(1), 1, Usage(output_tokens=1))
            assert stopped.stopped_ms is not None
            assert site.provider.idle == 1

    async def test_a_job_that_waits_for_its_turn_at_the_provider_has_not_started(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        site.provider.turns = asyncio.Semaphore(1)
        async with site.running(coordinator.join):
            await coordinator.login()
            for number in (1, 2):
                await coordinator.send(assign(number, "hold on"))
            assert (await coordinator.receive(JobStartedMessage)).job_id == job_id(1)
            await coordinator.receive(JobDelta)
            await coordinator.send(Ping())
            await until_heartbeat(coordinator, lambda beat: len(beat.held) == 2 and beat.free == 0)
            assert coordinator.frames.empty()
            await coordinator.send(JobCancel(job_id=job_id(1), epoch=1, reason=""))
            await coordinator.receive(JobStoppedMessage)
            assert (await coordinator.receive(JobStartedMessage)).job_id == job_id(2)

    async def test_p12_a_job_that_waits_for_its_turn_is_given_back_when_the_worker_leaves(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        site.provider.turns = asyncio.Semaphore(1)
        async with site.running(coordinator.join) as worker:
            await coordinator.login()
            for number in (1, 2):
                await coordinator.send(assign(number, "hold on"))
            await coordinator.receive(JobStartedMessage)
            await coordinator.receive(JobDelta)
            await coordinator.send(Ping())
            await until_heartbeat(coordinator, lambda beat: len(beat.held) == 2)
            worker.leave(30)
            await coordinator.receive(Draining)
            assert (await coordinator.receive(JobReject)).job_id == job_id(2)
            assert len(site.provider.requests) == 1

    async def test_no_more_slots_are_offered_than_its_providers_serve(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        site.provider.slots = 3
        with capture_logs() as logs:
            async with site.running(coordinator.join, slots=5):
                register = await coordinator.login()
        assert msgspec.json.decode(register.capabilities, type=Capabilities).slots == 3
        assert [log["asked"] for log in logs if log["event"] == "fewer slots than asked for"] == [5]

    async def test_a_coordinator_restored_from_a_backup_meets_a_worker_that_holds_nothing(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.running(coordinator.join):
            await coordinator.login()
            await coordinator.send(assign(1, "hold on"))
            await coordinator.receive(JobStartedMessage)
            await coordinator.receive(JobDelta)
            coordinator.store_id = "restored"
            await coordinator.drop()
            register = await coordinator.login()
            assert (register.held, register.finished, site.provider.idle) == ((), (), 1)
            await coordinator.send(assign(1, "again"))
            assert (await coordinator.receive(JobStartedMessage)).epoch == 1

    async def test_a_job_cancelled_in_the_same_breath_never_reaches_the_provider(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.running(coordinator.join) as worker:
            await coordinator.login()
            await worker.wait_connected()
            attempts = worker._attempts
            assert attempts is not None
            attempts.receive(msgspec.json.encode(assign(1)))
            attempts.receive(msgspec.json.encode(JobCancel(job_id=job_id(1), epoch=1, reason="")))
            assert (await coordinator.receive(JobStoppedMessage)).job_id == job_id(1)
            assert site.provider.requests == []

    async def test_a_result_too_long_for_a_frame_fails_the_job_not_the_socket(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.limits = Limits(max_frame_bytes=2000)
        async with site.running(coordinator.join):
            await coordinator.login()
            await coordinator.send(assign(1, "\x01" * 200))
            await coordinator.receive(JobStartedMessage)
            pieces = [(await coordinator.receive(JobDelta)).text for _ in range(2)]
            assert "".join(pieces) == "\x01" * 200
            assert (await coordinator.receive(JobFailedMessage)).code == "output_too_large"

    async def test_a_frame_that_cannot_be_read_changes_nothing(self, coordinator: FakeCoordinator, site: Site) -> None:
        async with site.running(coordinator.join):
            await coordinator.login()
            for frame in ("", "[]", "{", '{"type":"job_assign"}', '{"type":"later"}', '{"type":"hello"}', "[" * 9000):
                await coordinator.send_text(frame)
            await coordinator.send(msgspec.structs.replace(assign(1), salt="not hex"))
            await coordinator.receive(JobStartedMessage)
            await coordinator.receive(JobDelta)
            assert (await coordinator.receive(JobFailedMessage)).code == "worker_error"
            await coordinator.send(assign(2))
            await coordinator.receive(JobStartedMessage)

    async def test_heartbeats_name_what_is_held(self, coordinator: FakeCoordinator, site: Site) -> None:
        coordinator.limits = Limits(heartbeat_s=0.02)
        ref = AttemptRef(job_id(1), 1)
        async with site.running(coordinator.join):
            await coordinator.login()
            await until_heartbeat(coordinator, lambda beat: beat.held == () and beat.free == 2)
            await coordinator.send(assign(1, "hold on"))
            await until_heartbeat(coordinator, lambda beat: beat.held == (ref,) and beat.free == 1)
            site.provider.release.set()
            await until_heartbeat(coordinator, lambda beat: beat.held == (ref,) and beat.free == 2)
            await coordinator.send(CompleteAck(job_id=job_id(1), epoch=1, verdict="accepted"))
            await until_heartbeat(coordinator, lambda beat: beat.held == ())

    async def test_a_ping_is_answered_with_a_heartbeat(self, coordinator: FakeCoordinator, site: Site) -> None:
        async with site.running(coordinator.join):
            await coordinator.login()
            await until_heartbeat(coordinator, lambda _: True)
            await coordinator.send(Ping())
            await until_heartbeat(coordinator, lambda _: True)

    async def test_a_lost_attempt_is_aborted(self, coordinator: FakeCoordinator, site: Site) -> None:
        async with site.running(coordinator.join, slots=1):
            await coordinator.login()
            await until_heartbeat(coordinator, lambda beat: beat.free == 1)
            await coordinator.send(assign(1, "hold on"))
            await coordinator.receive(JobStartedMessage)
            await coordinator.receive(JobDelta)
            await coordinator.send(HeartbeatAck(lost=(AttemptRef(job_id(1), 1),)))
            await until_heartbeat(coordinator, lambda beat: beat.held == () and beat.free == 1)
            assert site.provider.idle == 1

    async def test_no_prompt_and_no_answer_is_logged(self, coordinator: FakeCoordinator, site: Site) -> None:
        with capture_logs() as logs:
            async with site.running(coordinator.join, slots=3):
                await coordinator.login()
                for number, prompt in enumerate(("CANARY", "fail CANARY", "explode CANARY")):
                    await coordinator.send(assign(number, prompt))
                for _ in range(3 * 3 + 2):
                    await asyncio.wait_for(coordinator.frames.get(), 5)
        assert [entry["outcome"] for entry in logs if entry["event"] == "job ended"] == [
            "completed",
            "worker_error",
            "worker_error",
        ]
        assert "CANARY" not in str(logs)


class TestReconnecting:
    async def test_work_goes_on_and_text_is_sent_again_from_where_it_is_wanted(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.verdicts = go_on(offset=2)
        async with site.running(coordinator.join):
            first = await coordinator.login()
            await coordinator.send(assign(1, "hold on"))
            await coordinator.receive(JobStartedMessage)
            await coordinator.receive(JobDelta)
            await coordinator.drop()
            again = await coordinator.login()
            assert again.instance == first.instance
            assert (again.held, again.finished) == ((AttemptRef(job_id(1), 1),), ())
            await coordinator.receive(JobStartedMessage)
            delta = await coordinator.receive(JobDelta)
            assert (delta.offset, delta.text) == (2, "ld")
            site.provider.release.set()
            assert (await coordinator.receive(JobDelta)).offset == 4
            await coordinator.receive(JobComplete)

    async def test_an_unacknowledged_result_is_named_and_sent_again(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.verdicts = go_on()
        async with site.running(coordinator.join):
            await coordinator.login()
            await coordinator.send(assign(1))
            await coordinator.receive(JobStartedMessage)
            await coordinator.receive(JobDelta)
            sent = await coordinator.receive(JobComplete)
            await coordinator.drop(1011)
            assert (await coordinator.login()).finished == (AttemptRef(job_id(1), 1),)
            assert await coordinator.receive(JobComplete) == sent

    async def test_a_result_made_while_the_coordinator_was_away_is_delivered(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.verdicts = go_on()
        async with site.running(coordinator.join):
            await coordinator.login()
            await coordinator.send(assign(1, "hold on"))
            await coordinator.receive(JobStartedMessage)
            await coordinator.receive(JobDelta)
            await coordinator.close()
            site.provider.release.set()
            while not site.provider.idle:
                await asyncio.sleep(0)
            await coordinator.open()
            assert (await coordinator.login()).finished == (AttemptRef(job_id(1), 1),)
            await coordinator.receive(JobComplete)

    async def test_a_result_nobody_acknowledges_is_repeated(
        self, coordinator: FakeCoordinator, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(defaults, "RESULT_RESEND_S", 0.02)
        coordinator.limits = Limits(heartbeat_s=0.02)
        async with site.running(coordinator.join):
            await coordinator.login()
            await coordinator.send(assign(1))
            await coordinator.receive(JobStartedMessage)
            await coordinator.receive(JobDelta)
            assert await coordinator.receive(JobComplete) == await coordinator.receive(JobComplete)

    async def test_an_attempt_the_coordinator_took_away_is_aborted_and_reported_as_it_asked(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        words: dict[str, Any] = {job_id(1): "stop", job_id(2): "stale"}
        coordinator.verdicts = lambda register: tuple(
            ResumeEntry(job_id=ref.job_id, epoch=ref.epoch, verdict=words[ref.job_id]) for ref in register.held
        )
        async with site.running(coordinator.join):
            await coordinator.login()
            for number in (1, 2):
                await coordinator.send(assign(number, "hold on"))
                await coordinator.receive(JobStartedMessage)
                await coordinator.receive(JobDelta)
            await coordinator.drop()
            await coordinator.login()
            assert (await coordinator.receive(JobStoppedMessage)).job_id == job_id(1)
            await until_heartbeat(coordinator, lambda beat: beat.held == () and beat.free == 2)
            assert site.provider.idle == 2
            assert coordinator.frames.empty()

    async def test_another_process_with_the_same_key_ends_this_one(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        worker = site.worker(coordinator.join)
        task = asyncio.create_task(worker.run())
        await coordinator.login()
        await coordinator.drop(CloseCode.OTHER_INSTANCE)
        with pytest.raises(WorkerRefused, match=r"worker\.key"):
            await task


class TestStopping:
    async def test_stop_aborts_closes_the_socket_normally_and_closes_the_providers(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.running(coordinator.join):
            await coordinator.login()
            await coordinator.send(assign(1, "hold on"))
            await coordinator.receive(JobStartedMessage)
            await coordinator.receive(JobDelta)
        assert await coordinator.closed.get() == 1000
        assert coordinator.frames.empty()
        assert (site.provider.idle, site.provider.closed) == (1, True)

    async def test_stop_waits_for_a_provider_that_is_already_stopping(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        site.provider.may_stop.clear()
        async with site.running(coordinator.join) as worker:
            await coordinator.login()
            await coordinator.send(assign(1, "hold on"))
            await site.provider.holding.wait()
            await coordinator.send(JobCancel(job_id=job_id(1), epoch=1, reason=""))
            await site.provider.stopping.wait()
            stop = asyncio.create_task(worker.stop())
            assert await coordinator.closed.get() == 1000
            assert not stop.done()
            site.provider.may_stop.set()
            await stop
        assert site.provider.idle == 1

    async def test_stop_before_run_means_run_does_nothing(self, coordinator: FakeCoordinator, site: Site) -> None:
        worker = site.worker(coordinator.join)
        await worker.stop()
        await worker.run()
        assert coordinator.registers == []

    async def test_stop_works_while_nobody_answers(self, site: Site) -> None:
        gone = FakeCoordinator()
        async with running_coordinator(gone):
            pass
        async with site.running(gone.join):
            await asyncio.sleep(0)
        assert site.provider.closed

    async def test_cancelling_run_leaves_nothing_behind(self, coordinator: FakeCoordinator, site: Site) -> None:
        task = asyncio.create_task(site.worker(coordinator.join).run())
        await coordinator.login()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert site.provider.closed
        assert await coordinator.closed.get() == 1000

    async def test_a_provider_that_cannot_start_says_why(
        self, coordinator: FakeCoordinator, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def missing() -> None:
            raise ModelMissing("no such file")

        monkeypatch.setattr(site.provider, "open", missing)
        with pytest.raises(ModelMissing, match="no such file"):
            await site.worker(coordinator.join).run()
        assert site.provider.closed


class TestLeaving:
    """TERM, as `leave` has it."""

    async def test_p12_it_says_so_finishes_delivers_and_ends(self, coordinator: FakeCoordinator, site: Site) -> None:
        worker = site.worker(coordinator.join)
        task = asyncio.create_task(worker.run())
        await coordinator.login()
        await coordinator.send(assign(1, "hold it"))
        await coordinator.receive(JobStartedMessage)
        await coordinator.receive(JobDelta)
        worker.leave(30)
        await coordinator.receive(Draining)
        await coordinator.send(assign(2))
        assert (await coordinator.receive(JobReject)).reason is RejectReason.DRAINING
        site.provider.release.set()
        await coordinator.receive(JobDelta)
        done = await coordinator.receive(JobComplete)
        assert not task.done()
        await coordinator.send(CompleteAck(job_id=done.job_id, epoch=1, verdict="accepted"))
        async with asyncio.timeout(5):
            await task
        assert (await coordinator.closed.get(), site.provider.closed) == (1000, True)

    async def test_p12_told_again_it_gives_back_at_once_what_runs(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        worker = site.worker(coordinator.join)
        task = asyncio.create_task(worker.run())
        await coordinator.login()
        await coordinator.send(assign(1, "hold it"))
        await coordinator.receive(JobStartedMessage)
        await coordinator.receive(JobDelta)
        worker.leave(30)
        worker.leave(0)
        await coordinator.receive(Draining)
        given_back = await coordinator.receive(JobReject)
        assert (given_back.job_id, given_back.epoch, given_back.reason) == (job_id(1), 1, RejectReason.DRAINING)
        async with asyncio.timeout(5):
            await task
        assert (site.provider.idle, site.provider.closed) == (1, True)

    async def test_p12_it_does_not_hang_on_a_coordinator_that_is_gone(self, site: Site) -> None:
        gone = FakeCoordinator()
        async with running_coordinator(gone):
            worker = site.worker(gone.join)
            task = asyncio.create_task(worker.run())
            await gone.login()
            await gone.send(assign(1, "hold it"))
            await site.provider.holding.wait()
        worker.leave(0)
        async with asyncio.timeout(5):
            await task
        assert site.provider.closed

    async def test_p12_before_it_has_ever_been_connected_it_just_ends(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        worker = site.worker(coordinator.join)
        worker.leave(30)
        await worker.run()
        assert coordinator.registers == []


class TestWhatItMayDo:
    """Its status, and being drained."""

    async def test_a_worker_that_waits_for_approval_stays_and_names_the_command(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.status = WorkerStatus.WAITING_APPROVAL
        with capture_logs() as logs:
            async with site.running(coordinator.join) as worker:
                await worker.wait_connected()
                await coordinator.send(StatusMessage(status=WorkerStatus.APPROVED))
                await coordinator.send(assign(1))
                await coordinator.receive(JobStartedMessage)
        (waits,) = [log for log in logs if log["log_level"] == "warning"]
        assert waits["event"] == "this worker waits for approval"
        assert waits["hint"].endswith("cavvy workers approve w1")
        assert [log["status"] for log in logs if log["event"] == "status changed"] == ["approved"]

    async def test_a_drained_worker_finishes_delivers_and_ends(self, coordinator: FakeCoordinator, site: Site) -> None:
        worker = site.worker(coordinator.join)
        task = asyncio.create_task(worker.run())
        await coordinator.login()
        await coordinator.send(assign(1, "hold it"))
        await coordinator.receive(JobStartedMessage)
        await site.provider.holding.wait()
        await coordinator.send(Drain())
        await coordinator.send(assign(2))
        assert isinstance(await coordinator.frames.get(), JobDelta)
        assert (await coordinator.receive(JobReject)).reason is RejectReason.DRAINING
        await coordinator.send(Ping())
        await until_heartbeat(coordinator, lambda beat: beat.free == 0 and len(beat.held) == 1)
        site.provider.release.set()
        while not isinstance(frame := await coordinator.frames.get(), JobComplete):
            assert isinstance(frame, JobDelta)
        assert not task.done()
        await coordinator.send(CompleteAck(job_id=frame.job_id, epoch=1, verdict="accepted"))
        async with asyncio.timeout(5):
            await task
        assert (await coordinator.closed.get(), site.provider.closed) == (1000, True)
        assert len(site.provider.requests) == 1

    async def test_one_that_comes_back_while_it_is_drained_ends_at_once(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.status = WorkerStatus.DRAINING
        with capture_logs() as logs:
            async with asyncio.timeout(5):
                await site.worker(coordinator.join).run()
        assert any(log.get("hint", "").endswith("cavvy workers resume w1") for log in logs)

    async def test_one_that_is_revoked_stops_what_it_runs_and_ends(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        worker = site.worker(coordinator.join)
        task = asyncio.create_task(worker.run())
        await coordinator.login()
        await coordinator.send(assign(1, "hold it"))
        await site.provider.holding.wait()
        await coordinator.drop(CloseCode.NOT_ALLOWED)
        async with asyncio.timeout(5):
            with pytest.raises(WorkerRefused):
                await task
        assert (site.provider.idle, site.provider.closed) == (1, True)
