"""A coordinator in the test's own process that is open to Dispatch's clients and workers, with no worker of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from cavvy.api.listening import Listen
from cavvy.api.services import Services
from cavvy.core.commands import CancelJob
from cavvy.core.ed25519 import public_key
from cavvy.core.settings import Settings
from cavvy.protocol.keyfile import load_or_create_seed
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, live_stack
from tests.dispatch.worker import DispatchWorker

__all__ = ["Dispatch", "opened"]


class Dispatch:
    """What a program on the same machine sees of it: no key."""

    def __init__(self, stack: LiveStack) -> None:
        self.stack = stack
        self.committed: list[str] = []
        self.workers: list[DispatchWorker] = []
        self.http = httpx.AsyncClient(base_url=stack.server.url, trust_env=False, timeout=90)

    @property
    def services(self) -> Services:
        """Its insides."""
        assert self.stack.server._services is not None
        return self.stack.server._services

    async def commit(self, prompt: str = "hi", *, policy: str = "fast", user_id: str = "alice", **body: Any) -> str:
        """A prompt's job; or, with other members of the body, another one."""
        wanted = {"job_type": "LLM_INFER", "payload": {"job_type": "LLM_INFER", "prompt": prompt}, "user_id": user_id}
        answer = await self.http.post(f"/v1/jobs/commit/{policy}", json=wanted | body)
        assert answer.status_code == 201, answer.text
        self.committed.append(str(answer.json()["job_id"]))
        return self.committed[-1]

    async def task(self, task_type: str, text: str, **body: Any) -> str:
        payload = {"job_type": "TASK", "task_type": task_type, "input": text}
        return await self.commit(policy="cheap", job_type="TASK", payload=payload, **body)

    async def job(self, job_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.http.get(f"/v1/jobs/{job_id}")).json()
        return shown

    async def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it is terminal."""
        shown: dict[str, Any] = (await self.http.get(f"/v1/jobs/{job_id}", params={"wait": 60})).json()
        assert shown["status"] in ("completed", "failed"), shown
        return shown

    async def end_everything(self) -> None:
        """Afterwards no worker is left, and nothing that was committed."""
        for worker in self.workers:
            await worker.close()
        self.workers.clear()
        engine = self.services.engine
        for job_id in self.committed:
            ref = engine.next_ref()
            await engine.ask(CancelJob(ref=ref, tenant="dispatch", job_id=job_id, by="test"), ref)
        self.committed.clear()


async def opened(directory: Path, **settings: Any) -> AsyncIterator[Dispatch]:
    """A coordinator started with --dispatch, with these of its settings."""
    key = public_key(load_or_create_seed(directory / "coordinator.key"))
    given = Settings(**({"lease_ttl_s": 600.0, "accept_timeout_s": 600.0} | settings), coordinator_key=key.hex())
    listen = Listen(port=0, dispatch=True)
    async with live_stack(directory, SqliteStore(directory), settings=given, listen=listen) as stack:
        dispatch = Dispatch(stack)
        yield dispatch
        await dispatch.http.aclose()
