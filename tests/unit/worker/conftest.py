"""A coordinator to play with, and a worker's home."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.ports import held_port
from tests.unit.worker.site import Site
from tests.unit.worker.support import FakeCoordinator, running_coordinator


@pytest.fixture
def absent() -> Iterator[FakeCoordinator]:
    """One that does not listen, though its address is known."""
    with held_port() as port:
        yield FakeCoordinator(port)


@pytest.fixture
async def coordinator(absent: FakeCoordinator) -> AsyncIterator[FakeCoordinator]:
    async with running_coordinator(absent) as running:
        yield running


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "worker")
