"""A live coordinator over a real SQLite store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cavvy.core.ed25519 import public_key
from cavvy.core.settings import Settings
from cavvy.protocol.keyfile import load_or_create_seed
from cavvy.protocol.messages import Limits
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, live_stack


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data")) as stack:
        yield stack


@pytest.fixture
def beating_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers say at once how many of their slots are free."""
    monkeypatch.setattr("cavvy.coordinator.login.wire.Limits", lambda: Limits(heartbeat_s=0.02))


@pytest.fixture(scope="module")
async def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveStack]:
    """One coordinator for all tests of a file, each of which brings workers and models of its own.

    The job of a lost socket is granted again almost at once.
    """
    directory = tmp_path_factory.mktemp("shared") / "data"
    key = public_key(load_or_create_seed(directory / "coordinator.key"))
    settings = Settings(
        coordinator_key=key.hex(), lease_ttl_s=600, accept_timeout_s=600, requeue_after_s=0.05, sweep_s=0.05
    )
    async with live_stack(directory, SqliteStore(directory), settings=settings) as stack:
        yield stack
