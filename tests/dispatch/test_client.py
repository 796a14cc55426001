"""A client written for Dispatch, against this coordinator: nothing of it changes but the URL."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime

import pytest

from tests.dispatch.client import Client, RunFailed
from tests.processes import Installation, ScriptedWorker
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.e2e

USER = "user_abc"
COMMIT = {"job_type": "LLM_INFER", "payload": {"job_type": "LLM_INFER", "prompt": "hi"}, "user_id": USER}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module", autouse=True)
def worker(coordinator: Installation) -> ScriptedWorker:
    """One that runs both sorts of jobs."""
    return coordinator.start_worker()


def milliseconds(text: str) -> datetime:
    """What JavaScript's `new Date(text)` reads, in the form its `toISOString` writes."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    return datetime.fromisoformat(text)


def test_health_is_read(client: Client) -> None:
    status, body = client.health()
    assert (status, body["status"], body["workers_online"]) == (200, "ok", 1)
    assert isinstance(body["network"], str)
    assert abs((milliseconds(body["timestamp"]) - datetime.now(UTC)).total_seconds()) < 60


@pytest.mark.parametrize(
    ("job_type", "policy", "price", "endpoint", "resolved"),
    [
        ("LLM_INFER", None, "$0.010", "/v1/jobs/commit/fast", "FAST"),
        ("LLM_INFER", "AUTO", "$0.010", "/v1/jobs/commit/fast", "FAST"),
        ("LLM_INFER", "CHEAP", "$0.005", "/v1/jobs/commit/cheap", "CHEAP"),
        ("TASK", None, "$0.001", "/v1/jobs/commit/cheap", "CHEAP"),
        ("TASK", "FAST", "$0.003", "/v1/jobs/commit/fast", "FAST"),
    ],
)
def test_a_quote_is_the_one_that_dispatch_gives(
    client: Client, job_type: str, policy: str | None, price: str, endpoint: str, resolved: str
) -> None:
    status, body = client.quote(job_type, policy)
    assert status == 200
    assert (body["price"], body["endpoint"], body["policy_resolved"]) == (price, endpoint, resolved)
    assert body["expires_at"] is None


def test_a_quote_for_an_unknown_job_type_is_refused_in_the_same_words(client: Client) -> None:
    assert (answer := client.quote("EMBED")).status == 400
    assert answer.body["error"] == "Invalid job_type. Use LLM_INFER or TASK"


def test_a_prompt_is_answered(client: Client) -> None:
    ran = client.run_llm("Name three rivers.", USER, max_tokens=64, poll_s=0.02)
    assert (ran.output["text"], ran.price) == (ANSWER, "$0.010")
    assert {"text", "model"} <= set(ran.output)


def test_a_job_has_the_fields_that_are_read_of_it(client: Client) -> None:
    status, body = client.commit("cheap", COMMIT)
    assert status == 201
    assert UUID.fullmatch(body["job_id"])
    job = client.job(body["job_id"])
    assert job.status == 200
    assert {"id", "status", "result", "receipt", "created_at", "completed_at"} <= set(job.body)
    assert job.body["status"] in ("pending", "assigned", "running", "completed", "failed")
    milliseconds(job.body["created_at"])


def test_an_idle_worker_is_given_the_job_in_the_step_that_takes_it(client: Client) -> None:
    """How long that step takes is for the benchmark to say."""
    client.run_llm("whatever came before is done", USER, poll_s=0.02)
    job = client.job(client.run_llm("hi", USER, poll_s=0.02).receipt["job_id"]).body
    assert job["attempts"][0]["granted_at"] == job["created_at"]


def test_the_receipt_has_the_five_fields_and_says_that_it_was_verified(client: Client) -> None:
    ran = client.run_llm("hi", USER, poll_s=0.02)
    receipt = ran.receipt
    assert receipt["verified"] is True
    assert re.fullmatch(r"[0-9a-f]{64}", receipt["provider_pubkey"])
    assert UUID.fullmatch(receipt["job_id"])
    assert receipt["payment_ref"] is None
    milliseconds(receipt["completed_at"])
    assert isinstance(receipt["signature"], str)


def test_the_output_hash_is_that_of_the_output(client: Client) -> None:
    """This output's keys are in order and its values text: its JSON is what JavaScript writes, too."""
    ran = client.run_llm("hi", USER, poll_s=0.02)
    written = json.dumps(ran.output, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    assert ran.receipt["output_hash"] == hashlib.sha256(written.encode()).hexdigest()


@pytest.mark.parametrize(
    ("tier", "body", "error"),
    [
        ("fast", {}, "Missing required fields: job_type, payload, user_id"),
        ("fast", {**COMMIT, "user_id": ""}, "Missing required fields: job_type, payload, user_id"),
        ("cheap", {**COMMIT, "payload": None}, "Missing required fields: job_type, payload, user_id"),
        ("cheap", {**COMMIT, "job_type": "EMBED"}, "Invalid job_type"),
    ],
)
def test_what_dispatch_refuses_is_refused_in_the_same_words(
    client: Client, tier: str, body: object, error: str
) -> None:
    assert (answer := client.commit(tier, body)).status == 400
    assert answer.body["error"] == error


def test_a_job_that_is_not_there_is_told_in_the_same_words(client: Client) -> None:
    for job_id in ("00000000-0000-4000-8000-000000000001", "nonsense"):
        assert (answer := client.job(job_id)).status == 404
        assert answer.body["error"] == "Job not found"


@pytest.mark.parametrize("raw", [b"{", b"", b"\xff", b"[" * 100_000, b'{"job_type":"LLM_INFER","job_type":"TASK"}'])
def test_what_is_not_json_is_a_400_in_json_and_no_page_with_a_stack_trace(client: Client, raw: bytes) -> None:
    assert (answer := client.post_bytes("/v1/jobs/commit/fast", raw)).status == 400
    assert isinstance(answer.body["error"], str)


def test_a_private_job_that_nobody_is_trusted_with_is_refused_at_once_and_kept_as_failed(client: Client) -> None:
    answer = client.commit("fast", {**COMMIT, "user_id": "user_alone", "privacy_class": "PRIVATE"})
    assert (answer.status, answer.body["error"]) == (422, "no_trusted_worker")
    job = client.job(answer.body["job_id"]).body
    assert (job["status"], job["result"]) == ("failed", {"error": "no_trusted_worker"})
    with pytest.raises(RunFailed, match="Privacy enforcement: no_trusted_worker"):
        client.run_llm("a secret", "user_alone", privacy="PRIVATE")


def test_private_written_otherwise_is_refused_and_not_taken_for_public(client: Client) -> None:
    answer = client.commit("fast", {**COMMIT, "privacy_class": "private"})
    assert answer.status == 422
    assert "job_id" not in answer.body
    assert answer.body["detail"] == "Field 'privacy_class': must be exactly one of: PUBLIC, PRIVATE."


def test_a_task_that_nobody_knows_is_refused_and_not_completed_with_an_error(client: Client) -> None:
    payload = {"job_type": "TASK", "task_type": "translate", "input": "text"}
    answer = client.commit("cheap", {"job_type": "TASK", "payload": payload, "user_id": USER})
    assert (answer.status, answer.body["field"]) == (422, "task_type")
    assert "summarize" in answer.body["detail"]
