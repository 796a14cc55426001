"""What a server may open is set before it opens anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cavvy import defaults

LOOK = """
import resource
from cavvy.cli._limits import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
raise_file_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""
WANTED = defaults.MAX_CONNECTIONS + defaults.FILES_RESERVED


@pytest.mark.parametrize(
    ("soft", "hard", "after"),
    [(256, 8192, f"{WANTED} 8192"), (256, 1024, "1024 1024"), (8192, 8192, "8192 8192")],
)
def test_a_server_may_open_what_its_connections_need(soft: int, hard: int, after: str) -> None:
    command = [sys.executable, "-c", LOOK.format(soft=soft, hard=hard)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == after
