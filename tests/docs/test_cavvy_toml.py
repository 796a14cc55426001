"""The page about cavvy.toml names what there is: every key, its default, and whom the file may serve unnamed."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import msgspec
import pytest

from cavvy import defaults
from cavvy.client import configfile
from cavvy.client.configfile import (
    ClocksTable,
    ConfigFile,
    CoordinatorTable,
    DispatchTable,
    LimitsTable,
    RetentionTable,
    Tables,
    WorkerTable,
)
from cavvy.errors import ConfigInvalid
from cavvy.providers.settings import ProviderTable
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "reference" / "cavvy-toml.md").read_text(encoding="utf-8")
SECTIONS: dict[str, Any] = {
    "Top level: for clients": Tables,
    "`[coordinator]`": CoordinatorTable,
    "`[worker]`": WorkerTable,
    "`[limits]`": LimitsTable,
    "`[clocks]`": ClocksTable,
    "`[retention]`": RetentionTable,
    "`[dispatch]`": DispatchTable,
    "`[providers.NAME]`": ProviderTable,
}
EXAMPLES: dict[str, Any] = {"enabled": True, "command": ["sh"], "lan": True}


def rows(heading: str) -> dict[str, list[str]]:
    """The cells of a section's table, by name."""
    _, _, section = PAGE.partition(f"## {heading}\n")
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", section.partition("\n## ")[0], re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in found}


@pytest.mark.parametrize("heading", SECTIONS)
def test_each_key_has_a_row_and_each_row_is_a_key(heading: str) -> None:
    fields = {field.name for field in msgspec.structs.fields(SECTIONS[heading])}
    if SECTIONS[heading] is Tables:
        fields -= {"coordinator", "worker", "limits", "clocks", "retention", "dispatch", "providers"}
    assert set(rows(heading)) == fields


@pytest.mark.parametrize("name", LimitsTable.__struct_fields__)
def test_a_limits_default_is_that_of_the_program(name: str) -> None:
    assert rows("`[limits]`")[name][2] == str(getattr(defaults, name.upper()))


@pytest.mark.parametrize("name", ClocksTable.__struct_fields__)
def test_a_clocks_default_is_that_of_the_program(name: str) -> None:
    assert rows("`[clocks]`")[name][2] == f"{getattr(defaults, name.upper()):g}"


@pytest.mark.parametrize("name", RetentionTable.__struct_fields__)
def test_how_long_things_are_kept_is_as_the_page_says(name: str) -> None:
    assert rows("`[retention]`")[name][2] == str(getattr(defaults, name.upper()))


def test_the_other_defaults_are_those_of_the_program() -> None:
    assert rows("`[coordinator]`")["port"][2] == str(defaults.PORT)
    assert rows("`[providers.NAME]`")["threads"][2] == str(defaults.LLAMACPP_THREADS)
    assert rows("`[providers.NAME]`")["context_tokens"][2] == str(defaults.LLAMACPP_CONTEXT_TOKENS)


@pytest.mark.parametrize(
    ("section", "heading", "name"),
    [
        (section, heading, name)
        for section, heading in [
            ("client", "Top level: for clients"),
            ("coordinator", "`[coordinator]`"),
            ("coordinator", "`[dispatch]`"),
            ("worker", "`[worker]`"),
            ("providers", "`[providers.NAME]`"),
        ]
        for name in rows(heading)
    ],
)
def test_what_a_file_nobody_named_may_say_is_as_the_page_says(section: Any, heading: str, name: str) -> None:
    file = ConfigFile(named=False, tables=saying(section, name))
    if rows(heading)[name][1] == "yes":
        file.refuse_unnamed(section)
    else:
        with pytest.raises(ConfigInvalid):
            file.refuse_unnamed(section)


def saying(section: str, name: str) -> Tables:
    """A file that says only this."""
    value: Any = EXAMPLES.get(name, "x")
    if section == "client":
        return Tables(**{name: value})
    if section == "coordinator" and name in DispatchTable.__struct_fields__:
        return Tables(dispatch=DispatchTable(**{name: value}))
    if section == "coordinator":
        return Tables(coordinator=CoordinatorTable(**{name: value}))
    if section == "worker":
        return Tables(worker=WorkerTable(**{name: value}))
    return Tables(providers={"x": {name: value}})


def test_the_example_is_one_that_can_be_followed() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    tables = msgspec.convert(tomllib.loads(example), configfile.Tables)
    for raw in tables.providers.values():
        msgspec.convert(raw, ProviderTable)
