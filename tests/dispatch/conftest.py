"""A real coordinator that serves Dispatch's clients and workers, and what they need to know of it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from typing import Any

import pytest

from tests.dispatch.client import Client
from tests.dispatch.live import Dispatch, opened
from tests.dispatch.worker import DispatchWorker
from tests.processes import Installation, installed

_names = count(1)


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`cavvy coordinator --dispatch` on a free port, and no worker; one for each file."""
    with installed(tmp_path_factory.mktemp("dispatch")) as here:
        here.start_coordinator("coordinator", "--dispatch")
        yield here


@pytest.fixture
def client(coordinator: Installation) -> Client:
    return Client(f"http://127.0.0.1:{coordinator.port}")


@pytest.fixture(scope="module")
async def dispatch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dispatch]:
    """One for all tests of a file, which has to survive all of them."""
    async for one in opened(tmp_path_factory.mktemp("dispatch") / "data"):
        yield one


@pytest.fixture
async def make_worker(dispatch: Dispatch) -> AsyncIterator[Callable[..., DispatchWorker]]:
    """Makes workers with keys nobody has seen; they are gone when the test is."""

    def make(url: str | None = None, **how: Any) -> DispatchWorker:
        seed = how.pop("seed", None) or hashlib.sha256(f"dispatch-{next(_names)}".encode()).digest()
        dispatch.workers.append(DispatchWorker(url or dispatch.stack.server.url, seed, **how))
        return dispatch.workers[-1]

    yield make
    await dispatch.end_everything()


@pytest.fixture
def worker(make_worker: Callable[..., DispatchWorker]) -> DispatchWorker:
    """A worker that is not connected yet."""
    return make_worker()
