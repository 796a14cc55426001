"""`SqliteStore`: the asyncio face of the writer and the reader."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.retention import Due, Horizons
from cavvy.core.trust import Trust
from cavvy.core.writes import Write
from cavvy.errors import StartError, StoreDamaged
from cavvy.private_files import make_private_directory
from cavvy.store.base import (
    AssignInput,
    FoundJobs,
    IdempotencyRecord,
    JobFilter,
    JobRecord,
    LoadRow,
    Opened,
    WorkerRecord,
)
from cavvy.store.sqlite import connection as connections
from cavvy.store.sqlite.batch import parcels
from cavvy.store.sqlite.failures import UNFIT, unreadable
from cavvy.store.sqlite.files import DATABASE, DirectoryLock, make_private
from cavvy.store.sqlite.grouped import JobReads
from cavvy.store.sqlite.reader import Reader
from cavvy.store.sqlite.records import Shared, headers
from cavvy.store.sqlite.thread import SerialThread
from cavvy.store.sqlite.writer import Writer

__all__ = ["SqliteStore"]

P = ParamSpec("P")
T = TypeVar("T")

_BEFORE_ALL = -(2**63)
_LOAD_PAGE = 1000


class _Connected:
    """What exists while the store is open: two connections, each with a thread of its own."""

    def __init__(self, path: Path, writer_class: type[Writer], writing: SerialThread, reading: SerialThread) -> None:
        self._write_connection = connections.connect_writer(path)
        try:
            connections.migrate(self._write_connection)
            self.opened = connections.open_term(self._write_connection)
            self._read_connection = connections.connect_reader(path)
        except BaseException:
            self._write_connection.close()
            raise
        self.writer = writer_class(self._write_connection)
        self.reader = Reader(self._read_connection)
        self.writing = writing
        self.reading = reading
        self.job_reads = JobReads(reading, self.reader)

    async def close(self) -> None:
        """The writer's connection goes last: being the last it empties the log into the database and removes it."""
        await self.job_reads.finish()
        await self.reading.call(self._read_connection.close)
        self.reading.stop()
        await self.writing.call(self._write_connection.close)
        self.writing.stop()


class SqliteStore:
    """A `Store` in `directory`, which one process at a time may open.

    All files are readable by their owner only. `url` is told to whoever tries to open the directory a second time.
    """

    #: What commits; tests put in one whose steps fail.
    writer_class: type[Writer] = Writer

    def __init__(self, directory: Path, *, url: str | None = None) -> None:
        self._path = directory / DATABASE
        self._lock = DirectoryLock(directory, url=url)
        self._connected: _Connected | None = None
        self._damage: StoreDamaged | None = None

    async def open(self) -> Opened:
        if self._connected is not None:
            raise RuntimeError("the store is open already")
        writing = SerialThread("cavvy-store-write")
        reading = SerialThread("cavvy-store-read")
        try:
            self._connected = await writing.call(self._connect, writing, reading)
        except Exception:
            writing.stop()
            reading.stop()
            raise
        return self._connected.opened

    def _connect(self, writing: SerialThread, reading: SerialThread) -> _Connected:
        try:
            make_private_directory(self._path.parent)
            self._lock.acquire()
            connections.check_version(self._path)
            make_private(self._path)
            return _Connected(self._path, self.writer_class, writing, reading)
        except (OSError, sqlite3.Error) as error:
            self._lock.release()
            hint = "check the disk and who owns the directory, or go on with a backup: `cavvy restore`"
            raise StartError(f"cannot open {self._path}: {error}; {hint}") from error
        except BaseException:
            self._lock.release()
            raise

    async def close(self) -> None:
        connected, self._connected = self._connected, None
        if connected is None:
            return
        try:
            await connected.close()
        finally:
            self._lock.release()

    def _now_connected(self) -> _Connected:
        if self._connected is None:
            raise RuntimeError("the store is not open")
        return self._connected

    def _still_sound(self) -> _Connected:
        """Raises StoreDamaged rather than let anything be written."""
        if self._damage is not None:
            raise self._damage
        return self._now_connected()

    async def commit(self, writes: Sequence[Write], *, term: int) -> None:
        connected = self._still_sound()
        await connected.writing.call(connected.writer.commit, parcels(writes), term)

    async def load(self) -> AsyncIterator[Sequence[LoadRow]]:
        with self._noticing(sqlite3.Error, *UNFIT):  # else the coordinator could not start either
            async for page in self._load():
                yield page

    async def _read(self, query: Callable[Concatenate[Reader, P], T], *given: P.args, **_: P.kwargs) -> T:
        connected = self._now_connected()
        with self._noticing(sqlite3.Error):
            return await connected.reading.call(query, connected.reader, *given)

    @contextlib.contextmanager
    def _noticing(self, *errors: type[Exception]) -> Iterator[None]:
        """Nothing is written any more to what was found damaged, whoever wanted to read it: it could spread."""
        try:
            yield
        except errors as error:
            found = unreadable(error)
            if isinstance(found, StoreDamaged):
                self._damage = found
            raise found from error

    async def _load(self) -> AsyncIterator[Sequence[LoadRow]]:
        connected = self._now_connected()
        call, reader = connected.reading.call, connected.reader
        shared = Shared()
        after_seq, page = await call(reader.headers, _BEFORE_ALL, _LOAD_PAGE)
        while after_seq is not None and page is not None:
            following = call(reader.headers, after_seq, _LOAD_PAGE)
            yield headers(page, shared)
            after_seq, page = await following
        yield await call(reader.all_workers)
        yield await call(reader.unused_tokens)
        yield await call(reader.tenants)
        yield [key for key in await call(reader.api_keys) if key.revoked_at_ms is None]
        yield await call(reader.stops)
        yield await call(reader.all_trust)

    async def inputs(self, job_ids: Sequence[str]) -> Mapping[str, AssignInput]:
        return await self._read(Reader.inputs, job_ids)

    async def job(self, tenant: str, job_id: str) -> JobRecord | None:
        with self._noticing(sqlite3.Error):
            return await self._now_connected().job_reads.job(tenant, job_id)

    async def jobs(self, tenant: str, *, before: int | None, limit: int) -> Sequence[JobRecord]:
        return await self._read(Reader.jobs, tenant, before, limit)

    async def find_jobs(self, tenant: str, wanted: JobFilter, *, before: int | None, limit: int) -> FoundJobs:
        return await self._read(Reader.find_jobs, tenant, wanted, before, limit)

    async def idempotent(
        self, tenant: str, keys: Sequence[str], *, not_before_ms: int
    ) -> Mapping[str, IdempotencyRecord]:
        return await self._read(Reader.idempotent, tenant, keys, not_before_ms)

    async def accepted(self, job_id: str, epoch: int) -> tuple[str, bool] | None:
        return await self._read(Reader.accepted, job_id, epoch)

    async def trusts(self, tenant: str, user_id: str) -> Sequence[Trust]:
        return await self._read(Reader.trusts, tenant, user_id)

    async def workers(self, tenant: str) -> Sequence[WorkerRecord]:
        return await self._read(Reader.workers, tenant)

    async def api_keys(self) -> Sequence[ApiKey]:
        return await self._read(Reader.api_keys)

    async def tenants(self) -> Sequence[Tenant]:
        return await self._read(Reader.tenants)

    async def due(self, horizons: Horizons, *, limit: int) -> Due:
        return await self._read(Reader.due, horizons, limit)

    async def scrub(self, *, term: int) -> bool:
        connected = self._still_sound()
        return await connected.writing.call(connected.writer.scrub, term)
