"""What only the store in a SQLite file promises: who may read it, who holds it, and what each failure means."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cavvy.core.job import Effort, JobStatus
from cavvy.core.writes import Write
from cavvy.errors import CommitUnknown, DataHeld, Fenced, Refused, RolledBack, SchemaTooNew, StartError, StoreDamaged
from cavvy.store.base import JobFilter
from cavvy.store.sqlite import SqliteStore, connection, queries
from cavvy.store.sqlite.batch import parcels
from cavvy.store.sqlite.reader import JobName, Reader
from cavvy.store.sqlite.writer import Writer
from tests.conformance.samples import (
    TENANT,
    WORKER,
    OpenStore,
    cancelled,
    completed,
    enrolled,
    failed,
    granted,
    inserted,
    job_id,
    key,
    requeued,
    revived,
    started,
)


class Probe(Writer):
    """A writer whose connection the test can get at, and whose steps fail as told."""

    latest: Probe

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.connection = connection
        self.failing: dict[str, int] = {}
        self.commits_first = False
        Probe.latest = self

    def pragma(self, text: str) -> Any:
        row = self.connection.execute(f"PRAGMA {text}").fetchone()
        return None if row is None else row[0]

    def _fail(self, step: str) -> None:
        if step in self.failing:
            error = sqlite3.OperationalError(f"{step} fails on purpose")
            error.sqlite_errorcode = self.failing[step]
            raise error

    def _begin(self) -> None:
        self._fail("begin")
        super()._begin()

    def _write(self, *arguments: Any) -> None:
        super()._write(*arguments)
        self._fail("write")

    def _commit_transaction(self) -> None:
        if self.commits_first:
            super()._commit_transaction()
        self._fail("commit")
        super()._commit_transaction()

    def _rollback_transaction(self) -> None:
        self._fail("rollback")
        super()._rollback_transaction()


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[OpenStore]:
    store = SqliteStore(tmp_path / "data")
    store.writer_class = Probe
    yield OpenStore(store, (await store.open()).term)
    await store.close()


@pytest.fixture
def any_mode() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


ALL_FILES = {"cavvy.db", "cavvy.db-wal", "cavvy.db-shm", "coordinator.lock"}


# Who may read it


@pytest.mark.usefixtures("any_mode")
async def test_only_the_owner_may_read_the_directory_and_each_file(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "data"
    store = SqliteStore(directory)
    await store.open()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert modes(directory) == dict.fromkeys(ALL_FILES, 0o600)
    await store.close()


@pytest.mark.usefixtures("any_mode")
async def test_files_that_others_could_read_are_closed_to_them(tmp_path: Path) -> None:
    left_behind = tmp_path / "left"
    store = SqliteStore(left_behind)
    opened = OpenStore(store, (await store.open()).term)
    await opened.commit(inserted(1))
    directory = tmp_path / "data"
    shutil.copytree(left_behind, directory)  # with its log, as after a power cut
    await store.close()
    for path in directory.iterdir():
        path.chmod(0o666)
    again = SqliteStore(directory)
    await again.open()
    assert modes(directory) == dict.fromkeys(ALL_FILES, 0o600)
    assert await again.job("default", "job-1") is not None
    await again.close()


async def test_closing_leaves_one_database_file_and_no_log(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.open()
    await store.close()
    assert set(modes(tmp_path)) == {"cavvy.db", "coordinator.lock"}


# Who holds it

HOLDER = """
import asyncio, pathlib, sys
from cavvy.store.sqlite import SqliteStore

async def hold():
    await SqliteStore(pathlib.Path(sys.argv[1]), url="http://127.0.0.1:4010").open()
    print("held", flush=True)
    sys.stdin.read()

asyncio.run(hold())
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A directory that another process has open, and that process's id."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield tmp_path, process.pid
        process.kill()


async def test_a_second_holder_is_told_who_has_the_directory_and_touches_nothing(held: tuple[Path, int]) -> None:
    directory, pid = held
    before = {path.name: (path.read_bytes(), path.stat()[:9]) for path in directory.iterdir() if "shm" not in path.name}
    with pytest.raises(DataHeld, match=rf"pid {pid}.*url http://127\.0\.0\.1:4010.*stop that process") as raised:
        await SqliteStore(directory).open()
    after = {path.name: (path.read_bytes(), path.stat()[:9]) for path in directory.iterdir() if "shm" not in path.name}
    assert after == before
    assert str(directory) in str(raised.value)


async def test_the_directory_is_free_again_when_its_holder_is_dead(held: tuple[Path, int]) -> None:
    directory, pid = held
    os.kill(pid, 9)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    store = SqliteStore(directory)
    assert (await store.open()).term == 2
    await store.close()


async def test_the_same_process_cannot_hold_it_twice_either(opened: OpenStore, tmp_path: Path) -> None:
    with pytest.raises(DataHeld, match=f"pid {os.getpid()}"):
        await SqliteStore(tmp_path / "data").open()
    await opened.commit(inserted(1))


async def test_an_open_store_cannot_be_opened_again(opened: OpenStore) -> None:
    with pytest.raises(RuntimeError, match="open already"):
        await opened.store.open()
    await opened.commit(inserted(1))


# The schema


def set_version(path: Path, version: int) -> None:
    with sqlite3.connect(path) as other:
        other.execute(f"PRAGMA user_version = {version}")
    other.close()


async def test_a_newer_schema_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.open()
    await store.close()
    set_version(tmp_path / "cavvy.db", 99)
    before = (tmp_path / "cavvy.db").read_bytes()
    with pytest.raises(SchemaTooNew, match=r"schema version 99.*start the newer Cavvy"):
        await store.open()
    assert (tmp_path / "cavvy.db").read_bytes() == before


async def test_a_newer_schema_is_seen_in_a_log_that_is_left_and_the_log_stays(tmp_path: Path) -> None:
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA journal_mode = WAL")
    newer.execute("PRAGMA user_version = 99")
    data = tmp_path / "data"
    data.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(tmp_path / f"newer.db{suffix}", data / f"cavvy.db{suffix}")
    newer.close()
    before = [(data / name).read_bytes() for name in ("cavvy.db", "cavvy.db-wal")]
    with pytest.raises(SchemaTooNew):
        await SqliteStore(data).open()
    assert [(data / name).read_bytes() for name in ("cavvy.db", "cavvy.db-wal")] == before


async def test_a_migration_that_fails_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cavvy.db"
    good, bad = "CREATE TABLE good (x);", "CREATE TABLE half (x); CREATE TABLE half (x);"
    monkeypatch.setattr(connection, "_migrations", lambda: [good, bad])
    with pytest.raises(StartError, match="already exists"):
        await SqliteStore(tmp_path).open()
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (1,)
        assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("good",)]
    other.close()


async def test_what_is_no_database_cannot_be_opened_and_the_lock_is_free_afterwards(tmp_path: Path) -> None:
    (tmp_path / "cavvy.db").write_bytes(b"this is a letter, not a database" * 100)
    with pytest.raises(StartError, match=r"cannot open .*not a database"):
        await SqliteStore(tmp_path).open()
    (tmp_path / "cavvy.db").unlink()
    store = SqliteStore(tmp_path)
    await store.open()
    await store.close()


# What each failure means


async def test_commits_are_made_with_full_fsync(opened: OpenStore) -> None:
    assert Probe.latest.pragma("journal_mode") == "wal"
    assert [Probe.latest.pragma(name) for name in ("synchronous", "fullfsync", "checkpoint_fullfsync")] == [2, 1, 1]


def test_a_reader_can_neither_write_nor_checkpoint(tmp_path: Path) -> None:
    writer = connection.connect_writer(tmp_path / "cavvy.db")
    connection.migrate(writer)
    reader = connection.connect_reader(tmp_path / "cavvy.db")
    assert reader.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM job")
    reader.close()
    writer.close()


def test_no_connection_writes_texts_into_the_temporary_directory(tmp_path: Path) -> None:
    writer = connection.connect_writer(tmp_path / "cavvy.db")
    connection.migrate(writer)
    reader = connection.connect_reader(tmp_path / "cavvy.db")
    in_memory = 2
    for one in (writer, reader):
        assert one.execute("PRAGMA temp_store").fetchone() == (in_memory,)
        one.close()


async def test_a_full_disk_rolls_back_and_the_same_writes_pass_once_there_is_room(opened: OpenStore) -> None:
    pages = Probe.latest.pragma("page_count")
    Probe.latest.pragma(f"max_page_count = {pages}")
    large = inserted(1, input=b"x" * 100_000)
    with pytest.raises(RolledBack, match="full"):
        await opened.commit(large)
    assert await opened.everything() == [[], [], None, []]
    Probe.latest.pragma("max_page_count = 1000000")
    await opened.commit(large)
    assert await opened.header(1) is not None


async def test_a_read_only_store_rolls_back_and_works_again_afterwards(opened: OpenStore) -> None:
    Probe.latest.pragma("query_only = ON")
    with pytest.raises(RolledBack, match="readonly"):
        await opened.commit(inserted(1))
    Probe.latest.pragma("query_only = OFF")
    await opened.commit(inserted(1))


async def test_a_locked_database_rolls_back_and_works_again_afterwards(opened: OpenStore, tmp_path: Path) -> None:
    Probe.latest.pragma("busy_timeout = 0")
    other = sqlite3.connect(tmp_path / "data" / "cavvy.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RolledBack, match="locked"):
        await opened.commit(inserted(1))
    other.execute("ROLLBACK")
    other.close()
    await opened.commit(inserted(1))


RETRIED = [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY]
BUSY_SNAPSHOT, IOERR_FSYNC, IOERR_WRITE = 517, 1034, 778


@pytest.mark.parametrize("code", [*RETRIED, BUSY_SNAPSHOT, IOERR_WRITE, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_CANTOPEN])
@pytest.mark.parametrize("step", ["begin", "write"])
async def test_whatever_fails_before_commit_is_rolled_back(opened: OpenStore, step: str, code: int) -> None:
    Probe.latest.failing = {step: code}
    with pytest.raises(RolledBack, match="on purpose"):
        await opened.commit(inserted(1))
    Probe.latest.failing = {}
    assert await opened.everything() == [[], [], None, []]
    await opened.commit(inserted(1))


@pytest.mark.parametrize("code", [sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_INTERNAL])
async def test_what_no_other_try_can_heal_is_refused_and_not_tried_for_ever(opened: OpenStore, code: int) -> None:
    Probe.latest.failing = {"write": code}
    with pytest.raises(Refused, match="on purpose"):
        await opened.commit(inserted(1))
    Probe.latest.failing = {}
    assert await opened.everything() == [[], [], None, []]


async def test_writes_into_a_table_that_is_gone_are_refused_and_the_store_cannot_be_loaded(opened: OpenStore) -> None:
    Probe.latest.connection.execute("DROP TABLE job")
    with pytest.raises(Refused, match="no such table"):
        await opened.commit(inserted(1))
    with pytest.raises(StoreDamaged, match="cavvy restore"):
        await opened.loaded()


def overwrite_root_of(database: Path, table: str) -> None:
    """As a failing disk does: what leads to the rows of this table holds something else."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table]).fetchall()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


async def damaged(path: Path, table: str) -> SqliteStore:
    """A store that was opened again after its disk had lost what is in one table."""
    store = SqliteStore(path)
    term = (await store.open()).term
    await OpenStore(store, term).commit(*(inserted(number, input=b"x" * 9_000) for number in range(50)))
    await store.close()
    overwrite_root_of(path / "cavvy.db", table)
    return store


async def test_what_a_disk_has_damaged_is_written_no_more(tmp_path: Path) -> None:
    store = await damaged(tmp_path, "job_input")
    opened = OpenStore(store, (await store.open()).term)
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="cavvy restore"):
            await opened.commit(inserted(99))
    await store.close()


async def test_nothing_is_written_any_more_once_what_is_to_be_sent_cannot_be_read(tmp_path: Path) -> None:
    store = await damaged(tmp_path, "job_input")
    opened = OpenStore(store, (await store.open()).term)
    (first, *_) = await opened.loaded()
    with pytest.raises(StoreDamaged, match="cannot be read"):
        await store.inputs([first.id])
    with pytest.raises(StoreDamaged, match="cannot be read"):
        await opened.commit(failed(1))
    await store.close()


@pytest.mark.parametrize(
    ("table", "read"),
    [
        ("job_input", lambda store, job: store.job(TENANT, job)),
        ("attempt", lambda store, job: store.accepted(job, 1)),
        ("idempotency", lambda store, _: store.idempotent(TENANT, ["key"], not_before_ms=0)),
        ("job_input", lambda store, _: store.find_jobs(TENANT, JobFilter(text="x"), before=None, limit=1)),
    ],
    ids=["a job", "an attempt", "a key that was used", "a search"],
)
async def test_nothing_is_written_any_more_once_anything_was_found_damaged(
    tmp_path: Path, table: str, read: Callable[[SqliteStore, str], Awaitable[Any]]
) -> None:
    store = await damaged(tmp_path, table)
    opened = OpenStore(store, (await store.open()).term)
    with pytest.raises(StoreDamaged, match="cannot be read"):
        await read(store, job_id(1))
    with pytest.raises(StoreDamaged, match="cannot be read"):
        await opened.commit(failed(1))
    with pytest.raises(StoreDamaged, match="cannot be read"):
        await store.scrub(term=opened.term)
    await store.close()


@pytest.mark.parametrize(
    "flipped",
    [
        "UPDATE job SET user_id = x'ff'",
        "UPDATE job SET status = 'pendinf'",
        "UPDATE job SET terms = CAST('}' AS BLOB)",
        "UPDATE worker SET status = 'approvee'",
        "UPDATE worker SET name = x'ff'",
    ],
)
async def test_what_nobody_has_written_cannot_be_started_with_and_says_what_to_do(
    opened: OpenStore, flipped: str
) -> None:
    await opened.commit(inserted(1), enrolled(token_hash=None))
    Probe.latest.connection.execute(flipped)
    with pytest.raises(StoreDamaged, match="cavvy restore") as damage:
        await opened.loaded()
    assert len(str(damage.value)) < 200


@pytest.mark.parametrize("table", ["job", "worker"])
async def test_what_is_damaged_cannot_be_started_with_and_says_what_to_do(tmp_path: Path, table: str) -> None:
    store = await damaged(tmp_path, table)
    with pytest.raises((StoreDamaged, StartError), match="cavvy restore"):
        await opened_and_loaded(store)
    await store.close()


async def opened_and_loaded(store: SqliteStore) -> None:
    await OpenStore(store, (await store.open()).term).loaded()


@pytest.mark.parametrize("code", [*RETRIED, BUSY_SNAPSHOT])
async def test_a_commit_that_for_sure_did_not_happen_is_rolled_back(opened: OpenStore, code: int) -> None:
    Probe.latest.failing = {"commit": code}
    with pytest.raises(RolledBack):
        await opened.commit(inserted(1))
    Probe.latest.failing = {}
    assert await opened.everything() == [[], [], None, []]
    await opened.commit(inserted(1))


@pytest.mark.parametrize("code", [IOERR_FSYNC, IOERR_WRITE, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOMEM])
@pytest.mark.parametrize("happened", [True, False])
async def test_an_error_inside_commit_is_unknown_until_the_store_is_opened_again(
    opened: OpenStore, code: int, happened: bool
) -> None:
    Probe.latest.failing = {"commit": code}
    Probe.latest.commits_first = happened
    with pytest.raises(CommitUnknown):
        await opened.commit(inserted(1))
    Probe.latest.failing = {}
    Probe.latest.commits_first = False
    with pytest.raises(CommitUnknown, match="start again"):
        await opened.commit(inserted(2))
    await opened.store.close()
    await opened.store.open()
    assert (await opened.header(1) is not None) == happened
    assert await opened.header(2) is None


async def test_a_rollback_that_fails_leaves_the_outcome_unknown(opened: OpenStore) -> None:
    Probe.latest.failing = {"write": sqlite3.SQLITE_FULL, "rollback": IOERR_WRITE}
    with pytest.raises(CommitUnknown, match="rolling back"):
        await opened.commit(inserted(1))


async def test_a_term_raised_behind_its_back_fences_the_holder(opened: OpenStore) -> None:
    Probe.latest.connection.execute("UPDATE store SET term = term + 1")
    with pytest.raises(Fenced, match="another coordinator"):
        await opened.commit(inserted(1))
    assert await opened.header(1) is None


async def test_a_value_beyond_sqlites_numbers_is_refused(opened: OpenStore) -> None:
    with pytest.raises(Refused):
        await opened.commit(inserted(1, created_at_ms=2**63))
    await opened.commit(inserted(1, created_at_ms=2**63 - 1))


# How a batch travels


def test_a_usual_batch_is_one_call_of_sqlite() -> None:
    fresh = [write for number in range(40) for write in (inserted(number), granted(number))]
    old = [write for number in range(40, 80) for write in (started(number), completed(number))]
    assert len(parcels([*fresh, *old])) == 1


def test_no_call_carries_more_than_sqlite_can_hold() -> None:
    body = b"x" * (1 << 20)
    packed = parcels([inserted(number, input=body) for number in range(200)])
    sizes = [len(parcel["texts"] or b"") for parcel in packed if isinstance(parcel, dict)]
    assert len(packed) > 1
    assert max(sizes) < 500_000_000


async def test_more_than_a_hundred_megabytes_are_one_commit(opened: OpenStore) -> None:
    body = b"x" * (1 << 20)
    await opened.commit(*(inserted(number, input=body) for number in range(130)))
    assert len(await opened.loaded()) == 130


def counted(connection: sqlite3.Connection, work: Callable[[], Any]) -> int:
    """How many instructions SQLite runs for `work`."""
    instructions = 0

    def more() -> None:
        nonlocal instructions
        instructions += 1

    connection.set_progress_handler(more, 1)
    work()
    connection.set_progress_handler(None, 1)
    return instructions


def test_no_statement_gets_slower_with_more_jobs(tmp_path: Path) -> None:
    path = tmp_path / "cavvy.db"
    connected = connection.connect_writer(path)
    connection.migrate(connected)
    term = connection.open_term(connected).term
    writer, reader = Writer(connected), Reader(connected)

    def cost(first: int) -> dict[str, int]:
        """A batch with every kind of write about a job, and every read of one job."""
        done, lost, ended = (range(first + step, first + step + 10) for step in (0, 10, 20))
        batch: list[Write] = []
        for n in (*done, *lost, *ended):
            batch += [inserted(n, idempotency=key(f"{n}")), granted(n)]
        for n in done:
            batch += [started(n), completed(n)]
        for n in lost:
            batch += [started(n), requeued(n), revived(n), requeued(n), granted(n, 2)]
        for n in ended:
            batch += [cancelled(n), failed(n)]
        packed = parcels(batch)
        reads: dict[str, Callable[[], Any]] = {
            "commit": lambda: writer.commit(packed, term),
            "job": lambda: reader.whole_jobs([JobName("default", f"job-{first}")]),
            "jobs": lambda: reader.jobs("default", first + 5, 10),
            "inputs": lambda: reader.inputs([f"job-{first}"]),
            "accepted": lambda: reader.accepted(f"job-{first}", 1),
            "idempotent": lambda: reader.idempotent("default", ["once", f"{first}"], 0),
        }
        return {name: counted(connected, work) for name, work in reads.items()}

    cost(0)
    few = cost(100)
    more = [write for n in range(200, 3_000) for write in (inserted(n), granted(n))]
    writer.commit(parcels(more), term)
    many = cost(5_000)
    assert {name for name in few if many[name] > 1.5 * few[name]} == set()
    connected.close()


FINDERS = [
    "jobs", "seq_before", "number_of", "seqs_of_tenant", "seqs_pending", "seqs_active", "seqs_failed", "seqs_of_thread",
    "seqs_of_effort", "seqs_of_worker", "jobs_of_seqs",
]  # fmt: skip


@pytest.mark.parametrize("name", FINDERS)
def test_no_search_for_jobs_goes_through_a_whole_table_or_sorts(tmp_path: Path, name: str) -> None:
    connected = connection.connect_writer(tmp_path / "cavvy.db")
    connection.migrate(connected)
    sql = queries.load("read")[name]
    given = dict.fromkeys(re.findall(":([a-z_]+)", sql))
    plan = [row[3] for row in connected.execute(f"EXPLAIN QUERY PLAN {sql}", given)]
    connected.close()
    through = [step for step in plan if step.startswith("SCAN") and "VIRTUAL TABLE" not in step and "INDEX" not in step]
    assert (through, [step for step in plan if "TEMP B-TREE" in step]) == ([], [])


@pytest.mark.parametrize(
    "wanted",
    [
        JobFilter(statuses=frozenset({JobStatus.PENDING})),
        JobFilter(statuses=frozenset({JobStatus.ASSIGNED})),
        JobFilter(statuses=frozenset({JobStatus.FAILED})),
        JobFilter(worker=WORKER),
        JobFilter(thread_id="t"),
        JobFilter(effort=Effort.DEEP),
        JobFilter(text="needle"),
    ],
    ids=["pending", "assigned", "failed", "worker", "thread", "effort", "text"],
)
def test_p18_a_search_costs_the_same_however_many_jobs_other_tenants_have(tmp_path: Path, wanted: JobFilter) -> None:
    """Also with one worker for both: whoever measures the time learns nothing of the others."""
    connected = connection.connect_writer(tmp_path / "cavvy.db")
    connection.migrate(connected)
    term = connection.open_term(connected).term
    writer, reader = Writer(connected), Reader(connected)

    def fill(tenant: str, first: int, count: int) -> None:
        """Of each kind: waiting, assigned, failed."""
        batch: list[Write] = []
        for n in range(first, first + count):
            batch.append(inserted(n, tenant=tenant, effort=Effort.DEEP, thread_id="t", input=b'{"prompt":"needle"}'))
            if n % 3:
                batch.append(granted(n))
            if n % 3 == 2:
                batch.append(failed(n))
        writer.commit(parcels(batch), term)

    def cost() -> int:
        return counted(connected, lambda: reader.find_jobs("default", wanted, 25, 5))

    fill("default", 1, 30)
    alone = cost()
    fill("other", 100, 3_000)
    assert cost() < 1.2 * alone
    connected.close()
