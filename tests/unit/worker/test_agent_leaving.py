"""How a worker ends."""

from __future__ import annotations

import asyncio

import pytest

from cavvy.core.job import RejectReason
from cavvy.errors import ModelMissing
from cavvy.protocol.messages import (
    CompleteAck,
    Draining,
    JobCancel,
    JobComplete,
    JobDelta,
    JobReject,
)
from tests.unit.worker.site import Site
from tests.unit.worker.support import FakeCoordinator, assign, job_id, running_coordinator


class TestStopping:
    async def test_stop_aborts_closes_the_socket_normally_and_closes_the_providers(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        async with site.serving(coordinator):
            await coordinator.begin(assign(1, "hold on"))
        assert await coordinator.closed.get() == 1000
        assert coordinator.frames.empty()
        assert (site.provider.idle, site.provider.closed) == (1, True)

    async def test_stop_waits_for_a_provider_that_is_already_stopping(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        site.provider.may_stop.clear()
        async with site.serving(coordinator) as worker:
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

    async def test_stop_works_while_nobody_answers(self, absent: FakeCoordinator, site: Site) -> None:
        async with site.running(absent.join):
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
        await coordinator.begin(assign(1, "hold it"))
        worker.leave(30)
        await coordinator.receive(Draining)
        await coordinator.send(assign(2))
        assert (await coordinator.receive(JobReject)).reason is RejectReason.DRAINING
        site.provider.release.set()
        await coordinator.receive(JobDelta)
        done = await coordinator.receive(JobComplete)
        assert not task.done()
        await coordinator.send(CompleteAck(job_id=done.job_id, epoch=1, verdict="accepted"))
        async with asyncio.timeout(60):
            await task
        assert (await coordinator.closed.get(), site.provider.closed) == (1000, True)

    async def test_p12_told_again_it_gives_back_at_once_what_runs(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        worker = site.worker(coordinator.join)
        task = asyncio.create_task(worker.run())
        await coordinator.login()
        await coordinator.begin(assign(1, "hold it"))
        worker.leave(30)
        worker.leave(0)
        await coordinator.receive(Draining)
        given_back = await coordinator.receive(JobReject)
        assert (given_back.job_id, given_back.epoch, given_back.reason) == (job_id(1), 1, RejectReason.DRAINING)
        async with asyncio.timeout(60):
            await task
        assert (site.provider.idle, site.provider.closed) == (1, True)

    async def test_p12_it_does_not_hang_on_a_coordinator_that_is_gone(
        self, absent: FakeCoordinator, site: Site
    ) -> None:
        async with running_coordinator(absent):
            worker = site.worker(absent.join)
            task = asyncio.create_task(worker.run())
            await absent.login()
            await absent.send(assign(1, "hold it"))
            await site.provider.holding.wait()
        worker.leave(0)
        async with asyncio.timeout(60):
            await task
        assert site.provider.closed

    async def test_p12_before_it_has_ever_been_connected_it_just_ends(
        self, coordinator: FakeCoordinator, site: Site
    ) -> None:
        worker = site.worker(coordinator.join)
        worker.leave(30)
        await worker.run()
        assert coordinator.registers == []
