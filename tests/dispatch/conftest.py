"""A real coordinator that serves Dispatch's clients and workers, and what they need to know of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dispatch.client import Client
from tests.processes import Installation, installed


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`cavvy coordinator --dispatch` on a free port, and no worker; one for each file."""
    with installed(tmp_path_factory.mktemp("dispatch")) as here:
        here.start_coordinator("coordinator", "--dispatch")
        yield here


@pytest.fixture
def client(coordinator: Installation) -> Client:
    return Client(f"http://127.0.0.1:{coordinator.port}")
