"""An embedder who logs everything there is to log, and configured nothing, sees no prompt, output or key."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from unittest.mock import patch

import pytest
import structlog

from cavvy.core.coordinator import Coordinator
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import live_stack
from tests.canaries import CANARIES, Canary, try_everything
from tests.canary_process import breaking

#: What the test's own client and the canary itself log.
THEIR_OWN = ("any_llm", "httpx", "httpcore", "websockets.client")
OPERATIONS = [
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs/{job_id}"),
    ("GET", "/v1/jobs/{job_id}/result"),
    ("POST", "/v1/jobs/{job_id}/cancel"),
    ("POST", "/v1/keys"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # the canary's own
async def test_whoever_embeds_coordinator_and_worker_logs_no_canary(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    structlog.reset_defaults()
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    with patch.object(Coordinator, "handle", breaking):
        async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data")) as stack:
            await stack.add_worker(Canary())
            faults = await asyncio.to_thread(try_everything, stack.server.url, stack.key, OPERATIONS)
            operator = {"Authorization": f"Bearer {stack.server.operator_key}"}
            metrics = (await stack.http.get("/metrics", headers=operator)).text
            secrets = (*CANARIES, stack.key)
    assert faults, "the engine failed, and said so"
    ours = [
        one for one in caplog.records if not one.name.startswith(("any_llm", "httpx", "httpcore", "websockets.client"))
    ]
    written = "".join([*capfd.readouterr(), *(f"{one.getMessage()} {one.exc_text}" for one in ours)])
    assert "command_failed" in written
    assert "job ended" in written
    assert [word for word in secrets if word in written] == []
    assert "cavvy_jobs_failed_total" in metrics
    assert [word for word in secrets if word in metrics] == []
