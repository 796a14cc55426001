"""Every store, closed and open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cavvy.store.base import Store
from cavvy.store.memory import MemoryStore
from cavvy.store.sqlite import SqliteStore
from tests.conformance.samples import OpenStore


def make_store(kind: str, directory: Path) -> Store:
    return MemoryStore() if kind == "memory" else SqliteStore(directory / "data")


@pytest.fixture(params=["memory", "sqlite"])
async def closed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A new store that is not open yet."""
    store = make_store(request.param, tmp_path)
    yield store
    await store.close()


@pytest.fixture
async def opened(closed: Store) -> OpenStore:
    return OpenStore(closed, (await closed.open()).term)
