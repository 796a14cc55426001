"""The commands of "Ten minutes", one after the other as a reader types them, with a known answer in the model's place.

Not tried: what installs (make, ollama), and `--lan`, without which the second machine is a second account on this one.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT, Ended, Installation, Process, installed, until

pytestmark = pytest.mark.e2e

PAGE = (ROOT / "docs" / "tutorial" / "ten-minutes.md").read_text(encoding="utf-8")
SCRIPTED = ("-m", "tests.scripted_worker")
NOT_TRIED = ("make", "ollama", "export")


class Reader:
    """Types what the page says. `said` is what the commands answered, by the line that was typed."""

    def __init__(self, directory: Path, first: Installation, second: Installation) -> None:
        self._directory = directory
        self._first, self._second = first, second
        self._up: Process | None = None
        self.said: dict[str, Ended] = {}

    def type(self, line: str) -> None:
        program, *words = shlex.split(line)
        if program in NOT_TRIED:
            return
        assert program == "cavvy", line
        if words[0] == "up":
            self._start_up()
        elif words[0] == "worker":
            self._join()
        elif words[:2] == ["run", "Tell me a very long story about horses."]:
            self._interrupt(words)
        elif words[:2] == ["jobs", "cancel"]:
            self.said[line] = self._first.cavvy("jobs", "cancel", self._some_job())
        elif words[0] == "doctor":
            self.said[line] = self._first.run(*SCRIPTED, *words)
        else:
            self.said[line] = self._first.cavvy(*self._with_known_model(words))

    def _start_up(self) -> None:
        """Ctrl-C for the one that runs, then the next on the same data."""
        if self._up is not None:
            self._up.signal(signal.SIGINT)
            assert self._up.ended().code == 0
        up = self._up = self._first.start(*SCRIPTED, "up", "--port", "0")
        until("it says what to type next", lambda: "in another terminal:" in up.err)

    def _join(self) -> None:
        line = self.said["cavvy workers token"].out.strip()
        assert line.startswith("cavvy worker --join cavvy://")
        worker = self._second.start(*SCRIPTED, *shlex.split(line)[1:], "--name", "attic")
        until("it is connected", lambda: "connected" in worker.err)

    def _interrupt(self, words: list[str]) -> None:
        gate = self._directory / "gate"
        gate.unlink()
        running = self._first.start("-m", "cavvy", *words, "--live")
        until("it writes", lambda: running.out)
        running.signal(signal.SIGINT)
        self.said["Ctrl-C"] = running.ended()
        gate.touch()

    def _some_job(self) -> str:
        return re.findall(r"^[0-9a-f-]{36}", self.said["cavvy jobs list"].out, re.MULTILINE)[0]

    def _with_known_model(self, words: list[str]) -> list[str]:
        return ["scripted" if before == "--model" else word for before, word in zip(["", *words], words, strict=False)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    directory = tmp_path_factory.mktemp("reader")
    (directory / "gate").touch()
    names = ("first", "second")
    for name in names:
        (directory / name).mkdir()
    with installed(directory / "first") as first, installed(directory / "second") as second:
        for each in (first, second):
            each.environment |= {"CAVVY_TEST_GATED": "yes", "CAVVY_TEST_HOME": str(directory)}
        reader = Reader(directory, first, second)
        for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                reader.type(line)
        yield reader


def test_every_command_of_the_page_does_what_it_should(reader: Reader) -> None:
    failed = {line: ended for line, ended in reader.said.items() if ended.code and line != "Ctrl-C"}
    assert failed == {}
    assert reader.said["cavvy doctor"].out.endswith("all is well\n")


def test_the_second_machine_is_listed_beside_the_first(reader: Reader) -> None:
    listed = reader.said["cavvy workers list"].out.splitlines()
    assert len([line for line in listed if " online " in line]) == 2
    assert any(" attic " in line for line in listed)


def test_ctrl_c_stops_the_job_in_the_words_of_the_page(reader: Reader) -> None:
    ended = reader.said["Ctrl-C"]
    assert ended.code == 130
    assert re.search(r"^stopped job [0-9a-f-]{36}", ended.err, re.MULTILINE)
    assert re.search(r"^stopped job [0-9a-f-]{36}", PAGE, re.MULTILINE)
