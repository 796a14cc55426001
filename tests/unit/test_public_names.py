"""The public names: listed, sorted, there, and loaded only when used."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cavvy
from cavvy import client

ROOT = Path(__file__).parents[2]


def test_all_is_sorted() -> None:
    assert cavvy.__all__ == sorted(cavvy.__all__)


def test_all_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(cavvy.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name for node in ast.walk(guarded) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported | {"__version__"} == set(cavvy.__all__)


@pytest.mark.parametrize("name", cavvy.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(cavvy, name).__doc__


def test_every_public_name_is_listed_by_dir() -> None:
    assert set(cavvy.__all__) <= set(dir(cavvy))


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        cavvy.Nothing  # noqa: B018


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cavvy.__version__ == project["version"]


def test_importing_cavvy_loads_nothing_else() -> None:
    code = "import cavvy, sys; print([name for name in sys.modules if name.startswith(('cavvy.', 'httpx', 'msgspec'))])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['cavvy.version']"


def test_the_sdks_names_are_there_and_other_names_are_not() -> None:
    assert all(getattr(client, name).__doc__ for name in client.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        client.Nothing  # noqa: B018


def test_a_server_reads_its_settings_without_an_http_client() -> None:
    code = "import cavvy.cli._serve, cavvy.api.server, sys; print('httpx' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
