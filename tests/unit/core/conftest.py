"""A core with its store and a clock that only moves when told, and a worker that has joined it."""

from __future__ import annotations

import pytest

from cavvy.testing import FakeWorker, Stack
from tests.unit.core.scene import Scene


@pytest.fixture
async def stack() -> Stack:
    stack = Stack()
    await stack.start()
    return stack


@pytest.fixture
async def worker(stack: Stack) -> FakeWorker:
    worker = FakeWorker(stack)
    await worker.join()
    return worker


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    await scene.open()
    return scene
