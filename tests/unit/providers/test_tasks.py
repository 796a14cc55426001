"""The built-in tasks run beside the event loop, show that they live, and end when they are told to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from cavvy import defaults
from cavvy.errors import UnknownTask
from cavvy.providers import tasks as module
from cavvy.providers.base import TaskRequest, hear_life
from cavvy.providers.tasks import BuiltInTasks
from cavvy.tasks.built_in import TaskDone

REQUEST = TaskRequest(task_type="classify", input="x")


class Slow:
    """A task that breathes until it is told how it ends."""

    def __init__(self) -> None:
        self.began, self.ended = threading.Event(), threading.Event()
        self.finish = threading.Event()

    def __call__(self, task_type: str, text: str, breathe: Callable[[], None]) -> TaskDone:
        self.began.set()
        try:
            while not self.finish.is_set():
                breathe()
        finally:
            self.ended.set()
        return TaskDone(b'{"method":"m"}', "m")


@pytest.fixture
def slow() -> Iterator[Slow]:
    task = Slow()
    with mock.patch.object(module, "run_task", task):
        yield task
    task.finish.set()


async def test_it_answers_with_what_the_task_made() -> None:
    answer = await BuiltInTasks().run_task(TaskRequest(task_type="summarize", input="Short."))
    assert answer.result == b'{"method":"extractive","summary":"Short.","word_count":1}'
    assert answer.model == "cavvy/summarize-1"


async def test_the_event_loop_goes_on_meanwhile(slow: Slow) -> None:
    running = asyncio.create_task(BuiltInTasks().run_task(REQUEST))
    await asyncio.to_thread(slow.began.wait)
    assert not running.done()
    slow.finish.set()
    assert (await running).model == "m"


async def test_a_cancelled_task_returns_when_its_work_has_ended(slow: Slow) -> None:
    running = asyncio.create_task(BuiltInTasks().run_task(REQUEST))
    await asyncio.to_thread(slow.began.wait)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert slow.ended.is_set()


async def test_a_long_task_shows_that_it_lives(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "SIGN_OF_LIFE_S", 0.01)
    hear_life(slow.finish.set)
    assert (await BuiltInTasks().run_task(REQUEST)).model == "m"


async def test_an_unknown_task_is_an_error_that_no_other_try_heals() -> None:
    with pytest.raises(UnknownTask) as caught:
        await BuiltInTasks().run_task(TaskRequest(task_type="dance", input="x"))
    assert not caught.value.retryable
