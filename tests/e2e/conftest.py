"""Processes as a user starts them."""

from __future__ import annotations

from tests.processes import installation

__all__ = ["installation"]
