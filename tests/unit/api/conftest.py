"""A live coordinator over a real SQLite store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, live_stack


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data")) as stack:
        yield stack
