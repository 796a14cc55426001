"""Trust, from the worker's side and from Python: a real worker claims, and a PRIVATE job goes where its user trusts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cavvy import AsyncCavvy, Cavvy
from cavvy.errors import NoCoordinator, RequestRefused, StartError, WorkerRefused
from cavvy.protocol.fingerprint import worker_fingerprint
from cavvy.testing import LiveStack, ScriptedProvider
from cavvy.worker.agent import Worker
from cavvy.worker.claiming import claim_trust
from cavvy.worker.identity import Membership, WorkerHome, parse_join


@pytest.fixture
async def worker(stack: LiveStack) -> Worker:
    return await stack.add_worker(ScriptedProvider(["hush"]), name="desk")


@pytest.fixture
def home(stack: LiveStack) -> WorkerHome:
    return WorkerHome(stack.directory / "worker-desk")


def client(stack: LiveStack) -> AsyncCavvy:
    return AsyncCavvy(stack.server.url, stack.key)


async def test_a_private_job_goes_to_a_worker_as_soon_as_its_user_trusts_it(
    stack: LiveStack, worker: Worker, home: WorkerHome
) -> None:
    async with client(stack) as cavvy:
        with pytest.raises(RequestRefused, match="no_trusted_worker"):
            await cavvy.run("hi", privacy_class="PRIVATE")
        made = await cavvy.create_trust_code()
        await claim_trust(home, made.pairing_code)
        with pytest.raises(RequestRefused, match="no_trusted_worker"):
            await cavvy.run("hi", privacy_class="PRIVATE")
        await cavvy.confirm_trust(made.id, worker_fingerprint(worker.key))
        assert (await cavvy.run("hi", privacy_class="PRIVATE")).output == "hush"


async def test_a_private_job_goes_nowhere_once_its_user_has_ended_it(stack: LiveStack, worker: Worker) -> None:
    async with client(stack) as cavvy:
        paired = await cavvy.pair_worker(worker.key)
        assert (await cavvy.run("hi", privacy_class="PRIVATE")).output == "hush"
        await cavvy.end_trust(paired.id)
        with pytest.raises(RequestRefused, match="no_trusted_worker"):
            await cavvy.run("hi", privacy_class="PRIVATE")


async def test_both_clients_tell_whom_the_user_trusts(stack: LiveStack, worker: Worker) -> None:
    def ask() -> list[str | None]:
        with Cavvy(stack.server.url, stack.key) as cavvy:
            made = cavvy.create_trust_code()
            paired = cavvy.pair_worker(worker.key)
            shown = cavvy.trust()
            assert [one.id for one in shown.providers] == [paired.id]
            assert [one.id for one in shown.waiting] == [made.id]
            with pytest.raises(RequestRefused, match="not_claimed"):
                cavvy.confirm_trust(made.id, worker_fingerprint(worker.key))
            cavvy.end_trust(made.id)
            return [one.name for one in cavvy.trust().providers]

    assert await asyncio.to_thread(ask) == ["desk"]


async def test_a_wrong_code_is_refused_with_what_to_do(stack: LiveStack, worker: Worker, home: WorkerHome) -> None:
    with pytest.raises(WorkerRefused, match="cavvy trust create"):
        await claim_trust(home, "000000")


async def test_who_has_joined_nothing_claims_nothing_and_gets_no_key(tmp_path: Path) -> None:
    home = WorkerHome(tmp_path / "empty")
    with pytest.raises(StartError, match="has joined"):
        await claim_trust(home, "000000")
    assert not home.key_path.exists()


async def test_a_claim_where_nobody_answers_says_so(stack: LiveStack, worker: Worker, home: WorkerHome) -> None:
    known = home.membership()
    assert known is not None
    home.remember(Membership(url="ws://127.0.0.1:1", coordinator_key=known.coordinator_key, name="desk"))
    with pytest.raises(NoCoordinator):
        await claim_trust(home, "000000")


async def test_a_code_is_told_to_no_other_coordinator(stack: LiveStack, worker: Worker, home: WorkerHome) -> None:
    known = home.membership()
    assert known is not None
    home.remember(Membership(url=known.url, coordinator_key="ab" * 32, name="desk"))
    async with client(stack) as cavvy:
        made = await cavvy.create_trust_code()
        with pytest.raises(WorkerRefused, match="not the one this worker was told to join"):
            await claim_trust(home, made.pairing_code)
        assert [one.status for one in (await cavvy.trust()).waiting] == ["open"]


async def test_the_worker_of_up_is_trusted_by_the_owner_until_he_ends_that(stack: LiveStack, tmp_path: Path) -> None:
    home = WorkerHome(tmp_path / "up")

    async def starts() -> None:
        line = await stack.server.own_worker_line(home.identity().key)
        worker = Worker(home=home, providers=[ScriptedProvider()], name="up", join=parse_join(line))
        running = asyncio.create_task(worker.run())
        await worker.wait_connected()
        await worker.stop()
        await running

    async with client(stack) as cavvy:
        await starts()
        (paired,) = (await cavvy.trust()).providers
        assert (paired.name, paired.user_id) == ("up", "owner")
        await cavvy.end_trust(paired.id)
        await starts()
        assert (await cavvy.trust()).providers == []
