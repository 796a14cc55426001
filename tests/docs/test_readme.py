"""What the documents name exists: files, headings, make targets, commands and their options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer.main

from cavvy.cli._app import app
from tests.processes import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"^(?P<fence>```+)(?P<language>\w*)\n(?P<code>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(document: Path) -> str:
    """The document without its code blocks."""
    return CODE.sub("", document.read_text(encoding="utf-8"))


def shell_lines(document: Path) -> Iterator[str]:
    """The lines of its sh blocks, continued ones joined, and the commands it names in the text."""
    text = document.read_text(encoding="utf-8")
    for block in CODE.finditer(text):
        if block["language"] in ("sh", "bash", "console"):
            yield from block["code"].replace("\\\n", " ").splitlines()
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(document))


def test_there_is_a_readme() -> None:
    assert ROOT / "README.md" in DOCUMENTS


# Links


def anchors(document: Path) -> set[str]:
    """The ids that GitHub gives the headings."""
    titles = re.findall(r"^#{1,6} +(.+?)\s*$", prose(document), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", title).replace("`", "") for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


def broken(document: Path, link: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    target = (document.parent / path).resolve() if path else document
    if not target.is_relative_to(ROOT) or not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in anchors(target)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", prose(document))
    links += re.findall(r"^\[[^]]+]: +(\S+)", prose(document), re.MULTILINE)
    relative = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in relative if broken(document, link)] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        reached.add(document)
        links = re.findall(r"]\(([^)\s#]+\.md)", prose(document))
        waiting += [page for link in links if (page := (document.parent / link).resolve()) not in reached]
    assert [name(page) for page in DOCUMENTS if page not in reached] == []


# Commands


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    named = [line.split() for line in shell_lines(document) if re.match(r"make [a-z]", line)]
    targets = {words[1] for words in named}
    assert targets <= make_targets()


def known(words: list[str]) -> bool:
    """Whether these words after `cavvy` are a command, its arguments and options that it has."""
    command: Any = typer.main.get_command(app)
    options = set()
    while True:
        given = [(*parameter.opts, *parameter.secondary_opts) for parameter in command.params]
        options |= {option for each in given for option in each if option.startswith("--")}
        options |= {"--help"}
        commands = getattr(command, "commands", {})
        if not words or not commands or words[0].startswith("--"):
            break
        command = commands.get(words[0])
        if command is None:
            return False
        words = words[1:]
    return {word.partition("=")[0] for word in words if word.startswith("--")} <= options


def cavvy_commands(document: Path) -> Iterator[list[str]]:
    for line in shell_lines(document):
        if re.match(r"cavvy( |$)", line):
            try:
                words = shlex.split(line, comments=True)[1:]
            except ValueError:  # an apostrophe: not a command but words about one
                continue
            ends = [position for position, word in enumerate(words) if word in ("|", "&&", ">", ";")]
            yield [word for word in words[: ends[0] if ends else None] if word not in ("…", "...")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_command_and_option_that_is_named_exists(document: Path) -> None:
    assert [words for words in cavvy_commands(document) if not known(words)] == []


def test_the_check_knows_a_command_that_is_not_there() -> None:
    assert known(["run", "hi", "--temperature", "0"])
    assert not known(["walk"])
    assert not known(["run", "hi", "--sideways"])
    assert not known(["jobs", "burn"])


def test_the_readme_tells_how_to_try_it_in_one_command() -> None:
    lines = list(shell_lines(ROOT / "README.md"))
    assert "make demo" in lines
    assert any(line.startswith("cavvy run ") for line in lines)
