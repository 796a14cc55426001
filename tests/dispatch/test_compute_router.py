"""The router at a real coordinator: with and without a key, prompts and tasks, what is PRIVATE, what is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cavvy import AsyncComputeRouter, ComputeFailed, ComputeResult, ComputeRouter, InvalidInput, defaults
from cavvy.api.listening import Listen
from cavvy.client.config import Credentials, write_credentials
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack


@pytest.fixture(autouse=True)
def _own_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CAVVY_URL", "CAVVY_API_KEY", "CAVVY_PIN", "CAVVY_CONFIG", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAVVY_CONFIG_DIR", str(tmp_path / "config"))


@pytest.fixture(scope="module")
async def dispatch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveStack]:
    directory = tmp_path_factory.mktemp("router") / "data"
    async with live_stack(directory, SqliteStore(directory), listen=Listen(port=0, dispatch=True)) as stack:
        await stack.add_worker(ScriptedProvider(["Amazon, ", "Danube"]))
        yield stack


@pytest.fixture
async def router(dispatch: LiveStack) -> AsyncIterator[AsyncComputeRouter]:
    async with AsyncComputeRouter({"monad": dispatch.server.url}) as router:
        yield router


async def rivers(router: AsyncComputeRouter, **fields: str) -> ComputeResult:
    return await router.run_llm(prompt="Name two rivers.", user_id="user_abc", **fields)


async def test_a_prompt_is_answered_without_a_key(router: AsyncComputeRouter) -> None:
    result = await rivers(router)
    assert (result.output["text"], result.route, result.price) == ("Amazon, Danube", "decentralized:monad", "$0.010")


async def test_the_receipt_is_of_this_job_and_this_output_and_found_valid(router: AsyncComputeRouter) -> None:
    result = await rivers(router)
    assert result.receipt is not None
    assert (result.receipt["job_id"], result.receipt["verified"]) == (result.job_id, True)


async def test_the_answer_comes_when_it_is_there_and_not_at_the_next_look(
    router: AsyncComputeRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "ROUTER_POLL_S", 3600.0)
    assert (await rivers(router)).output["text"] == "Amazon, Danube"


async def test_a_task_is_done(router: AsyncComputeRouter) -> None:
    result = await router.run_task(task_type="classify", input="I love this, it is great.", user_id="user_abc")
    assert (result.output["sentiment"], result.price) == ("positive", "$0.001")


async def test_the_blocking_router_does_the_same(dispatch: LiveStack) -> None:
    def blocking() -> ComputeResult:
        with ComputeRouter({"monad": dispatch.server.url}) as router:
            return router.run_llm(prompt="Name two rivers.", user_id="user_abc")

    assert (await asyncio.to_thread(blocking)).output["text"] == "Amazon, Danube"


async def test_the_accounts_key_is_used_and_the_job_is_of_its_tenant(dispatch: LiveStack) -> None:
    write_credentials(Credentials(url=dispatch.server.url, key=dispatch.key))
    async with AsyncComputeRouter() as router:
        result = await rivers(router)
    job = (await dispatch.http.get(f"/v1/jobs/{result.job_id}")).json()
    assert (job["user_id"], job["status"]) == ("user_abc", "completed")


async def test_p16_a_private_job_without_a_trusted_worker_is_refused_at_once(router: AsyncComputeRouter) -> None:
    with pytest.raises(ComputeFailed, match="Privacy enforcement: no_trusted_worker") as failed:
        await rivers(router, privacy="PRIVATE")
    assert (failed.value.code, failed.value.job_id is not None) == ("no_trusted_worker", True)


async def test_p16_a_private_job_is_done_by_the_worker_its_user_trusts(
    dispatch: LiveStack, router: AsyncComputeRouter
) -> None:
    await dispatch.trust("w", "trusting", tenant=defaults.DISPATCH_TENANT)
    result = await router.run_llm(prompt="my diary", user_id="trusting", privacy="PRIVATE")
    assert result.route == "decentralized:monad"
    assert result.receipt is not None
    assert result.receipt["privacy_class"] == "PRIVATE"


async def test_p16_what_is_nearly_private_is_not_sent(router: AsyncComputeRouter) -> None:
    with pytest.raises(InvalidInput):
        await rivers(router, privacy="private")


async def test_a_job_that_takes_too_long_is_cancelled_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listen = Listen(port=0, dispatch=True)
    async with live_stack(tmp_path, SqliteStore(tmp_path), listen=listen) as stack:
        monkeypatch.setattr(defaults, "COMMIT_LLM_TIMEOUT_S", 0.0)
        async with AsyncComputeRouter({"monad": stack.server.url}) as router:
            with pytest.raises(ComputeFailed, match="was cancelled") as failed:
                await rivers(router)
        record = await stack.server._store.job(defaults.DISPATCH_TENANT, failed.value.job_id or "")
        assert record is not None
        assert record.status == "failed"


async def test_without_the_flag_the_error_names_it(tmp_path: Path) -> None:
    async with live_stack(tmp_path, SqliteStore(tmp_path)) as stack, AsyncComputeRouter({"m": stack.server.url}) as it:
        with pytest.raises(ComputeFailed, match="--dispatch"):
            await rivers(it)
