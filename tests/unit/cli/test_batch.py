"""`cavvy jobs batch`: a file of jobs against a fake coordinator."""

from __future__ import annotations

import io
import json as stdlib_json
import sys
from pathlib import Path

import msgspec
import pytest

from cavvy import defaults
from cavvy.cli import _batch
from tests.unit.cli.conftest import Cli
from tests.unit.client.fake_coordinator import JOB_ID, FakeCoordinator, job, json, problem

MADE = {"status": 201, "job": job()}
REFUSED = {"status": 422, "problem": {"status": 422, "code": "invalid_field", "detail": "Say something."}}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"prompt": "a"}\n\n{"prompt": ""}\n')
    return str(path)


def test_it_prints_the_ids_and_says_which_line_was_refused(cli: Cli, coordinator: FakeCoordinator, file: str) -> None:
    coordinator.on("POST", "/v1/jobs/batch", json({"results": [MADE, REFUSED]}, 201))
    code, out, err = cli("jobs", "batch", file, "--url", coordinator.url)
    assert (code, out, err) == (4, f"{JOB_ID}\n", "line 3: Say something. (422 invalid_field)\n")


def test_with_json_each_job_is_a_line(cli: Cli, coordinator: FakeCoordinator, file: str) -> None:
    coordinator.on("POST", "/v1/jobs/batch", json({"results": [MADE, REFUSED]}, 201))
    code, out, err = cli("jobs", "batch", file, "--json", "--url", coordinator.url)
    first, second = (stdlib_json.loads(line) for line in out.splitlines())
    assert (code, err) == (4, "")
    assert (first["line"], first["job"]["id"]) == (1, JOB_ID)
    assert (second["line"], second["problem"]["code"]) == (3, "invalid_field")


def test_it_reads_stdin(cli: Cli, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator.on("POST", "/v1/jobs/batch", json({"results": [MADE]}, 201))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO('{"prompt": "ünd"}'.encode())))
    assert cli("jobs", "batch", "-", "--url", coordinator.url).code == 0
    assert msgspec.json.decode(coordinator.requests[0].body) == {"jobs": [{"prompt": "ünd"}]}


def test_a_line_that_is_no_job_submits_nothing(cli: Cli, coordinator: FakeCoordinator, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text('{"prompt": "a"}\n[1]\n')
    code, out, err = cli("jobs", "batch", str(path), "--url", coordinator.url)
    assert (code, out) == (2, "")
    assert "line 2 is no JSON object" in err
    assert coordinator.requests == []


@pytest.mark.parametrize("content", [None, ""])
def test_a_file_without_jobs_is_wrong_usage(cli: Cli, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "jobs.jsonl"
    if content is not None:
        path.write_text(content)
    assert cli("jobs", "batch", str(path)).code == 2


def test_a_name_of_the_users_makes_a_repetition_harmless(cli: Cli, coordinator: FakeCoordinator, file: str) -> None:
    coordinator.on("POST", "/v1/jobs/batch", json({"results": [MADE, MADE]}, 201))
    cli("jobs", "batch", file, "--idempotency-key", "monday", "--url", coordinator.url)
    assert coordinator.requests[0].headers["idempotency-key"] == "monday-0"


def test_a_long_file_is_as_few_batches_as_can_be() -> None:
    short = _batch.parse(b'{"prompt":"x"}\n' * 2001)
    assert [len(batch) for batch in _batch.batches(short)] == [1000, 1000, 1]
    large = _batch.parse(b'{"prompt":"%s"}\n' % (b"x" * 1_000_000) * 20)
    sizes = [sum(line.size for line in batch) for batch in _batch.batches(large)]
    assert len(sizes) == 2
    assert all(size < defaults.MAX_BATCH_BODY_BYTES for size in sizes)


def test_a_batch_refused_whole_is_exit_4(cli: Cli, coordinator: FakeCoordinator, file: str) -> None:
    coordinator.on("POST", "/v1/jobs/batch", problem(422, "idempotency_key_reused", "Use a fresh key."))
    assert cli("jobs", "batch", file, "--url", coordinator.url)[:2] == (4, "")
