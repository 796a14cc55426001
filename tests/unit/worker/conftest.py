"""A coordinator to play with, and a worker's home."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.worker.site import Site
from tests.unit.worker.support import FakeCoordinator, running_coordinator


@pytest.fixture
async def coordinator() -> AsyncIterator[FakeCoordinator]:
    async with running_coordinator(FakeCoordinator()) as running:
        yield running


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "worker")
