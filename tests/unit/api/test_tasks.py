"""TASK jobs over HTTP: what is taken and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from cavvy.testing import LiveStack

TASK = {"job_type": "TASK", "task_type": "classify", "input": "A wonderful day."}


async def test_a_task_is_accepted_and_shown_as_it_was_given(stack: LiveStack) -> None:
    answer = await stack.http.post("/v1/jobs", json=TASK)
    job = answer.json()
    assert answer.status_code == 201
    assert {name: job[name] for name in TASK} == TASK
    assert (job["prompt"], job["messages"]) == (None, None)


@pytest.mark.parametrize(
    ("changes", "field", "detail"),
    [
        ({"task_type": None}, "task_type", "summarize, classify, extract_json"),
        ({"task_type": "SUMMARIZE"}, "task_type", "summarize, classify, extract_json"),
        ({"task_type": "translate"}, "task_type", "summarize, classify, extract_json"),
        ({"input": None}, "input", "the text that the task is about"),
        ({"input": ""}, "input", "the text that the task is about"),
        ({"input": {"text": "hi"}}, "input", "expected `str | null`"),
        ({"prompt": "hi"}, "prompt", "a job_type TASK has none"),
        ({"messages": []}, "messages", "a job_type TASK has none"),
        ({"model": "m"}, "model", "a job_type TASK has none"),
        ({"max_tokens": 5}, "max_tokens", "a job_type TASK has none"),
        ({"temperature": 0.5}, "temperature", "a job_type TASK has none"),
        ({"stop": "x"}, "stop", "a job_type TASK has none"),
        ({"job_type": "LLM_INFER"}, "task_type", "belongs to a job_type TASK"),
        ({"job_type": "LLM_INFER", "task_type": None, "prompt": "hi"}, "input", "belongs to a job_type TASK"),
        ({"job_type": "task"}, "job_type", "LLM_INFER, TASK"),
    ],
)
async def test_a_task_that_is_not_whole_is_refused_by_field(
    shared_stack: LiveStack, changes: dict[str, Any], field: str, detail: str
) -> None:
    answer = await shared_stack.http.post("/v1/jobs", json=TASK | changes)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid_field", field)
    assert detail in answer.json()["detail"]


async def test_a_task_is_taken_in_a_batch(shared_stack: LiveStack) -> None:
    answer = await shared_stack.http.post("/v1/jobs/batch", json={"jobs": [TASK, TASK | {"task_type": "dance"}]})
    assert [one["status"] for one in answer.json()["results"]] == [201, 422]


async def test_a_list_shows_no_text_of_a_task(shared_stack: LiveStack) -> None:
    job_id = (await shared_stack.http.post("/v1/jobs", json=TASK)).json()["id"]
    listed = (await shared_stack.http.get("/v1/jobs")).json()["jobs"]
    (found,) = [one for one in listed if one["id"] == job_id]
    assert (found["job_type"], found["input"], found["task_type"]) == ("TASK", None, None)
