"""What cannot start says so in one sentence that tells what to do, exits as documented, and harms nothing."""

from __future__ import annotations

import contextlib
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from cavvy.store.sqlite import SqliteStore
from tests import troubled_coordinator as trouble
from tests.processes import Ended, Installation, Process, installed

pytestmark = pytest.mark.e2e


def refusal(ended: Ended, code: int) -> str:
    """The one sentence of a command that was refused with `code`."""
    assert ended.code == code, ended
    assert ended.out == ""
    *notes, last = ended.err.splitlines()
    assert all(note.startswith("model: ") for note in notes), ended.err
    sentence, _, rest = last.removeprefix("cavvy: ").partition("\n")
    assert last.startswith("cavvy: ")
    assert not rest
    return sentence


def follow_advice(sentence: str) -> None:
    """Does the chmod that it says."""
    (command,) = re.findall(r"chmod \d+ [\w/.-]+", sentence)
    subprocess.run(shlex.split(command), check=True)


# Beside a coordinator that runs


class Beside(NamedTuple):
    """A coordinator that runs, and how two others ended that wanted its data or its port."""

    here: Installation
    coordinator: Process
    credentials: bytes
    job_id: str
    same_data: Ended
    same_port: Ended


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    with installed(tmp_path_factory.mktemp("beside")) as here:
        coordinator = here.start_coordinator()
        credentials = (here.config / "credentials.toml").read_bytes()
        job_id = here.submit()
        second = here.start("-m", "cavvy", "coordinator", "--port", "0")
        elsewhere = ["--port", str(here.port), "--data-dir", str(here.directory / "elsewhere")]
        third = here.start("-m", "cavvy", "coordinator", *elsewhere)
        yield Beside(here, coordinator, credentials, job_id, second.ended(), third.ended())


def test_a_second_coordinator_on_the_same_data_is_told_who_holds_it(beside: Beside) -> None:
    told = refusal(beside.same_data, 6)
    assert f"{beside.here.data} is in use (pid {beside.coordinator.pid}," in told
    assert "stop that process first, or choose another data directory with --data-dir" in told


def test_a_port_in_use_is_named_with_the_option_for_another(beside: Beside) -> None:
    told = refusal(beside.same_port, 6)
    assert f"Port {beside.here.port} on 127.0.0.1 is in use" in told
    assert "choose another with --port" in told


def test_the_first_coordinator_is_unharmed_by_both(beside: Beside) -> None:
    assert beside.coordinator.alive
    assert beside.here.job(beside.job_id)["status"] == "pending"
    assert beside.here.submit() != beside.job_id


def test_its_credentials_are_unharmed_too(beside: Beside) -> None:
    assert [path.name for path in beside.here.config.iterdir()] == ["credentials.toml"]
    assert (beside.here.config / "credentials.toml").read_bytes() == beside.credentials


def test_a_worker_whose_token_is_not_known_is_told_to_get_another(beside: Beside, tmp_path: Path) -> None:
    line = beside.here.http.post("/v1/worker-tokens").json()["join"]
    secret = line.rpartition("/")[2].split("_")[2]
    told = refusal(worker(beside.here, tmp_path, "--join", line.replace(secret, "A" * len(secret))), 4)
    assert "its token is unknown, used up or expired" in told
    assert "`cavvy workers token`" in told


def worker(here: Installation, data: Path, *arguments: str) -> Ended:
    return here.run("-m", "tests.scripted_worker", "worker", "--data-dir", str(data), *arguments)


# Files that cannot be used


async def test_data_of_a_newer_version_is_refused_and_stays_byte_for_byte(installation: Installation) -> None:
    store = SqliteStore(installation.data)
    await store.open()
    await store.close()
    path = installation.data / "cavvy.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    told = refusal(installation.cavvy("coordinator", "--port", "0"), 6)
    assert re.search(r"schema version 99, this Cavvy knows up to \d+: start the newer Cavvy", told)
    assert path.read_bytes() == before


def test_a_coordinators_key_that_others_can_read_is_refused_until_the_advice_is_followed(
    installation: Installation,
) -> None:
    installation.data.mkdir()
    key = installation.data / "coordinator.key"
    key.write_text("1" * 64)
    key.chmod(0o644)
    told = refusal(installation.cavvy("coordinator", "--port", "0"), 6)
    assert f"{key} can be read or changed by other users (mode 0644)" in told
    follow_advice(told)
    installation.start_coordinator()


def test_a_workers_key_that_others_can_read_is_refused_with_the_chmod(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "worker").mkdir()
    key = tmp_path / "worker" / "worker.key"
    key.write_text("1" * 64)
    key.chmod(0o640)
    told = refusal(worker(installation, tmp_path), 6)
    assert f"{key} can be read or changed by other users (mode 0640)" in told
    follow_advice(told)
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("command", [["coordinator", "--port", "0"], ["worker"]], ids=["coordinator", "worker"])
def test_a_data_directory_that_cannot_be_made_is_named_with_the_option_for_another(
    installation: Installation, command: list[str]
) -> None:
    module = "tests.scripted_worker" if command == ["worker"] else "cavvy"
    (installation.directory / "letter").write_text("no directory")
    told = refusal(installation.run("-m", module, *command, "--data-dir", str(installation.directory / "letter")), 6)
    assert str(installation.directory / "letter") in told
    assert "choose another directory with --data-dir" in told


def test_a_model_that_is_not_there_is_refused_before_anything_starts(installation: Installation) -> None:
    told = refusal(installation.cavvy("worker", "--model", "/nonexistent.gguf"), 6)
    assert told == "there is no model file /nonexistent.gguf; give a GGUF file with --model"
    assert not installation.data.exists()


# A worker that cannot join


def test_a_join_line_that_cannot_be_right_is_a_usage_error(installation: Installation) -> None:
    told = refusal(worker(installation, installation.data, "--join", "cavvy://127.0.0.1:4010/cav_wrk_abc"), 2)
    assert "was it cut off when it was copied?" in told
    assert "Print a new one with `cavvy workers token`" in told


def test_a_worker_that_has_joined_nobody_is_told_how(installation: Installation) -> None:
    told = refusal(worker(installation, installation.data), 6)
    assert told == "This worker has not joined a coordinator. Get a line with `cavvy workers token` there."


# The first start: its keys are shown once


def test_a_first_start_that_cannot_write_the_keys_down_is_refused_and_made_good_later(
    installation: Installation,
) -> None:
    installation.config.write_text("no directory")
    told = refusal(installation.cavvy("coordinator", "--port", "0"), 6)
    assert "credentials.toml" in told
    assert "CAVVY_CONFIG_DIR" in told
    installation.config.unlink()
    installation.start_coordinator()
    installation.submit()


def test_a_first_start_that_is_killed_leaves_keys_that_work_or_makes_new_ones(installation: Installation) -> None:
    """Killed first before the keys are durable, then just after."""
    for order in (trouble.DIE_BEFORE_COMMIT, trouble.DIE_AFTER_COMMIT):
        installation.orders.write_text(f"{order} insert_api_key")
        killed = installation.start("-m", "tests.troubled_coordinator", "coordinator", "--port", "0")
        assert killed.ended().code == -9
    installation.start_coordinator()
    installation.submit()


# Two that rule the same data


def test_p03_one_whose_term_is_over_accepts_nothing_more_and_ends_with_75(installation: Installation) -> None:
    coordinator = installation.start_coordinator()
    with sqlite3.connect(installation.data / "cavvy.db") as database:
        database.execute("UPDATE store SET term = term + 1")
    answers: list[int] = []
    with contextlib.suppress(httpx.TransportError):  # until nobody is there any more
        while len(answers) < 100:
            answers.append(installation.http.post("/v1/jobs", json={"prompt": "hi"}).status_code)
    ended = coordinator.ended()
    assert (set(answers), ended.code) == ({503}, 75)
    assert "another coordinator rules this store" in ended.err
    assert database.execute("SELECT count(*) FROM job").fetchone() == (0,)
    database.close()
