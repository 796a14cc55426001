"""Erased is erased: afterwards no file of the store holds the bytes, whatever their size and their neighbours."""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.retention import Horizons
from cavvy.core.writes import DropIdempotencyKeys, DropJobs, EraseJobs, Write
from cavvy.errors import Fenced
from cavvy.store.sqlite import SqliteStore, connection, queries
from tests.conformance.samples import ABORTED, OpenStore, completed, failed, granted, inserted, key, started

SIZES = (1, 1, 3, 20, 100, 400, 3_000)


def canary(number: int, kind: str) -> bytes:
    return b"canary-%s-%06d;" % (kind.encode(), number)


def jobs_with_canaries(numbers: range, dice: random.Random) -> list[Write]:
    """Jobs with texts of all sizes that end in any order."""

    def text(number: int, kind: str) -> bytes:
        return b'"%s"' % (canary(number, kind) * dice.choice(SIZES))

    writes: list[Write] = [
        inserted(n, input=text(n, "input"), metadata=text(n, "metadata"), params=text(n, "params")) for n in numbers
    ]
    for n in dice.sample(numbers, len(numbers)):
        words = replace(ABORTED, message=canary(n, "message").decode(), reason=canary(n, "reason").decode())
        end = replace(completed(n), result=text(n, "result")) if n % 2 else failed(n, failure=words)
        writes += [granted(n), started(n), end]
    return writes


def on_disk(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()))


def left(directory: Path) -> set[int]:
    """The numbers of the jobs of which any text is in any file."""
    return {int(number) for number in re.findall(rb"canary-[a-z]+-([0-9]{6})", on_disk(directory))}


@pytest.fixture
async def opened(tmp_path: Path) -> OpenStore:
    store = SqliteStore(tmp_path)
    return OpenStore(store, (await store.open()).term)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "write", [lambda seqs: EraseJobs(seqs=seqs, at_ms=1), lambda seqs: DropJobs(seqs=seqs)], ids=["erased", "dropped"]
)
async def test_after_a_scrub_no_file_holds_what_was_erased(
    opened: OpenStore, tmp_path: Path, seed: int, write: Callable[[tuple[int, ...]], Write]
) -> None:
    dice, numbers = random.Random(seed), range(1, 301)
    for begin in range(1, 301, 60):
        await opened.commit(*jobs_with_canaries(range(begin, begin + 60), dice))
    assert left(tmp_path) == set(numbers)
    gone = set(dice.sample(numbers, 150))
    for begin in range(0, 150, 50):
        await opened.commit(write(tuple(sorted(gone)[begin : begin + 50])))
    assert await opened.store.scrub(term=opened.term)
    assert left(tmp_path) == set(numbers) - gone
    await opened.store.close()


async def test_a_client_that_reads_meanwhile_delays_the_scrub_and_no_more(opened: OpenStore, tmp_path: Path) -> None:
    await opened.commit(*jobs_with_canaries(range(1, 3), random.Random(0)))
    reader = sqlite3.connect(tmp_path / "cavvy.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM job").fetchone()
    await opened.commit(EraseJobs(seqs=(1, 2), at_ms=1))
    assert not await opened.store.scrub(term=opened.term)
    reader.close()
    assert await opened.store.scrub(term=opened.term)
    assert left(tmp_path) == set()
    await opened.store.close()


async def test_what_a_crash_left_in_the_log_is_gone_after_the_next_start(opened: OpenStore, tmp_path: Path) -> None:
    await opened.commit(*jobs_with_canaries(range(1, 3), random.Random(0)))
    await opened.commit(EraseJobs(seqs=(1, 2), at_ms=1))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("cavvy.db", "cavvy.db-wal"):
        (crashed / name).write_bytes((tmp_path / name).read_bytes())
    await opened.store.close()
    assert left(crashed) == {1, 2}
    again = SqliteStore(crashed)
    await again.open()
    assert left(crashed) == set()
    await again.close()


async def test_much_free_space_is_given_back_to_the_disk(opened: OpenStore, tmp_path: Path) -> None:
    size = (defaults.VACUUM_FREE_PAGES + 2_000) * 4096 // 50
    for n in range(1, 51):
        await opened.commit(inserted(n, input=b"x" * size), granted(n), started(n), completed(n))
    await opened.commit(inserted(51), DropJobs(seqs=tuple(range(1, 51))))
    while not await opened.store.scrub(term=opened.term):
        pass
    assert (tmp_path / "cavvy.db").stat().st_size < defaults.VACUUM_FREE_PAGES * 4096 + (4 << 20)
    assert await opened.header(51) is not None
    await opened.store.close()


async def test_a_fenced_store_gives_no_space_back(opened: OpenStore) -> None:
    body = b"x" * ((defaults.VACUUM_FREE_PAGES + 100) * 4096)
    await opened.commit(inserted(1, input=body), granted(1), started(1), completed(1))
    await opened.commit(DropJobs(seqs=(1,)))
    with pytest.raises(Fenced):
        await opened.store.scrub(term=opened.term - 1)
    await opened.store.close()


DUE = ["due_with_texts", "due_erased", "due_keys", "due_tokens", "due_api_keys"]
DELETING = [
    "erase_inputs", "erase_outputs", "erase_jobs", "note_dropped", "drop_inputs", "drop_outputs", "drop_attempts",
    "drop_jobs", "drop_idempotency_keys", "drop_used_tokens", "drop_revoked_keys",
]  # fmt: skip


@pytest.mark.parametrize(("file", "name"), [*(("read", one) for one in DUE), *(("write", one) for one in DELETING)])
def test_no_statement_of_retention_goes_through_a_whole_table(tmp_path: Path, file: str, name: str) -> None:
    connected = connection.connect_writer(tmp_path / "cavvy.db")
    connection.migrate(connected)
    sql = queries.load(file)[name]
    given = dict.fromkeys(re.findall(":([a-z_]+)", sql))
    plan = [row[3] for row in connected.execute(f"EXPLAIN QUERY PLAN {sql}", given)]
    connected.close()
    through = [
        step for step in plan if step.startswith("SCAN") and "VIRTUAL TABLE" not in step and "(subquery" not in step
    ]
    assert through == []


async def test_a_slice_costs_the_same_however_many_jobs_there_are(tmp_path: Path) -> None:
    """Counted in SQLite's own instructions: for what is due, and for its deletion."""

    async def cost(directory: Path, count: int) -> int:
        store = SqliteStore(directory)
        opened = OpenStore(store, (await store.open()).term)
        for begin in range(1, count, 500):
            writes: list[Write] = []
            for n in range(begin, begin + 500):
                end = replace(completed(n), ended_at_ms=n)
                writes += [inserted(n, created_at_ms=n, idempotency=key(f"{n}")), granted(n), started(n), end]
            await opened.commit(*writes)
        await store.close()
        return await asyncio.to_thread(_instructions, directory / "cavvy.db")

    few, many = await cost(tmp_path / "few", 500), await cost(tmp_path / "many", 5_000)
    assert many < 1.3 * few


def _instructions(path: Path) -> int:
    from cavvy.store.sqlite.batch import parcels
    from cavvy.store.sqlite.reader import Reader
    from cavvy.store.sqlite.writer import Writer

    connected = connection.connect_writer(path)
    term = connection.open_term(connected).term
    writer, reader = Writer(connected), Reader(connected)
    seen = [0]

    def more() -> None:
        seen[0] += 1

    connected.set_progress_handler(more, 1)
    due = reader.due(Horizons(texts_ms=100, jobs_ms=50, idempotency_ms=100), 20)
    writes: list[Write] = [
        DropJobs(seqs=tuple(one.seq for one in due.drop)),
        EraseJobs(seqs=tuple(one.seq for one in due.erase), at_ms=1),
        DropIdempotencyKeys(before_ms=100, limit=20),
    ]
    writer.commit(parcels(writes), term)
    connected.close()
    assert (len(due.drop), len(due.erase), due.idempotency) == (20, 20, 20)
    return seen[0]
