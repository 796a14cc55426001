"""Processes to kill."""

from __future__ import annotations

from tests.processes import installation

__all__ = ["installation"]
