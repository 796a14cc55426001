"""TASK jobs over HTTP: what is taken and what is refused, and what comes of it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from cavvy.core.canonical import canonical
from cavvy.tasks.built_in import MODELS
from cavvy.testing import LiveStack, ScriptedProvider

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


DONE = {"Prefer": "wait=60"}


@pytest.mark.parametrize(
    ("task_type", "given", "result", "output"),
    [
        (
            "summarize",
            "Two  words.",
            {"summary": "Two words.", "word_count": 2, "method": "extractive"},
            "Two words.",
        ),
        (
            "classify",
            "A wonderful day, I love it!",
            {"sentiment": "positive", "confidence": 0.99, "method": "lexicon"},
            "positive",
        ),
        (
            "extract_json",
            'so {"a": [1.0, "é"]}.',
            {"extracted": [{"a": [1, "é"]}], "count": 1, "method": "scanner"},
            '[{"a":[1,"é"]}]',
        ),
    ],
)
async def test_a_worker_runs_a_task_and_signs_its_object(
    shared_stack: LiveStack, task_type: str, given: str, result: dict[str, Any], output: str
) -> None:
    await shared_stack.add_worker(ScriptedProvider(), name=task_type)
    body = {"job_type": "TASK", "task_type": task_type, "input": given}
    job = (await shared_stack.http.post("/v1/jobs", json=body, headers=DONE)).json()
    assert (job["status"], job["result"], job["output"]) == ("completed", result, output)
    assert job["served_model"] == MODELS[task_type]
    assert [one["event"] for one in job["timeline"]] == ["submitted", "assigned", "started", "completed"]
    signed = (await shared_stack.http.get(f"/v1/jobs/{job['id']}/result")).content
    assert hashlib.sha256(signed).hexdigest() == job["output_hash"]
    assert signed == canonical(result)


async def test_the_events_of_a_task_tell_its_output(shared_stack: LiveStack) -> None:
    await shared_stack.add_worker(ScriptedProvider(), name="told")
    job = (await shared_stack.http.post("/v1/jobs", json=TASK, headers=DONE)).json()
    events = (await shared_stack.http.get(f"/v1/jobs/{job['id']}/events")).text
    assert '"kind":"text","text":"positive"' in events
    assert f'"length":8,"output_hash":"{job["output_hash"]}"' in events


async def test_the_texts_of_a_task_are_erased(shared_stack: LiveStack) -> None:
    await shared_stack.add_worker(ScriptedProvider(), name="erasing")
    job = (await shared_stack.http.post("/v1/jobs", json=TASK, headers=DONE)).json()
    await shared_stack.http.delete(f"/v1/jobs/{job['id']}")
    erased = (await shared_stack.http.get(f"/v1/jobs/{job['id']}")).json()
    assert (erased["input"], erased["task_type"], erased["result"], erased["output"]) == (None, None, None, None)
    assert erased["output_hash"] == job["output_hash"]


async def test_a_task_waits_while_no_worker_runs_tasks(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider(), tasks=None)
    job = (await stack.http.post("/v1/jobs", json=TASK)).json()
    assert job["queue"]["reason"].startswith("No worker online runs TASK jobs")


async def test_a_worker_without_a_model_runs_tasks_and_prompts_wait_for_another(stack: LiveStack) -> None:
    worker = await stack.add_worker(name="phone")
    prompt = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    task = (await stack.http.post("/v1/jobs", json=TASK, headers=DONE)).json()
    assert (task["status"], task["receipt"]["provider_pubkey"]) == ("completed", worker.key)
    waiting = (await stack.http.get(f"/v1/jobs/{prompt['id']}")).json()
    assert (waiting["status"], waiting["attempts"]) == ("pending", [])
    assert waiting["queue"]["reason"] == "No worker online runs LLM_INFER jobs; start one that has a model."
    await stack.add_worker(ScriptedProvider(), name="desk")
    done = (await stack.http.get(f"/v1/jobs/{prompt['id']}?wait=20")).json()
    assert (done["status"], done["receipt"]["provider_pubkey"] == worker.key) == ("completed", False)


async def test_a_worker_shows_what_it_runs(stack: LiveStack) -> None:
    await stack.add_worker(name="phone")
    (shown,) = (await stack.http.get("/v1/workers")).json()["workers"]
    assert (shown["job_types"], shown["models"]) == (["TASK"], [])


async def test_a_task_whose_result_is_too_large_fails(shared_stack: LiveStack) -> None:
    await shared_stack.add_worker(ScriptedProvider(), name="large")
    body = {"job_type": "TASK", "task_type": "extract_json", "input": "[" + "1e20," * 100_000 + "0]"}
    job = (await shared_stack.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"})).json()
    assert (job["status"], job["failure"]["code"]) == ("failed", "output_too_large")
