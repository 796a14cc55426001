"""Processes for the documents to speak to."""

from __future__ import annotations

from tests.processes import installation

__all__ = ["installation"]
