"""`ComputeRouter` and Dispatch's workers: the receipt is held against the very bytes the worker signed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cavvy import AsyncComputeRouter, ComputeFailed
from tests.dispatch.live import Dispatch
from tests.dispatch.worker import DispatchWorker


@pytest.fixture
async def router(
    dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[AsyncComputeRouter]:
    monkeypatch.setenv("CAVVY_CONFIG_DIR", str(tmp_path))
    async with AsyncComputeRouter({"monad": dispatch.stack.server.url}, fallback=False) as router:
        yield router


ODD: dict[str, Any] = {
    "numbers": {"extracted": [{"2": "x", "10": "y", "a": 1e-7, "b": 1e21, "c": 1.0, "d": -0.0}], "count": 1},
    "letters": {"summary": 'Zoë 🐎 \u2028 "/\\ \x7f', "word_count": 3},
    "cut in two": {"summary": "horse \ud83d...", "word_count": 2},
}


@pytest.mark.parametrize("output", ODD.values(), ids=list(ODD))
async def test_what_javascript_writes_is_taken_with_its_receipt(
    router: AsyncComputeRouter, make_worker: Callable[..., DispatchWorker], output: Any
) -> None:
    worker = make_worker(brain=lambda job_type, payload: output)
    serving = asyncio.create_task(worker.serve())
    result = await router.run_task(task_type="summarize", input="text", user_id="alice")
    assert result.receipt is not None
    assert result.receipt["provider_pubkey"] == worker.key
    assert (type(result.output), result.route) == (type(output), "decentralized:monad")
    await worker.close()
    await serving


async def test_a_stub_of_a_worker_is_no_answer(
    router: AsyncComputeRouter, make_worker: Callable[..., DispatchWorker]
) -> None:
    worker = make_worker(
        brain=lambda job_type, _: {"text": "[STUB]", "stub": True} if job_type == "LLM_INFER" else {"x": 1}
    )
    serving = asyncio.create_task(worker.serve())
    with pytest.raises(ComputeFailed) as failed:
        await router.run_llm(prompt="Who?", user_id="alice")
    assert failed.value.code == "worker_error"
    await worker.close()
    await serving
