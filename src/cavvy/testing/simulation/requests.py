"""What clients ask of the coordinator in a simulation, as the API's routes would: each request may get no answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from cavvy.coordinator.engine import CommandFailed, StoreUnavailable
from cavvy.core.canonical import canonical
from cavvy.core.commands import CancelJob, EndTrust, PairWorker, ReleaseStop, RunAgain, StopTenant, SubmitJob
from cavvy.core.effects import Reply, ReplyCode
from cavvy.core.job import JobStatus, PrivacyClass, needs_of
from cavvy.core.pairings import User
from cavvy.core.receipt import Params
from cavvy.core.writes import Idempotency
from cavvy.store.base import JobRecord, header_of
from cavvy.testing.simulation.coordinator import SimulatedCoordinator
from cavvy.testing.simulation.errands import Errand
from cavvy.testing.simulation.process import Process

__all__ = ["NoAnswer", "Requests"]

T = TypeVar("T")


class NoAnswer(Exception):
    """The request or its answer was lost, or nobody listens."""


class Requests:
    """The way to the coordinator, whichever process of it runs."""

    def __init__(self, node: SimulatedCoordinator) -> None:
        self._node = node
        self._store = node.store

    async def submit(self, key: str, errand: Errand, job_id: str, **fields: Any) -> str:
        """`POST /v1/jobs` or `/v1/jobs/commit/…` with an Idempotency-Key; the job's id. Raises NoAnswer, also while
        everything is stopped.
        """
        return await self._request(lambda process: self._submit(process, key, errand, job_id, fields))

    async def pair(self, trust_id: str, worker: str, user: User) -> str:
        """`POST /v1/trust/pair`; the trust's id. Raises NoAnswer, also while no such worker is enrolled."""
        return await self._request(lambda process: self._pair(process, trust_id, worker, user))

    async def unpair(self, trust_id: str, user: User) -> None:
        """`DELETE /v1/trust/{id}`. Raises NoAnswer."""
        await self._request(lambda process: self._unpair(process, trust_id, user))

    async def stop(self, tenant: str) -> int:
        """`POST /v1/stop`; the highest `seq` that it is for. Raises NoAnswer."""
        return await self._request(lambda process: self._stop(process, tenant))

    async def release(self, tenant: str) -> None:
        """`DELETE /v1/stop`. Raises NoAnswer."""
        await self._request(lambda process: self._release(process, tenant))

    async def cancel(self, job_id: str) -> JobRecord | None:
        """`POST /v1/jobs/{id}/cancel`; the job as answered. Raises NoAnswer."""
        return await self._request(lambda process: self._cancel(process, job_id))

    async def retry(self, job_id: str) -> JobRecord | None:
        """`POST /v1/jobs/{id}/retry`; the job as it is then. Raises NoAnswer."""
        return await self._request(lambda process: self._retry(process, job_id))

    async def look(self, job_id: str) -> JobRecord | None:
        """`GET /v1/jobs/{id}`. Raises NoAnswer."""
        return await self._request(lambda _: self._node.record(job_id))

    async def _request(self, handler: Callable[[Process], Coroutine[Any, Any, T]]) -> T:
        await self._cross()
        process = self._node.process
        if process is None:
            raise NoAnswer
        work, death = process.spawn(handler(process)), process.spawn(process.died.wait())
        await asyncio.wait((work, death), return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        if process.dead or work.cancelled():
            raise NoAnswer
        try:
            answer = work.result()
        except (StoreUnavailable, CommandFailed) as error:
            raise NoAnswer from error
        await self._cross()
        return answer

    async def _cross(self) -> None:
        await asyncio.sleep(self._node.weather.delay())
        if self._node.weather.dice.random() < self._node.weather.drop:
            raise NoAnswer

    async def _submit(self, process: Process, key: str, errand: Errand, job_id: str, fields: dict[str, Any]) -> str:
        fingerprint = hashlib.sha256(errand.prompt.encode()).digest()
        known = (await self._store.idempotent(errand.tenant, [key], not_before_ms=0)).get(key)
        if known is not None:
            return known.job_id
        ref, user_id = process.engine.next_ref(), fields.pop("user_id")
        needs = needs_of(
            tenant=errand.tenant,
            user_id=user_id,
            job_type=errand.job_type,
            privacy_class=fields.pop("privacy_class", PrivacyClass.PUBLIC),
            model=None,
            policy=errand.policy,
        )
        command = SubmitJob(
            ref=ref,
            id=job_id,
            user_id=user_id,
            needs=needs,
            input=errand.input,
            params=canonical(Params()),
            idempotency=Idempotency(key=key, fingerprint=fingerprint),
            **fields,
        )
        reply = await process.engine.ask(command, ref)
        assert isinstance(reply, Reply)
        if reply.code in (ReplyCode.STOPPED, ReplyCode.DEADLINE_PASSED):
            raise NoAnswer
        assert reply.job_id is not None
        return reply.job_id

    async def _pair(self, process: Process, trust_id: str, worker: str, user: User) -> str:
        ref, (tenant, user_id) = process.engine.next_ref(), user
        command = PairWorker(ref=ref, id=trust_id, tenant=tenant, user_id=user_id, worker=worker)
        reply = await process.engine.ask(command, ref)
        assert isinstance(reply, Reply)
        if reply.trust is None:
            raise NoAnswer
        return reply.trust.id

    async def _unpair(self, process: Process, trust_id: str, user: User) -> None:
        ref, (tenant, user_id) = process.engine.next_ref(), user
        command = EndTrust(ref=ref, id=trust_id, tenant=tenant, user_id=user_id)
        await process.engine.ask(command, ref)

    async def _stop(self, process: Process, tenant: str) -> int:
        ref = process.engine.next_ref()
        reply = await process.engine.ask(StopTenant(ref=ref, tenant=tenant, by="client"), ref)
        assert isinstance(reply, Reply)
        assert reply.stop is not None
        return reply.stop.stop_seq

    async def _release(self, process: Process, tenant: str) -> None:
        ref = process.engine.next_ref()
        await process.engine.ask(ReleaseStop(ref=ref, tenant=tenant), ref)

    async def _cancel(self, process: Process, job_id: str) -> JobRecord | None:
        found = await self._node.record(job_id)
        if found is not None:
            ref = process.engine.next_ref()
            await process.engine.ask(CancelJob(ref=ref, tenant=found.tenant, job_id=job_id, by="client"), ref)
        return await self._node.record(job_id)

    async def _retry(self, process: Process, job_id: str) -> JobRecord | None:
        found = await self._node.record(job_id)
        if found is not None and found.status is JobStatus.FAILED:
            ref = process.engine.next_ref()
            await process.engine.ask(RunAgain(ref=ref, job=header_of(found)), ref)
        return await self._node.record(job_id)
