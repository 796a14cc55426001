"""The real command line, with a provider that fails with the prompt on its lips and an engine that does the same."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from cavvy.cli import main
from cavvy.core.commands import SubmitJob
from cavvy.core.coordinator import Coordinator
from cavvy.providers import build
from cavvy.providers.build import Discovered
from tests.canaries import BREAKS, Canary


async def found(*_: Any, **__: Any) -> Discovered:
    return Discovered([Canary()], [], [])


handle = Coordinator.handle


def breaking(self: Coordinator, command: Any, now: Any) -> None:
    if isinstance(command, SubmitJob) and command.needs.model == BREAKS:
        raise ValueError(f"cannot decide about {command.input!r}")
    handle(self, command, now)


if __name__ == "__main__":
    with patch.object(build, "discover", found), patch.object(Coordinator, "handle", breaking):
        main()
