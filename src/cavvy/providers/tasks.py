"""The built-in tasks as a worker runs them: off the event loop, which goes on meanwhile, and ended when told to."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cavvy import defaults
from cavvy.core.writes import Usage
from cavvy.providers.base import TaskAnswer, TaskRequest, life_heard
from cavvy.tasks.built_in import TaskDone, run_task

__all__ = ["BuiltInTasks"]


class _Told(Exception):
    """Somebody wants it to end."""


class _Breath:
    """Drawn by the task every few milliseconds: a sign of life, and where it can be ended."""

    def __init__(self) -> None:
        self.drawn = 0
        self.ended = threading.Event()

    def draw(self) -> None:
        self.drawn += 1
        if self.ended.is_set():
            raise _Told


class BuiltInTasks:
    """Deterministic tasks, for which there is no model. They have threads of their own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(defaults.TASK_THREADS, thread_name_prefix="cavvy-task")

    async def run_task(self, request: TaskRequest) -> TaskAnswer:
        """As TaskProvider says."""
        breath = _Breath()
        task = partial(run_task, request.task_type, request.input, breath.draw)
        work = asyncio.get_running_loop().run_in_executor(self._threads, task)
        try:
            await _watched(work, breath)
        except asyncio.CancelledError:
            breath.ended.set()
            await asyncio.wait((work,))
            work.exception()
            raise
        done = work.result()
        return TaskAnswer(result=done.result, model=done.model, usage=Usage(input_tokens=0, output_tokens=0))


async def _watched(work: asyncio.Future[TaskDone], breath: _Breath) -> None:
    """Waits for the end, and passes signs of life on."""
    life, seen = life_heard(), 0
    while not (await asyncio.wait((work,), timeout=defaults.SIGN_OF_LIFE_S))[0]:
        if breath.drawn != seen:
            seen = breath.drawn
            life()
