"""The tables of "Connect …" are ones that can be built, and its commands' options exist."""

from __future__ import annotations

import re
import tomllib

import msgspec
import pytest

from cavvy import defaults
from cavvy.providers.build import CLOUDS, build_provider
from cavvy.providers.command import ALWAYS_IN_ENVIRONMENT
from cavvy.providers.settings import ProviderTable
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "howto" / "connect-a-model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
KEYS = dict.fromkeys(("LAB_KEY", "GATEWAY_KEY", *CLOUDS.values()), "k")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("]")[0].removeprefix("[providers."))
def test_its_tables_are_taken_as_they_stand(block: str) -> None:
    tables = msgspec.convert(tomllib.loads(block)["providers"], dict[str, ProviderTable])
    for name, table in tables.items():
        provider = build_provider(name, table, KEYS)
        assert provider.slots == (table.slots or provider.slots)


def test_its_numbers_and_names_are_those_of_the_program() -> None:
    assert f"from {defaults.OLLAMA_MIN_CONTEXT} up" in PAGE
    assert f"has sent nothing for {defaults.PROVIDER_READ_S:g} s" in PAGE
    assert defaults.COMMAND_KILL_AFTER_S == 2
    assert f"`{defaults.OLLAMA_URL}`" in PAGE
    for name in (*ALWAYS_IN_ENVIRONMENT, *CLOUDS.values()):
        assert name in PAGE
