"""The first things a user tries, with the real model: `cavvy demo`, and `cavvy up` with `cavvy run`."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.processes import Ended, Installation, installed, survivors, until

pytestmark = [pytest.mark.e2e, pytest.mark.model]

QUESTION = "What is the capital of France?"


# cavvy demo


class Demo(NamedTuple):
    """How it ended, and what it left."""

    ended: Ended
    processes: list[psutil.Process]
    files: list[Path]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with installed(tmp_path_factory.mktemp("demo")) as here:
        temporary = with_temporary_directory(here)
        ended = here.start("-m", "cavvy", "demo").ended(within_s=100)
        yield Demo(ended, survivors(here.mark), [*temporary.iterdir(), here.data, here.config])


def with_temporary_directory(here: Installation) -> Path:
    """Where programs put their temporary files from now on."""
    directory = here.directory / "temporary"
    directory.mkdir()
    here.environment["TMPDIR"] = str(directory)
    return directory


def test_the_demo_exits_with_0(demo: Demo) -> None:
    assert demo.ended.code == 0, demo.ended.err


def test_the_demo_shows_the_answer_then_the_receipt_then_the_timeline(demo: Demo) -> None:
    answer, receipt, *timeline = demo.ended.out.splitlines()
    assert "Paris" in answer
    assert receipt == "receipt: valid"
    steps = [re.fullmatch(r" +\d+ ms  (\w+)( by worker wrk_\w+)?", line) for line in timeline]
    assert [step and step[1] for step in steps] == ["submitted", "assigned", "started", "completed"]


def test_the_demo_leaves_no_process(demo: Demo) -> None:
    assert demo.processes == []


def test_the_demo_leaves_no_file(demo: Demo) -> None:
    assert [path for path in demo.files if path.exists()] == []


def test_a_demo_that_is_interrupted_leaves_nothing_either(installation: Installation) -> None:
    temporary = with_temporary_directory(installation)
    process = installation.start("-m", "cavvy", "demo")
    until("the model's process is there", lambda: len(survivors(installation.mark)) >= 4)
    process.signal(signal.SIGINT)
    ended = process.ended()
    assert (ended.code, "Traceback" in ended.err) == (130, False)
    assert (survivors(installation.mark), list(temporary.iterdir())) == ([], [])


# cavvy up in one terminal, cavvy run in another: nothing is copied, they find each other


class Up(NamedTuple):
    """What `run` printed into a pipe, the job it made, and how `up` ended on TERM."""

    ran: Ended
    job: dict[str, Any]
    running: int
    ended: Ended
    left: list[psutil.Process]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with installed(tmp_path_factory.mktemp("up")) as here:
        process = here.start_coordinator("up")
        ran = here.start("-m", "cavvy", "run", QUESTION, "--temperature", "0").ended(within_s=60)
        (job_id,) = here.job_ids()
        job, running = here.job(job_id), len(survivors(here.mark))
        ended = process.terminate()
        yield Up(ran, job, running, ended, survivors(here.mark))


def test_run_finds_what_up_started(up: Up) -> None:
    assert up.ran.code == 0, up.ran.err
    assert "Paris" in up.ran.out


def test_into_a_pipe_run_prints_the_final_output_and_nothing_else(up: Up) -> None:
    assert up.ran.out == up.job["output"] + "\n"


def test_up_ends_on_term_and_takes_its_model_with_it(up: Up) -> None:
    assert up.running >= 2, "the model has a process of its own"
    assert (up.ended.code, up.left) == (0, [])
