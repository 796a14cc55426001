"""TASK jobs on a worker: from the assignment's bytes to a signed object, or to the reason for none."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from cavvy.core.canonical import canonical, sha256_hex
from cavvy.core.job import JobType
from cavvy.core.reading import ResultForm, read
from cavvy.core.receipt import Expected, check, input_hash, open_envelope
from cavvy.core.worker_messages import Assignment, AttemptFailed, AttemptFinished, AttemptRefused, AttemptStopped
from cavvy.core.writes import Usage
from cavvy.errors import ProviderError
from cavvy.providers.base import TaskAnswer, TaskProvider, TaskRequest, life_heard
from cavvy.providers.tasks import BuiltInTasks
from cavvy.worker.identity import Identity
from cavvy.worker.runner import Ended, Runner
from tests.unit.worker.support import FakeProvider

IDENTITY = Identity.from_seed(bytes([7] * 32))
COORDINATOR = "ab" * 32
SALT = "5a" * 32
TASK = {"task_type": "classify", "input": "Wonderful."}


def assignment(given: Any) -> Assignment:
    return Assignment(
        job_id="job-1",
        epoch=4,
        job_type="TASK",
        privacy_class="PUBLIC",
        salt=SALT,
        input=given if isinstance(given, bytes) else msgspec.json.encode(given),
        params=b"{}",
    )


class ModelTasks:
    """A task provider with a model behind it, as one could be."""

    def __init__(self, *, fails: Exception | None = None, hangs: bool = False) -> None:
        self.requests: list[TaskRequest] = []
        self.idle = asyncio.Event()
        self._fails, self._hangs = fails, hangs

    async def run_task(self, request: TaskRequest) -> TaskAnswer:
        self.requests.append(request)
        if self._fails is not None:
            raise self._fails
        life_heard()()
        try:
            await asyncio.sleep(3600 if self._hangs else 0)
        finally:
            self.idle.set()
        result = canonical({"method": "model", "sentiment": "positive", "confidence": 0.5})
        return TaskAnswer(result=result, model="m", usage=Usage(input_tokens=7, output_tokens=3))


def runner(tasks: TaskProvider | None) -> Runner:
    return Runner([FakeProvider()], IDENTITY, COORDINATOR, lambda: 1_770_000_000.25, tasks)


async def run(given: Any, tasks: TaskProvider | None = None, *, max_output_bytes: int = 1000, **heard: Any) -> Ended:
    told: list[str] = []
    ended = await runner(tasks or BuiltInTasks()).run(assignment(given), told.append, max_output_bytes, **heard)
    assert told == []
    return ended


async def test_a_tasks_result_and_receipt_pass_the_coordinators_check() -> None:
    finished = await run(TASK)
    assert isinstance(finished, AttemptFinished)
    expected = Expected(
        coordinator=COORDINATOR,
        job_id="job-1",
        attempt=4,
        worker=IDENTITY.key,
        input_hash=input_hash(bytes.fromhex(SALT), assignment(TASK).input),
        params_hash=sha256_hex(b"{}"),
        privacy_class="PUBLIC",
    )
    opened = open_envelope(finished.receipt)
    check(opened, read(finished.result, ResultForm(JobType.TASK)), expected)
    assert (opened.payload.model, opened.payload.usage) == ("cavvy/classify-1", Usage(input_tokens=0, output_tokens=0))


async def test_it_says_that_it_began_and_that_it_lives() -> None:
    heard: list[str] = []
    await run(TASK, ModelTasks(), started=lambda: heard.append("began"), alive=lambda: heard.append("lives"))
    assert heard == ["began", "lives"]


async def test_a_model_behind_a_task_is_named_in_the_receipt_with_what_it_used() -> None:
    tasks = ModelTasks()
    finished = await run(TASK, tasks)
    assert isinstance(finished, AttemptFinished)
    payload = open_envelope(finished.receipt).payload
    assert (payload.model, payload.usage) == ("m", Usage(input_tokens=7, output_tokens=3))
    assert tasks.requests == [TaskRequest(task_type="classify", input="Wonderful.")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task_type": "dance", "input": "x"}, "Unknown task_type: dance"),
        ({"task_type": "classify"}, "cannot read the task"),
        ({"task_type": "classify", "input": {"a": 1}}, "cannot read the task"),
        ({"prompt": "hi"}, "cannot read the task"),
        (b"[", "cannot read the task"),
    ],
)
async def test_a_task_that_nobody_can_run_fails_for_good(given: Any, message: str) -> None:
    failed = await run(given)
    assert isinstance(failed, AttemptFailed)
    assert (failed.code, failed.retryable) == ("worker_error", False)
    assert message in failed.message


@pytest.mark.parametrize("retryable", [True, False])
async def test_a_provider_that_fails_fails_the_task_and_completes_nothing(retryable: bool) -> None:
    failed = await run(TASK, ModelTasks(fails=ProviderError("no model", retryable=retryable)))
    assert isinstance(failed, AttemptFailed)
    assert (failed.code, failed.message, failed.retryable) == ("worker_error", "no model", retryable)


async def test_a_result_that_is_too_large_fails_the_task() -> None:
    failed = await run(TASK, max_output_bytes=20)
    assert isinstance(failed, AttemptFailed)
    assert (failed.code, failed.retryable) == ("output_too_large", False)


async def test_a_task_that_is_stopped_ends_when_its_provider_is_idle() -> None:
    tasks = ModelTasks(hangs=True)
    running = asyncio.create_task(run(TASK, tasks, started=lambda: running.cancel()))
    assert isinstance(await running, AttemptStopped)
    assert tasks.idle.is_set()


async def test_a_worker_that_runs_no_tasks_refuses_them() -> None:
    ended = await runner(None).run(assignment(TASK), lambda _: None, 1000)
    assert isinstance(ended, AttemptRefused)
