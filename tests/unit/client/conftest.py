"""A fake coordinator, and no waiting between tries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cavvy.client import _flow
from tests.unit.client.fake_coordinator import FakeCoordinator


@pytest.fixture
def coordinator() -> Iterator[FakeCoordinator]:
    with FakeCoordinator() as fake:
        yield fake


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_flow, "PAUSE_BASE_S", 0.0)


@pytest.fixture(autouse=True)
def config_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty one, so that nothing of the developer's own account is seen."""
    for name in ("CAVVY_URL", "CAVVY_API_KEY", "CAVVY_PIN", "CAVVY_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CAVVY_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("CAVVY_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "config"
