"""When the router asks again and when it gives up, on a clock of the test's own."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from cavvy import defaults
from cavvy.client._compute import Dialect
from cavvy.client._flow import Pause, Send
from cavvy.client._protocol import Lost, Reply, Request
from cavvy.client._work import llm_work, task_work
from cavvy.errors import ComputeFailed

JOB_ID = "job-1"
QUOTE = {"price": "$0.010", "endpoint": "/v1/jobs/commit/fast", "policy_resolved": "FAST"}
LLM = llm_work("hi", None, user_id="u")
TASK = task_work("summarize", "text", user_id="u")


class Coordinator:
    """Never ends a job. `holds`: it holds answers back for as long as it is asked to; `hangs`: it gives none to those
    who ask for the job.
    """

    def __init__(self, *, holds: bool = False, hangs: bool = False) -> None:
        self.now = 0.0
        self.holds = holds
        self.hangs = hangs
        self.polls: list[float] = []
        self.cancelled_at: float | None = None

    def clock(self) -> float:
        return self.now

    def perform(self, step: Any) -> Reply | Lost | None:
        if isinstance(step, Pause):
            self.now += step.seconds
            return None
        assert isinstance(step, Send)
        if self.hangs and is_look(step.request):
            self.now += step.request.within_s
            return Lost(sent=True, detail="timeout")
        return Reply(200, {}, msgspec.json.encode(self._answer(step.request.method, step.request.path)))

    def _answer(self, method: str, target: str) -> dict[str, Any]:
        address = urlsplit(target)
        if address.path == "/v1/quote":
            return QUOTE
        if method == "POST" and address.path.startswith("/v1/jobs/commit/"):
            return {"job_id": JOB_ID}
        if method == "POST":
            self.cancelled_at = self.now
            return {"id": JOB_ID, "status": "failed", "result": {"error": "aborted"}}
        self.polls.append(self.now)
        if self.holds:
            self.now += int(parse_qs(address.query).get("wait", ["0"])[0])
        return {"id": JOB_ID, "status": "assigned", "result": None}


def run_out(coordinator: Coordinator, work: Any) -> str:
    with pytest.raises(ComputeFailed) as failed:
        run(coordinator, work)
    return str(failed.value)


def run(coordinator: Coordinator, work: Any) -> None:
    flow, outcome = Dialect("http://127.0.0.1:1", coordinator.clock).run(work), None
    while True:
        outcome = coordinator.perform(flow.send(outcome))


def test_a_coordinator_that_cannot_wait_is_asked_at_once_and_every_half_second() -> None:
    coordinator = Coordinator(holds=False)
    run_out(coordinator, LLM)
    assert coordinator.polls == [number / 2 for number in range(120)]


def test_one_that_can_is_asked_once() -> None:
    coordinator = Coordinator(holds=True)
    run_out(coordinator, LLM)
    assert coordinator.polls == [0.0]


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize(("work", "seconds"), [(LLM, 60), (TASK, 30)], ids=["LLM_INFER", "TASK"])
def test_a_job_is_cancelled_when_its_time_is_over(work: Any, seconds: int, holds: bool) -> None:
    coordinator = Coordinator(holds=holds)
    assert f"{seconds} s and was cancelled" in run_out(coordinator, work)
    assert coordinator.cancelled_at == seconds


@pytest.mark.parametrize(("work", "seconds"), [(LLM, 60), (TASK, 30)], ids=["LLM_INFER", "TASK"])
def test_a_coordinator_that_hangs_makes_no_job_take_longer(work: Any, seconds: int) -> None:
    coordinator = Coordinator(hangs=True)
    assert f"{seconds} s and was cancelled" in run_out(coordinator, work)
    assert coordinator.cancelled_at == seconds + defaults.ROUTER_ANSWER_S


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), asyncio.CancelledError()], ids=["Ctrl-C", "cancelled"])
def test_who_leaves_while_the_job_runs_cancels_it(interruption: BaseException) -> None:
    coordinator = Coordinator()
    flow = polling(coordinator)
    cancel = flow.throw(interruption)
    assert isinstance(cancel, Send)
    assert coordinator.perform(cancel) is not None
    assert (coordinator.cancelled_at, cancel.request.within_s) == (0.0, defaults.ROUTER_ANSWER_S)
    with pytest.raises(type(interruption)):
        flow.send(None)


def test_who_leaves_twice_leaves_at_once() -> None:
    flow = polling(Coordinator())
    flow.throw(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        flow.throw(KeyboardInterrupt())


def polling(coordinator: Coordinator) -> Any:
    """The flow of a job at its first look."""
    flow, outcome = Dialect("http://127.0.0.1:1", coordinator.clock).run(LLM), None
    while True:
        step = flow.send(outcome)
        if isinstance(step, Send) and is_look(step.request):
            return flow
        outcome = coordinator.perform(step)


def is_look(request: Request) -> bool:
    return request.path.startswith(f"/v1/jobs/{JOB_ID}?")
