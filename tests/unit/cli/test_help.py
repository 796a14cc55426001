"""`--help`: of every command, and as the reference page docs/reference/commands.md.

    CAVVY_WRITE_MESSAGES=1 pytest tests/unit/cli/test_help.py

writes the page anew.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cavvy.cli._app import app
from cavvy.cli._help import PAGES
from tests.unit.cli.conftest import Cli
from tests.unit.cli.every_command import commands

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "commands.md"
HEAD = """# Commands

What `--help` says of each command. [Command line](cli.md) tells what they have in common.
"""


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def command_of(name: str) -> Any:
    found: Any = typer.main.get_command(app)
    for word in name.split():
        found = found.commands[word]
    return found


def test_every_command_has_a_page_and_every_page_a_command() -> None:
    assert sorted(PAGES) == commands()


@pytest.mark.parametrize("name", PAGES)
def test_help_says_what_a_command_does_prints_and_exits_with(cli: Cli, name: str) -> None:
    code, out, err = cli(*name.split(), "--help")
    assert (code, err) == (0, "")
    parts = ["Usage: cavvy ", "Options:", "Prints:", "Exit codes:", "Examples:"]
    places = [out.index(part) for part in parts]
    assert places == sorted(places)
    assert command_of(name).help.strip()


@pytest.mark.parametrize("name", PAGES)
def test_every_option_says_what_it_is_for(name: str) -> None:
    parameters = [each for each in command_of(name).params if each.name != "help"]
    assert [each.name for each in parameters if not getattr(each, "help", None)] == []


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_can_be_typed(name: str) -> None:
    for example in PAGES[name].examples:
        program, *words = shlex.split(example)
        assert program == "cavvy"
        words = [word for word in words if word != "--json"]
        path = name.split()
        assert words[: len(path)] == path
        command_of(name).make_context(name, words[len(path) :])


def test_the_reference_page_is_what_help_says(cli: Cli) -> None:
    pages = (f"\n## {name}\n\n```\n{cli(*name.split(), '--help').out.rstrip()}\n```\n" for name in commands())
    told = HEAD + "".join(pages)
    if os.environ.get("CAVVY_WRITE_MESSAGES"):
        PAGE.write_text(told, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == told


@pytest.mark.parametrize("group", ["jobs", "workers", "receipt"])
def test_a_group_alone_lists_its_commands(cli: Cli, group: str) -> None:
    code, out, err = cli(group)
    assert code == 2 or out
    assert all(name.split()[1] in out + err for name in commands() if name.startswith(f"{group} "))
