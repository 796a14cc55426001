"""p15: `cavvy receipt verify`, offline and by job id."""

from __future__ import annotations

import json as stdlib_json
from pathlib import Path

import pytest

from cavvy.client import config
from tests.unit.cli.conftest import Cli
from tests.unit.client.fake_coordinator import JOB_ID, Answer, FakeCoordinator, completed, json, problem
from tests.unit.client.receipts import KEY, OTHER_KEY, RESULT, SMALL_ORDER_KEY, of_small_order, sealed, tampered


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "receipt.json"
    path.write_bytes(sealed())
    return path


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "result.json"
    path.write_bytes(RESULT)
    return path


def test_p15_a_right_receipt_is_valid(cli: Cli, file: Path, result: Path) -> None:
    code, out, _ = cli("receipt", "verify", str(file), "--key", KEY, "--result", str(result))
    assert code == 0
    assert out.splitlines()[-1] == "receipt: valid"
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "signature", "worker key", "statement", "output hash", "receipt",
    ]  # fmt: skip


def test_p15_without_result_bytes_the_hash_is_not_checked_and_that_is_said(cli: Cli, file: Path) -> None:
    code, out, _ = cli("receipt", "verify", str(file), "--key", KEY)
    assert code == 0
    assert "output hash: not checked (no result bytes given)" in out


def test_p15_an_unknown_key_is_undecidable(cli: Cli, file: Path, result: Path) -> None:
    code, out, _ = cli("receipt", "verify", str(file), "--result", str(result))
    assert code == 5
    assert out.endswith("receipt: undecidable\n")
    assert "receipt: valid" not in out


def test_p15_a_key_met_before_is_known_and_says_since_when(cli: Cli, file: Path) -> None:
    known = config.remember_worker(KEY, "laptop")
    code, out, _ = cli("receipt", "verify", str(file))
    assert code == 0
    assert f"key known since {known.first_seen}" in out


@pytest.mark.parametrize("arguments", [["--key", OTHER_KEY], ["--key", KEY, "--result", "wrong"]])
def test_p15_another_key_or_result_is_invalid(
    cli: Cli, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong").write_bytes(RESULT + b" ")
    code, out, _ = cli("receipt", "verify", str(file), *arguments)
    assert code == 1
    assert out.endswith("receipt: invalid\n")


@pytest.mark.parametrize(("envelope", "key"), [(tampered(), KEY), (of_small_order(), SMALL_ORDER_KEY)])
def test_p15_a_wrong_signature_is_invalid_also_from_a_known_key(
    cli: Cli, file: Path, envelope: bytes, key: str
) -> None:
    config.remember_worker(key, "laptop")
    file.write_bytes(envelope)
    code, out, _ = cli("receipt", "verify", str(file), "--key", key)
    assert code == 1
    assert out.endswith("receipt: invalid\n")


def test_p15_what_is_no_receipt_is_invalid(cli: Cli, file: Path) -> None:
    file.write_bytes(b"{}")
    assert cli("receipt", "verify", str(file)).code == 1


def test_p15_json_tells_each_check(cli: Cli, file: Path) -> None:
    code, out, _ = cli("receipt", "verify", str(file), "--json")
    found = stdlib_json.loads(out)
    assert code == 5
    assert found["verdict"] == "undecidable"
    assert {check["name"]: check["ok"] for check in found["checks"]} == {
        "signature": True, "worker key": None, "statement": True, "output hash": None,
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [["nowhere.json"], ["receipt.json", "--key", "abc"], []])
def test_wrong_usage_is_exit_2(cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.chdir(file.parent)
    assert cli("receipt", "verify", *arguments).code == 2


def test_p15_by_job_id_everything_is_fetched_and_the_key_noted(cli: Cli, coordinator: FakeCoordinator) -> None:
    attempt = {
        "attempt": 1, "worker": KEY, "worker_id": "wkr_1", "granted_at": "", "started_at": None, "ended_at": None,
        "end": "completed", "counted": False, "input_salt": "", "usage": None,
    }  # fmt: skip
    worker = {"id": "wkr_1", "key": KEY, "name": "laptop", "status": "approved", "enrolled_at": "", "online": False}
    coordinator.on_job("/receipt", Answer(sealed()))
    coordinator.on_job("/result", Answer(RESULT))
    coordinator.on_job("", json(completed("Paris.", attempts=[attempt])))
    coordinator.on("GET", "/v1/workers/wkr_1", json(worker))
    code, out, _ = cli("receipt", "verify", JOB_ID, "--url", coordinator.url)
    assert code == 0
    assert out.endswith("receipt: valid\n")
    assert config.known_workers()[KEY].name == "laptop"


def test_p15_a_job_whose_worker_is_not_known_is_undecidable(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on_job("/receipt", Answer(sealed()))
    coordinator.on_job("/result", Answer(RESULT))
    coordinator.on_job("", json(completed("Paris.")))
    assert cli("receipt", "verify", JOB_ID, "--url", coordinator.url).code == 5


def test_a_job_without_a_receipt_is_refused(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on_job("/receipt", problem(404, "not_found", "This job has no receipt."))
    assert cli("receipt", "verify", JOB_ID, "--url", coordinator.url).code == 4
