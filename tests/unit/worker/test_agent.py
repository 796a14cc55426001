"""Joining, logging in, and coming back after the connection was lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from cavvy import defaults
from cavvy.core import ed25519
from cavvy.core.job import AttemptRef, RejectReason, WorkerStatus
from cavvy.core.writes import Usage
from cavvy.errors import StartError, WorkerRefused
from cavvy.protocol.handshake import CloseCode
from cavvy.protocol.messages import (
    Capabilities,
    CompleteAck,
    Drain,
    JobComplete,
    JobDelta,
    JobReject,
    JobStartedMessage,
    JobStoppedMessage,
    Limits,
    Ping,
    ResumeEntry,
    StatusMessage,
)
from cavvy.providers.tasks import BuiltInTasks
from cavvy.worker.agent import Worker
from cavvy.worker.identity import Membership, WorkerHome
from tests.unit.worker.site import Site, go_on, until_heartbeat
from tests.unit.worker.support import MODEL, FakeCoordinator, assign, job_id, running_coordinator


async def refusal(worker: Worker) -> str:
    async with asyncio.timeout(60):
        with pytest.raises(WorkerRefused) as refused:
            await worker.run()
    return str(refused.value)


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

    async def test_a_worker_without_providers_offers_tasks_and_nothing_else(
        self, coordinator: FakeCoordinator, tmp_path: Path
    ) -> None:
        worker = Worker(home=WorkerHome(tmp_path / "w"), providers=[], join=coordinator.join, tasks=BuiltInTasks())
        serving = asyncio.create_task(worker.run())
        offer = msgspec.json.decode((await coordinator.login()).capabilities)
        assert (offer["job_types"], offer["models"], offer["slots"]) == (["TASK"], [], defaults.TASK_THREADS)
        await worker.stop()
        await serving

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
        async with site.serving(coordinator):
            assert len(coordinator.registers) == 3

    async def test_a_coordinator_that_is_not_there_yet_is_waited_for(self, absent: FakeCoordinator, site: Site) -> None:
        with capture_logs() as logs:
            async with site.running(absent.join):
                while not any(entry["event"] == "unreachable" for entry in logs):
                    await asyncio.sleep(0)
                async with running_coordinator(absent):
                    await absent.login()


class TestReconnecting:
    async def test_work_goes_on_and_text_is_sent_again_from_where_it_is_wanted(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.verdicts = go_on(offset=2)
        async with site.running(coordinator.join):
            first = await coordinator.login()
            await coordinator.begin(assign(1, "hold on"))
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
        async with site.serving(coordinator):
            await coordinator.begin(assign(1))
            sent = await coordinator.receive(JobComplete)
            await coordinator.drop(1011)
            assert (await coordinator.login()).finished == (AttemptRef(job_id(1), 1),)
            assert await coordinator.receive(JobComplete) == sent

    async def test_a_result_made_while_the_coordinator_was_away_is_delivered(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.verdicts = go_on()
        async with site.serving(coordinator):
            await coordinator.begin(assign(1, "hold on"))
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
        async with site.serving(coordinator):
            await coordinator.begin(assign(1))
            assert await coordinator.receive(JobComplete) == await coordinator.receive(JobComplete)

    async def test_an_attempt_the_coordinator_took_away_is_aborted_and_reported_as_it_asked(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        words: dict[str, Any] = {job_id(1): "stop", job_id(2): "stale"}
        coordinator.verdicts = lambda register: tuple(
            ResumeEntry(job_id=ref.job_id, epoch=ref.epoch, verdict=words[ref.job_id]) for ref in register.held
        )
        async with site.serving(coordinator):
            for number in (1, 2):
                await coordinator.begin(assign(number, "hold on"))
            await coordinator.drop()
            await coordinator.login()
            assert (await coordinator.receive(JobStoppedMessage)).job_id == job_id(1)
            stale = await coordinator.receive(JobStoppedMessage)
            assert (stale.job_id, stale.usage) == (job_id(2), Usage(output_tokens=1))  # what it used is paid
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
        async with asyncio.timeout(60):
            await task
        assert (await coordinator.closed.get(), site.provider.closed) == (1000, True)
        assert len(site.provider.requests) == 1

    async def test_one_that_comes_back_while_it_is_drained_ends_at_once(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        coordinator.status = WorkerStatus.DRAINING
        with capture_logs() as logs:
            async with asyncio.timeout(60):
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
        async with asyncio.timeout(60):
            with pytest.raises(WorkerRefused):
                await task
        assert (site.provider.idle, site.provider.closed) == (1, True)
