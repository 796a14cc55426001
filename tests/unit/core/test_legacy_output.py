"""What Dispatch's workers answer when they fail looks like a result, and is none."""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.core.job import FailureCode, JobType
from cavvy.core.legacy_output import TASK_MODEL, UNNAMED_MODEL, LegacyOutput, judge

LLM, TASK = JobType.LLM_INFER, JobType.TASK
#: Readable, but nothing that could be written again.
DEEP = b'{"error":%b%b}' % (b"[" * (defaults.MAX_JSON_DEPTH + 1), b"]" * (defaults.MAX_JSON_DEPTH + 1))


@pytest.mark.parametrize("job_type", [LLM, TASK])
@pytest.mark.parametrize(
    "output",
    [
        b'{"error":"Unsupported job payload"}',
        b'{"error":""}',
        b'{"error":{"code":1}}',
        b'{"error":"half a pair: \\ud83d"}',
        b'{"text":"fine","error":"not fine"}',
    ],
)
def test_an_error_is_a_failure(job_type: JobType, output: bytes) -> None:
    assert judge(job_type, output).failure is FailureCode.WORKER_ERROR


@pytest.mark.parametrize(
    "output",
    [
        b'{"text":"[STUB] Received prompt (2 chars) for job 1","model":"stub-v1","stub":true}',
        b'{"text":"hello","model":"stub-v1"}',
        b'{"text":"hello","model":"llama3.2","stub":true}',
        b'{"text":"[STUB] hello","model":"llama3.2"}',
    ],
)
def test_an_answer_that_was_made_up_is_a_failure(output: bytes) -> None:
    judged = judge(LLM, output)
    assert (judged.failure, "made up" in judged.message) == (FailureCode.WORKER_ERROR, True)


@pytest.mark.parametrize("output", [b"null", b'"text"', b"[]", b"1", b'{"answer":"x"}', b'{"text":1}', b"[" * 9999])
def test_a_prompts_answer_without_text_is_no_result(output: bytes) -> None:
    assert judge(LLM, output).failure is FailureCode.INVALID_OUTPUT


@pytest.mark.parametrize("output", [b"null", b'"text"', b"[]"])
def test_a_tasks_answer_that_is_no_object_is_no_result(output: bytes) -> None:
    assert judge(TASK, output).failure is FailureCode.INVALID_OUTPUT


def test_the_error_of_a_worker_is_told_within_bounds() -> None:
    message = judge(LLM, b'{"error":"' + b"x" * 10_000 + b'"}').message
    assert message.startswith("The worker failed: xxx")
    assert len(message) <= defaults.MAX_FAILURE_CHARS


@pytest.mark.parametrize(
    ("job_type", "output", "model"),
    [
        (LLM, b'{"text":"Paris","model":"llama3.2"}', "llama3.2"),
        (LLM, b'{"text":""}', UNNAMED_MODEL),
        (LLM, b'{"text":"x","model":7}', UNNAMED_MODEL),
        (LLM, b'{"text":"x","model":"' + b"m" * 300 + b'"}', UNNAMED_MODEL),
        (LLM, b'{"text":"x","error":null}', UNNAMED_MODEL),
        (TASK, b'{"summary":"x","word_count":1}', TASK_MODEL),
    ],
)
def test_a_result_names_its_model(job_type: JobType, output: bytes, model: str) -> None:
    judged = judge(job_type, output)
    assert (judged.failure, judged.model) == (None, model)


@pytest.mark.parametrize("output", [b"\xff", b"{", b"[" * 100_000, b'{"text":"a","n":' + b"[" * 100_000, DEEP])
def test_what_cannot_be_read_is_unfit(output: bytes) -> None:
    assert judge(LLM, output).failure is FailureCode.INVALID_OUTPUT


def test_what_an_output_holds_besides_changes_nothing() -> None:
    output = b'{"0":[1e400,{"error":"inner"}],"text":"a","model":"m","stub":false,"error":null}'
    assert judge(LLM, output) == LegacyOutput(model="m")
