"""Shared by every test."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

#: How long an example takes, or takes to be made up, says something of the machine and nothing of the program.
settings.register_profile("any machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
