"""What every command says: with a live coordinator, with none, with a wrong key, with a full disk.

every_command.py has the commands; the words are kept in messages/, a file a command.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from cavvy.client import _flow
from tests.ports import held_port
from tests.unit.cli.conftest import Cli, Outcome
from tests.unit.cli.every_command import (
    ENTRIES,
    MAKERS,
    MESSAGES,
    NOBODYS,
    Condition,
    Entry,
    Live,
    commands,
    files,
    live,
    placeholders,
    steady,
)

WRONG_KEY = "cav_adm_aaaaaaaaaaaa_" + "x" * 49
CLIENTS = [name for name, entry in ENTRIES.items() if entry.client]
SERVER_PACKAGES = {"cavvy.providers", "cavvy.worker", "cavvy.coordinator", "cavvy.api", "cavvy.store"}
SERVER_LIBRARIES = {
    "any_llm", "litestar", "psutil", "sqlite3", "structlog", "uvicorn", "uvloop", "websockets", "xllamacpp",
}  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A coordinator for whatever does not look at all there is."""
    with live(tmp_path_factory.mktemp("shared")) as here:
        yield here


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, dict[str, str]]]:
    """A coordinator whose disk is full, and what was made on it while there was room."""
    with live(tmp_path_factory.mktemp("full")) as here:
        made = files(here.directory) | {name: make(here) for name, make in MAKERS.items()}
        here.fill()
        yield here, made


@pytest.fixture(scope="module")
def nobody() -> Iterator[str]:
    with held_port() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """What the coordinators of this process log would stand between what the commands say."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that may be over in a second is asked about again at once."""
    monkeypatch.setattr(_flow, "RETRY_AFTER_CAP_S", 0.0)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


class Run:
    """Types a command's line: a client's in this process, a server's in one of its own."""

    def __init__(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        self._cli = cli
        self._monkeypatch = monkeypatch

    def __call__(self, entry: Entry, words: list[str], url: str, key: str) -> Outcome:
        self._monkeypatch.setenv("CAVVY_URL", url)
        self._monkeypatch.setenv("CAVVY_API_KEY", key)
        if entry.client:
            return self._cli(*words)
        module = "tests.scripted_worker" if words[0] == "worker" else "cavvy"
        command = [sys.executable, "-m", module, *words]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(cli, monkeypatch)


def words_of(line: str, values: dict[str, str]) -> list[str]:
    return [word.format_map(values) for word in line.split()]


def made_for(line: str, here: Live) -> dict[str, str]:
    return files(here.directory) | {name: MAKERS[name](here) for name in placeholders(line)}


def section(condition: Condition, line: str, outcome: Outcome | None, *directories: Path) -> str:
    """What is kept of one run."""
    if outcome is None:
        return f"--- {condition}: not tried, {line.removeprefix('# ')}\n"
    told = f"--- {condition}: {line}\nexit {outcome.code}\n"
    for name, text in (("stdout", outcome.out), ("stderr", outcome.err)):
        told += "".join(f"{name}: {shown}\n" for shown in steady(text, *directories).splitlines())
    return told


@pytest.mark.parametrize("name", ENTRIES)
def test_what_a_command_says(
    name: str, run: Run, nobody: str, shared: Live, full: tuple[Live, dict[str, str]], tmp_path: Path
) -> None:
    entry, told = ENTRIES[name], ""
    for condition in Condition:
        line = entry.for_condition(condition)
        outcome = None
        if line.startswith("#"):
            pass
        elif condition is Condition.NOBODY:
            values = NOBODYS | {"directory": str(tmp_path)} | files(tmp_path)
            outcome = run(entry, words_of(line, values), nobody, "cav_adm_any")
        elif condition is Condition.WRONG_KEY:
            outcome = run(entry, words_of(line, made_for(line, shared)), shared.stack.server.url, WRONG_KEY)
        elif condition is Condition.FULL_DISK:
            here, made = full
            outcome = run(entry, words_of(line, made), here.stack.server.url, here.stack.key)
        else:
            with live(tmp_path / "live") as here:
                values = made_for(line, here)
                outcome = run(entry, words_of(line, values), here.stack.server.url, here.stack.key)
        told += section(condition, line, outcome, tmp_path / "live", tmp_path, shared.directory, full[0].directory)
    kept = MESSAGES / f"{name.replace(' ', '_')}.txt"
    if os.environ.get("CAVVY_WRITE_MESSAGES"):
        kept.write_text(told, encoding="utf-8")
    assert told == kept.read_text(encoding="utf-8")


def test_every_command_of_the_program_is_tried() -> None:
    assert sorted(ENTRIES) == commands()


def test_no_message_is_kept_of_a_command_that_is_gone() -> None:
    assert {path.stem for path in MESSAGES.iterdir()} == {name.replace(" ", "_") for name in ENTRIES}


def as_json(text: str) -> list[object]:
    """Each line of it, or all of it."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", CLIENTS)
def test_json_may_stand_anywhere_on_the_line_of_a_command(name: str, run: Run, shared: Live) -> None:
    line = ENTRIES[name].line
    for place in range(len(name.split()) + 1):
        words = words_of(line, made_for(line, shared))
        words.insert(place, "--json")
        code, out, err = run(ENTRIES[name], words, shared.stack.server.url, shared.stack.key)
        assert (code, err) == (0, ""), words
        assert as_json(out)


@pytest.mark.parametrize("name", CLIENTS)
def test_with_json_a_refusal_is_json_too(name: str, run: Run, nobody: str, tmp_path: Path) -> None:
    words = [*words_of(ENTRIES[name].line, NOBODYS | files(tmp_path)), "--json"]
    code, out, err = run(ENTRIES[name], words, nobody, "cav_adm_any")
    assert (code, out) == (3, "")
    (told,) = as_json(err)
    assert isinstance(told, dict)
    assert told["error"] == "no_coordinator"


IMPORTS = """
import json, sys
from cavvy.cli._app import execute
for name, words in json.loads(sys.stdin.read()).items():
    code = execute(words)
    print(json.dumps([name, code, sorted(sys.modules)]), file=sys.__stderr__)
"""


def test_client_commands_import_neither_providers_nor_server(shared: Live) -> None:
    lines = {name: ENTRIES[name].line for name in CLIENTS}
    words = {name: words_of(line, made_for(line, shared)) for name, line in lines.items()}
    environment = os.environ | {"CAVVY_URL": shared.stack.server.url, "CAVVY_API_KEY": shared.stack.key}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], input=json.dumps(words), capture_output=True, text=True, env=environment
    )
    seen = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[")]
    assert [name for name, _, _ in seen] == list(words), done.stderr
    for name, code, modules in seen:
        packages = {".".join(module.split(".")[:2]) for module in modules}
        assert code == 0, (name, done.stderr)
        assert "cavvy.client" in packages
        assert not packages & (SERVER_PACKAGES | SERVER_LIBRARIES), name
