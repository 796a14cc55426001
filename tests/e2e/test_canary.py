"""A prompt, an output and keys go through every route and every error path, and stay where they belong."""

from __future__ import annotations

import contextlib
import os
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.canaries import CANARIES, KEY, OUTPUT, PROMPT, PROVIDER_KEY, TOKEN, try_everything
from tests.processes import Installation, survivors, until

pytestmark = pytest.mark.e2e

SHARED = (Path("/tmp"), Path("/var/tmp"))  # where programs leave things behind


class Scene(Installation):
    """What was tried, and when it began."""

    started_s: float
    token: str
    faults: list[str]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A coordinator and a worker whose home and temporary files are their own, and one answer that has begun."""
    directory = tmp_path_factory.mktemp("canary")
    here = Scene(directory)
    try:
        for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
            place = directory / "outside" / name
            place.mkdir(parents=True)
            here.environment[name] = str(place)
        here.environment["OPENAI_API_KEY"] = PROVIDER_KEY
        here.started_s = time.time() - 1
        here.start_coordinator(module="tests.canary_process")
        start_worker(here)
        shown = here.http.get("/openapi.json").json()["paths"]
        operations = [(method.upper(), path) for path, item in shown.items() for method in item]
        here.faults = try_everything(
            str(here.http.base_url), here.key, [one for one in operations if not one[1].endswith(("/revoke", "/drain"))]
        )
        running = here.submit(f"{PROMPT} wait")
        until("it runs", lambda: here.job(running)["status"] == "running")
        yield here
        here.http.post(f"/v1/jobs/{running}/cancel")
    finally:
        here.stop()


def start_worker(here: Scene) -> None:
    join = here.http.post("/v1/worker-tokens").json()["join"]
    here.token = join.rpartition("/")[2]
    home = str(here.directory / "worker")
    here.start("-m", "tests.canary_process", "worker", "--data-dir", home, "--name", "w", "--join", join)
    until("the worker is online", lambda: here.is_online("w"))


def holding(place: Path, words: tuple[str, ...]) -> list[str]:
    """The files below `place` that hold one of the words, and which."""
    found = []
    for path in place.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # somebody else's, and gone again
                data = path.read_bytes()
                found += [f"{path}: {word}" for word in words if word.encode() in data]
    return found


def test_the_engine_was_made_to_fail(here: Scene) -> None:
    assert here.faults, "otherwise nothing of this was tried"


def test_no_answer_tells_what_an_exception_said(here: Scene) -> None:
    for body in here.faults:
        assert not [word for word in CANARIES if word in body]


def test_the_metrics_count_what_was_tried_and_hold_none(here: Scene) -> None:
    stored = tomllib.loads((here.config / "credentials.toml").read_text())
    operator = str(stored["operator_key"])
    answer = here.http.get("/metrics", headers={"Authorization": f"Bearer {operator}"})
    found = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert float(found["cavvy_jobs_completed_total"]) > 0
    assert float(found['cavvy_jobs_failed_total{code="worker_error"}']) > 0
    assert [word for word in (*CANARIES, here.key, here.token, operator) if word in answer.text] == []


def test_no_process_writes_one_to_its_log(here: Scene) -> None:
    logs = [*here.directory.glob("*.out"), *here.directory.glob("*.err")]
    written = "".join(path.read_text(encoding="utf-8", errors="replace") for path in logs)
    assert "request_failed" in written, "the log says that something failed"
    assert "ValueError" in written
    secrets = (*CANARIES, here.key, here.token)
    assert [word for word in secrets if word in written] == []


def test_no_process_shows_one_to_others(here: Scene) -> None:
    shown = [
        (Path("/proc") / str(process.pid) / name).read_text(errors="replace")
        for process in survivors(here.mark)
        for name in ("cmdline", "comm")
    ]
    assert len(shown) >= 4
    assert [word for word in (*CANARIES, here.key) if word in "".join(shown)] == []


def test_no_file_outside_the_data_directories_holds_one(here: Scene) -> None:
    words = (*CANARIES, here.key)
    assert holding(here.directory / "outside", words) == []
    credentials = here.config / "credentials.toml"
    found = [one for one in holding(here.config, words) if not one.startswith(f"{credentials}: {here.key}")]
    assert found == []
    for place in SHARED:
        for path in place.iterdir():
            own = path.is_relative_to(here.directory) or Path(__file__).is_relative_to(path.resolve())
            if own or not is_new(path, here.started_s):
                continue
            assert holding(path, words) == []


def is_new(path: Path, since_s: float) -> bool:
    """Whether it was made since, and not by pytest."""
    try:
        return path.stat().st_mtime >= since_s and "pytest" not in path.name
    except OSError:
        return False


def test_data_directories_hold_prompts_and_no_keys(here: Scene) -> None:
    for place in (here.data, here.directory / "worker"):
        assert holding(place, (KEY, TOKEN, PROVIDER_KEY, here.key, here.token)) == []
    assert holding(here.data, (PROMPT, OUTPUT)), "this is where they belong"
    assert os.stat(here.data).st_mode & 0o077 == 0
