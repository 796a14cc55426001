"""Whatever step of a commit fails: before it or after it, nothing in between, and trying again heals it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cavvy.core.job import WorkerStatus
from cavvy.core.writes import Write
from cavvy.errors import RolledBack
from cavvy.store.base import Store
from cavvy.store.memory import MemoryStore
from cavvy.store.memory_tables import Tables
from cavvy.store.sqlite import SqliteStore
from cavvy.store.sqlite.writer import Writer
from tests.conformance.samples import (
    DAY_MS,
    OpenStore,
    api_key,
    became,
    cancelled,
    completed,
    enrolled,
    expired,
    failed,
    granted,
    inserted,
    key,
    requeued,
    revived,
    revoked,
    rotated,
    started,
    tenant,
    token,
)

SCENARIO: list[list[Write]] = [
    [token(), enrolled(), tenant(), api_key()],
    [inserted(1, idempotency=key()), granted(1), inserted(2), granted(2), inserted(3)],
    [started(1), requeued(1), started(2), cancelled(2), granted(3)],
    [revived(1), completed(1), failed(2), requeued(3), granted(3, 2)],
    [completed(3, 2), rotated(), revoked(b"new")],
    [became(WorkerStatus.PAUSED, WorkerStatus.APPROVED), token(b"dead"), expired(DAY_MS + 100), token(b"fresh")],
]


class Fuse:
    """Blows at the Nth time it is asked."""

    def __init__(self) -> None:
        self._left: int | None = None

    def set(self, nth: int) -> None:
        self._left = nth

    def blows(self) -> bool:
        if self._left is None:
            return False
        self._left -= 1
        if self._left == 0:
            self._left = None
            return True
        return False

    @property
    def is_whole(self) -> bool:
        return self._left is not None


def memory_that_fails(fuse: Fuse, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Fails between two writes of a batch."""
    apply = Tables.apply

    def failing(self: Tables, *arguments: Any) -> None:
        if fuse.blows():
            raise RolledBack("the fuse")
        apply(self, *arguments)

    monkeypatch.setattr(Tables, "apply", failing)
    return MemoryStore()


def sqlite_that_fails(fuse: Fuse, directory: Path) -> Store:
    """Fails inside a statement: SQLite asks the fuse between its own instructions."""

    class Interrupted(Writer):
        def __init__(self, connection: sqlite3.Connection) -> None:
            super().__init__(connection)
            connection.set_progress_handler(fuse.blows, 50)

    store = SqliteStore(directory)
    store.writer_class = Interrupted
    return store


@pytest.fixture
def fuse() -> Fuse:
    return Fuse()


@pytest.fixture(params=["memory", "sqlite"])
async def failing(
    request: pytest.FixtureRequest, fuse: Fuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OpenStore]:
    memory = request.param == "memory"
    store = memory_that_fails(fuse, monkeypatch) if memory else sqlite_that_fails(fuse, tmp_path)
    yield OpenStore(store, (await store.open()).term)
    await store.close()


@pytest.mark.parametrize("upto", range(len(SCENARIO)))
async def test_a_commit_whose_nth_step_fails_changed_nothing_and_passes_when_tried_again(
    failing: OpenStore, fuse: Fuse, upto: int
) -> None:
    for batch in SCENARIO[:upto]:
        await failing.commit(*batch)
    before = await failing.everything()
    failures = 0
    for nth in count(1):
        fuse.set(nth)
        try:
            await failing.commit(*SCENARIO[upto])
        except RolledBack:
            failures += 1
            assert await failing.everything() == before
        else:
            break
    assert fuse.is_whole, "the last try went through without a failure"
    assert failures >= len(SCENARIO[upto])
    assert await failing.everything() != before
