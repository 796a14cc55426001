"""The client's fake coordinator, and the command line run in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from cavvy.cli._app import execute
from tests.unit.client.conftest import _no_pauses, config_directory, coordinator

__all__ = ["_no_pauses", "config_directory", "coordinator"]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: str) -> Outcome:
        code = execute(arguments)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run
