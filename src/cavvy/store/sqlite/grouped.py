"""Reads of single jobs, gathered: who asks while a read is under way is answered by the next one, all together."""

from __future__ import annotations

import asyncio

from cavvy.store.base import JobRecord
from cavvy.store.sqlite.reader import JobName, Reader
from cavvy.store.sqlite.thread import SerialThread

__all__ = ["JobReads"]

#: Most jobs of one read: a handful of the largest would already be a lot of memory.
_GROUP = 32


class JobReads:
    """Many submitters wait for jobs that end in one commit; a thread hop for each would cost more than its read."""

    def __init__(self, thread: SerialThread, reader: Reader) -> None:
        self._thread = thread
        self._reader = reader
        self._waiting: list[tuple[JobName, asyncio.Future[JobRecord | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def job(self, tenant: str, job_id: str) -> JobRecord | None:
        future: asyncio.Future[JobRecord | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((JobName(tenant, job_id), future))
        if self._task is None:
            self._task = asyncio.create_task(self._answer_all())
        return await future

    async def finish(self) -> None:
        """Returns when everyone who asked is answered."""
        if self._task is not None:
            await self._task

    async def _answer_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_GROUP], self._waiting[_GROUP:]
            try:
                found = await self._thread.call(self._reader.whole_jobs, [name for name, _ in group])
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who asked
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), job in zip(group, found, strict=True):
                    if not future.done():
                        future.set_result(job)
        self._task = None
