"""What a worker does with the jobs it is given."""

from __future__ import annotations

import asyncio

import msgspec
from structlog.testing import capture_logs

from cavvy.core.job import AttemptRef
from cavvy.core.results import Result
from cavvy.core.writes import Usage
from cavvy.protocol.messages import (
    Capabilities,
    CompleteAck,
    Draining,
    HeartbeatAck,
    JobCancel,
    JobComplete,
    JobDelta,
    JobFailedMessage,
    JobReject,
    JobStartedMessage,
    JobStoppedMessage,
    Limits,
    Ping,
)
from tests.unit.worker.site import Site, until_heartbeat
from tests.unit.worker.support import FakeCoordinator, assign, job_id


class TestJobs:
    async def test_a_job_is_started_streamed_and_completed_in_that_order(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.serving(coordinator):
            await coordinator.send(assign(1, "one two"))
            assert await coordinator.receive(JobStartedMessage) == JobStartedMessage(job_id=job_id(1), epoch=1)
            assert await coordinator.receive(JobDelta) == JobDelta(job_id=job_id(1), epoch=1, offset=0, text="one")
            assert await coordinator.receive(JobDelta) == JobDelta(job_id=job_id(1), epoch=1, offset=3, text="two")
            done = await coordinator.receive(JobComplete)
        assert msgspec.json.decode(done.result, type=Result).text == "onetwo"

    async def test_a_failure_leaves_the_worker_well(self, coordinator: FakeCoordinator, site: Site) -> None:
        async with site.serving(coordinator):
            for number, prompt in enumerate(("fail", "explode", "break")):
                await coordinator.begin(assign(number, prompt))
                assert (await coordinator.receive(JobFailedMessage)).code == "worker_error"
            await coordinator.send(assign(9))
            await coordinator.receive(JobStartedMessage)

    async def test_a_cancelled_job_is_reported_stopped_with_what_it_used(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.serving(coordinator):
            await coordinator.begin(assign(1, "hold on"))
            await coordinator.send(JobCancel(job_id=job_id(1), epoch=1, reason="enough"))
            stopped = await coordinator.receive(JobStoppedMessage)
            assert (stopped.job_id, stopped.epoch, stopped.usage) == (job_id(1), 1, Usage(output_tokens=1))
            assert stopped.stopped_ms is not None
            assert site.provider.idle == 1

    async def test_a_job_that_waits_for_its_turn_at_the_provider_has_not_started(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        site.provider.turns = asyncio.Semaphore(1)
        async with site.serving(coordinator):
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
        async with site.serving(coordinator) as worker:
            await coordinator.begin(assign(1, "hold on"))
            await coordinator.send(assign(2, "hold on"))
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
        async with site.serving(coordinator):
            await coordinator.begin(assign(1, "hold on"))
            coordinator.store_id = "restored"
            await coordinator.drop()
            register = await coordinator.login()
            assert (register.held, register.finished, site.provider.idle) == ((), (), 1)
            await coordinator.send(assign(1, "again"))
            assert (await coordinator.receive(JobStartedMessage)).epoch == 1

    async def test_a_job_cancelled_in_the_same_breath_never_reaches_the_provider(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.serving(coordinator) as worker:
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
        async with site.serving(coordinator):
            await coordinator.send(assign(1, "\x01" * 200))
            await coordinator.receive(JobStartedMessage)
            pieces = [(await coordinator.receive(JobDelta)).text for _ in range(2)]
            assert "".join(pieces) == "\x01" * 200
            assert (await coordinator.receive(JobFailedMessage)).code == "output_too_large"

    async def test_a_frame_that_cannot_be_read_changes_nothing(self, coordinator: FakeCoordinator, site: Site) -> None:
        async with site.serving(coordinator):
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
        async with site.serving(coordinator):
            await until_heartbeat(coordinator, lambda beat: beat.held == () and beat.free == 2)
            await coordinator.send(assign(1, "hold on"))
            await until_heartbeat(coordinator, lambda beat: beat.held == (ref,) and beat.free == 1)
            site.provider.release.set()
            await until_heartbeat(coordinator, lambda beat: beat.held == (ref,) and beat.free == 2)
            await coordinator.send(CompleteAck(job_id=job_id(1), epoch=1, verdict="accepted"))
            await until_heartbeat(coordinator, lambda beat: beat.held == ())

    async def test_a_ping_is_answered_with_a_heartbeat(self, coordinator: FakeCoordinator, site: Site) -> None:
        async with site.serving(coordinator):
            await until_heartbeat(coordinator, lambda _: True)
            await coordinator.send(Ping())
            await until_heartbeat(coordinator, lambda _: True)

    async def test_a_lost_attempt_is_aborted(self, coordinator: FakeCoordinator, site: Site) -> None:
        async with site.serving(coordinator, slots=1):
            await until_heartbeat(coordinator, lambda beat: beat.free == 1)
            await coordinator.begin(assign(1, "hold on"))
            await coordinator.send(HeartbeatAck(lost=(AttemptRef(job_id(1), 1),)))
            await until_heartbeat(coordinator, lambda beat: beat.held == () and beat.free == 1)
            assert site.provider.idle == 1

    async def test_no_prompt_and_no_answer_is_logged(self, coordinator: FakeCoordinator, site: Site) -> None:
        with capture_logs() as logs:
            async with site.serving(coordinator, slots=3):
                for number, prompt in enumerate(("CANARY", "fail CANARY", "explode CANARY")):
                    await coordinator.send(assign(number, prompt))
                for _ in range(3 * 3 + 2):
                    await asyncio.wait_for(coordinator.frames.get(), 60)
        assert [entry["outcome"] for entry in logs if entry["event"] == "job ended"] == [
            "completed",
            "worker_error",
            "worker_error",
        ]
        assert "CANARY" not in str(logs)
