"""Each thing that can be wrong, made wrong: what the doctor says of it."""

from __future__ import annotations

import json as stdlib_json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from cavvy import defaults
from cavvy.cli._doctor import disk, models
from cavvy.client import config
from cavvy.client.config import Credentials
from cavvy.errors import ModelMissing
from cavvy.providers.build import Discovered, UnusedCloud
from cavvy.testing.providers import ScriptedProvider
from tests.ports import held_port
from tests.unit.cli.conftest import Cli
from tests.unit.client.fake_coordinator import Answer, FakeCoordinator, json, problem

KEY = "cav_adm_aaaaaaaaaaaa_secret"


class Patient:
    """A machine, `doctor` and what it says. `found` is what it finds to run jobs on."""

    def __init__(self, cli: Cli, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._cli = cli
        self.directory = tmp_path
        self.data = tmp_path / "data"
        self.found: Discovered | ModelMissing = Discovered([ScriptedProvider()], [], [])
        monkeypatch.setattr(models, "discover", self._discover)
        monkeypatch.setattr(defaults, "PORT", port)  # whoever really has Cavvy's port is not to be met
        monkeypatch.setattr(disk, "measure_fsync_ms", lambda _: 1.0)  # this machine's disk may be busy
        monkeypatch.chdir(tmp_path)

    async def _discover(self, *_: Any, **__: Any) -> Discovered:
        if isinstance(self.found, ModelMissing):
            raise self.found
        return self.found

    def examine(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        ended = self._cli("doctor", "--json", "--port", "0", *arguments)
        assert ended.err == ""
        return ended.code, stdlib_json.loads(ended.out)

    def one_wrong(self, *arguments: str) -> dict[str, Any]:
        """The one thing that is wrong, which is explained and has a remedy."""
        code, said = self.examine(*arguments)
        (found,) = [each for each in said["findings"] if each["state"] == "wrong"]
        assert (code, said["ok"]) == (1, False)
        assert found["why"]
        assert found["fix"]
        return dict(found)

    def write(self, text: str) -> Path:
        path = self.directory / "named.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path


@pytest.fixture
def patient(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    with held_port() as port:
        yield Patient(cli, tmp_path, port, monkeypatch)


def healthy(
    coordinator: FakeCoordinator,
    *,
    ahead_s: float = 0.0,
    workers: tuple[dict[str, Any], ...] = (),
    refusal: Answer | None = None,
) -> None:
    """A coordinator that answers and knows the key, unless it refuses it."""

    def date() -> str:
        return format_datetime(datetime.fromtimestamp(time.time() + ahead_s, UTC), usegmt=True)

    coordinator.on("GET", "/v1/health", json({"status": "ok", "version": "0.1.0"}, Date=date))
    coordinator.on("GET", "/v1/workers", refusal or json({"workers": list(workers)}))
    config.write_credentials(Credentials(url=coordinator.url, key=KEY))


def snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its mode and content."""
    found = sorted(directory.rglob("*"))
    return {str(each): (each.stat().st_mode, each.read_bytes() if each.is_file() else b"") for each in found}


# All is well


def test_before_the_first_start_nothing_is_wrong_and_nothing_is_made(patient: Patient) -> None:
    code, said = patient.examine()
    assert (code, said["ok"]) == (0, True), said
    assert list(patient.directory.iterdir()) == []


def test_a_healthy_installation_is_told_so_and_left_as_it_was(patient: Patient, coordinator: FakeCoordinator) -> None:
    healthy(coordinator)
    patient.data.mkdir(mode=0o700)
    before = snapshot(patient.directory)
    code, said = patient.examine()
    assert code == 0, said
    assert {each["state"] for each in said["findings"]} == {"ok"}
    assert snapshot(patient.directory) == before
    assert {each.method for each in coordinator.requests} == {"GET"}


def test_it_is_readable_without_json(patient: Patient, cli: Cli) -> None:
    patient.found = ModelMissing("start Ollama")
    ended = cli("doctor", "--port", "0")
    assert ended.code == 1
    assert "WRONG  models: there is no provider that could run a job\n" in ended.out
    assert "         do:  start Ollama\n" in ended.out
    assert ended.out.endswith("1 wrong\n")


def test_each_setting_is_shown_with_where_it_came_from(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    path = patient.write("url = 'http://127.0.0.1:1'\n[coordinator]\nport = 1\nlan = true\n[limits]\nmax_pending = 7")
    monkeypatch.setenv("CAVVY_API_KEY", KEY)
    _, said = patient.examine("--config", str(path))
    shown = {each["name"]: (each["value"], each["origin"]) for each in said["settings"]}
    assert shown["url"] == ("http://127.0.0.1:1", f"{path}, line 1")
    assert shown["key"] == ("set", "CAVVY_API_KEY")
    assert shown["pin"] == (None, "default")
    assert shown["port"] == (0, "--port")
    assert shown["data_dir"] == (str(patient.data), "CAVVY_DATA_DIR")
    assert shown["limits.max_pending"] == (7, f"{path}, line 6")
    assert shown["lan"] == ("True", f"{path}, line 4")
    assert shown["worker.slots"] == (None, "default")
    assert shown["worker.models"] == (True, "default")
    assert shown["worker.tasks"] == (True, "default")


def test_no_key_is_shown(patient: Patient, coordinator: FakeCoordinator, cli: Cli) -> None:
    healthy(coordinator)
    config.write_credentials(Credentials(url=coordinator.url, key=KEY, operator_key="cav_opr_secret"))
    for arguments in (["doctor"], ["doctor", "--json"], ["doctor", "--key", "cav_adm_given_secret"]):
        assert "_secret" not in "".join(cli(*arguments)[1:])


# Settings


def test_a_bad_cavvy_toml_is_found_and_the_rest_still_looked_at(patient: Patient) -> None:
    path = patient.write("[worker]\nslot = 2")
    found = patient.one_wrong("--config", str(path))
    assert found["what"] == f"{path}, line 2: worker.slot is not known; did you mean slots?"


def test_a_file_that_nobody_named_is_found(patient: Patient) -> None:
    (patient.directory / "cavvy.toml").write_text("[providers.x]\ncommand = ['sh']")
    (patient.directory / "cavvy.toml").chmod(0o600)
    assert "you did not name this file" in patient.one_wrong()["what"]


def test_a_damaged_credentials_file_is_found(patient: Patient) -> None:
    config.write_credentials(Credentials(key=KEY)).write_text("url = ")
    assert "credentials.toml cannot be read" in patient.one_wrong()["what"]


# Something to run jobs on


def test_a_worker_that_runs_tasks_only_needs_no_provider(patient: Patient) -> None:
    patient.found = ModelMissing("start Ollama, give a GGUF file, or install the demo model")
    path = patient.write("[worker]\nmodels = false")
    _, said = patient.examine("--config", str(path))
    (found,) = [each for each in said["findings"] if each["check"] == "models"]
    assert (found["state"], found["what"]) == (
        "ok",
        f"none is wanted ({path}, line 2): a worker here runs tasks only",
    )


def test_no_provider_is_found_with_the_ways_to_get_one(patient: Patient) -> None:
    patient.found = ModelMissing("start Ollama, give a GGUF file, or install the demo model")
    found = patient.one_wrong()
    assert (found["check"], found["fix"]) == ("models", "start Ollama, give a GGUF file, or install the demo model")


def test_a_machine_that_only_uses_a_coordinator_elsewhere_needs_none(patient: Patient) -> None:
    patient.found = ModelMissing("")
    assert patient.examine("--url", "http://192.0.2.1:9", "--key", "")[1]["ok"]


def test_weights_that_are_not_there_are_found(patient: Patient) -> None:
    path = patient.write("[providers.llamacpp]\nmodel = 'absent.gguf'")
    found = patient.one_wrong("--config", str(path))
    assert found["what"] == f"[providers.llamacpp]: there is no model file {patient.directory / 'absent.gguf'}"


def test_an_idle_cloud_key_is_named_without_being_wrong(patient: Patient) -> None:
    patient.found = Discovered(
        [ScriptedProvider()], [], [UnusedCloud("openai", "OPENAI_API_KEY", "$1 a million tokens")]
    )
    code, said = patient.examine()
    assert code == 0
    (found,) = [each for each in said["findings"] if "openai" in each["what"]]
    assert (found["state"], found["fix"]) == ("unknown", "cavvy up --cloud")


# The disk


def test_a_slow_disk_is_found_and_named(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "measure_fsync_ms", lambda _: defaults.DOCTOR_SLOW_FSYNC_MS + 1)
    found = patient.one_wrong()
    assert found["check"] == "disk speed"
    assert "an fsync takes 21.0 ms" in found["what"]


def test_the_measurement_syncs_for_real_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    assert disk.measure_fsync_ms(tmp_path) > 0
    assert len(synced) == defaults.DOCTOR_FSYNCS
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_nearly_full_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(patient.directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=defaults.DOCTOR_FREE_BYTES - 1))
    found = patient.one_wrong()
    assert found["check"] == "disk room"
    assert f"1.0 GiB are free at {patient.directory}" in found["what"]


def test_a_place_that_cannot_be_written_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> float:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk, "measure_fsync_ms", refused)
    assert patient.one_wrong()["what"] == f"{patient.directory} cannot be written: Permission denied"


# Permissions


@pytest.mark.parametrize("name", [".", "cavvy.db", "coordinator.key", "worker", "worker/worker.key"])
def test_what_others_can_read_in_the_data_is_found_and_the_chmod_heals_it(patient: Patient, name: str) -> None:
    (patient.data / "worker").mkdir(parents=True, mode=0o700)
    patient.data.chmod(0o700)
    path = patient.data / name
    if "." in name[1:]:
        path.touch(0o600)
    mode = path.stat().st_mode & 0o777
    path.chmod(mode | 0o040)
    found = patient.one_wrong()
    assert f"{path} is open to others" in found["what"]
    subprocess.run(shlex.split(found["fix"]), check=True)
    assert path.stat().st_mode & 0o777 == mode
    assert patient.examine()[0] == 0


def test_credentials_that_others_can_read_are_found(patient: Patient) -> None:
    path = config.write_credentials(Credentials(key=KEY))
    path.chmod(0o644)
    assert patient.one_wrong()["fix"] == f"chmod 600 {path}"


def test_a_tls_key_that_others_can_read_is_found(patient: Patient) -> None:
    (patient.directory / "tls.key").touch()
    (patient.directory / "tls.key").chmod(0o640)
    path = patient.write("[coordinator]\ntls_cert = 'tls.pem'\ntls_key = 'tls.key'")
    assert patient.one_wrong("--config", str(path))["fix"] == f"chmod 600 {patient.directory / 'tls.key'}"


def test_data_of_another_account_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    patient.data.mkdir(mode=0o700)
    os.chown(patient.data, 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "belongs to another account" in patient.one_wrong()["what"]


# Who has the data


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


def lock(patient: Patient, pid: int, started: datetime) -> None:
    patient.data.mkdir(mode=0o700)
    path = patient.data / "coordinator.lock"
    path.write_text(f"pid {pid}\nstarted {started.isoformat(timespec='seconds')}\n")
    path.chmod(0o600)


def test_a_process_that_has_the_data_and_does_not_answer_is_found(
    patient: Patient, process: subprocess.Popen[bytes]
) -> None:
    lock(patient, process.pid, datetime.now(UTC))
    found = patient.one_wrong()
    assert f"process {process.pid} (" in found["what"]
    assert found["fix"].endswith(f"kill {process.pid}")


def test_one_that_answers_is_named_and_well(
    patient: Patient, process: subprocess.Popen[bytes], coordinator: FakeCoordinator
) -> None:
    healthy(coordinator)
    lock(patient, process.pid, datetime.now(UTC))
    code, said = patient.examine()
    assert code == 0
    assert any(f"process {process.pid} (" in each["what"] for each in said["findings"])


def test_a_lock_that_a_dead_process_left_holds_nothing(patient: Patient, process: subprocess.Popen[bytes]) -> None:
    lock(patient, process.pid, datetime(2020, 1, 1, tzinfo=UTC))  # before the process of this number was born
    assert patient.examine()[0] == 0


# The coordinator


def test_a_port_that_is_taken_is_found_with_the_process(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = patient.one_wrong("--port", str(port))
    assert f"port {port} is taken by process {os.getpid()} (" in found["what"]
    assert f"--port {port + 1}" in found["fix"]


def test_the_port_of_the_coordinator_that_runs_is_not_taken(patient: Patient, coordinator: FakeCoordinator) -> None:
    healthy(coordinator)
    assert patient.examine("--port", coordinator.url.rpartition(":")[2])[0] == 0


@pytest.mark.parametrize(("ahead_s", "words"), [(3600.0, "3600 s ahead of"), (-3600.0, "3600 s behind")])
def test_a_clock_that_differs_from_the_coordinators_is_found(
    patient: Patient, coordinator: FakeCoordinator, ahead_s: float, words: str
) -> None:
    healthy(coordinator, ahead_s=ahead_s)
    found = patient.one_wrong()
    assert found["check"] == "clocks"
    amount, unit, rest = words.partition(" s ")
    told = int(found["what"].split(" is ")[1].split()[0])
    assert abs(told - int(amount)) < 30
    assert found["what"].startswith("the coordinator's clock is")
    assert f"{unit}{rest} this machine's" in found["what"]


def test_a_workers_clock_that_differs_is_found(patient: Patient, coordinator: FakeCoordinator) -> None:
    worker = {"id": "wrk_1", "key": "", "name": "attic", "status": "approved", "enrolled_at": "", "online": True}
    healthy(coordinator, workers=(worker | {"skew_ms": -9000}, worker | {"skew_ms": 10}))
    assert patient.one_wrong()["what"] == "the clock of worker attic is 9 s behind the coordinator's"


def test_credentials_that_do_not_open_the_coordinator_are_found(patient: Patient, coordinator: FakeCoordinator) -> None:
    healthy(coordinator, refusal=problem(401, "unauthorized", "Send a valid key"))
    found = patient.one_wrong()
    assert found["what"] == f"the key from {config.credentials_path()} does not open {coordinator.url}"


def test_a_key_from_the_environment_that_is_wrong_is_told_by_its_name(
    patient: Patient, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy(coordinator, refusal=problem(401, "unauthorized", "Send a valid key"))
    monkeypatch.setenv("CAVVY_API_KEY", "cav_adm_old_secret")
    assert patient.one_wrong()["fix"] == "unset CAVVY_API_KEY"


def test_a_coordinator_without_any_key_for_it_is_found(patient: Patient, coordinator: FakeCoordinator) -> None:
    healthy(coordinator)
    config.credentials_path().unlink()
    assert "there is no key for" in patient.one_wrong("--url", coordinator.url)["what"]


def test_a_key_of_a_small_role_is_no_fault(patient: Patient, coordinator: FakeCoordinator) -> None:
    healthy(coordinator, refusal=problem(403, "forbidden", "This key's role is submit"))
    assert patient.examine()[0] == 0


def test_something_else_that_answers_is_not_taken_for_a_coordinator(
    patient: Patient, coordinator: FakeCoordinator
) -> None:
    coordinator.on("GET", "/v1/health", Answer(b"<html>"))
    _, said = patient.examine("--url", coordinator.url)
    assert any("not as Cavvy does" in each["what"] for each in said["findings"])
