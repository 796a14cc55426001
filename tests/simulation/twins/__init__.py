"""Broken twins: each is Cavvy with one safeguard taken out, which the simulation has to notice."""

from __future__ import annotations

from tests.simulation.twins import attempts, dispatch, stops, trust, workers
from tests.simulation.twins.tools import ROUGH, Table, Twin

__all__ = ["ROUGH", "TWINS", "Twin"]

TWINS: Table = attempts.TWINS | workers.TWINS | stops.TWINS | trust.TWINS | dispatch.TWINS
