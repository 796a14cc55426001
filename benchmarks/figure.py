"""What a row of the table is."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Figure", "percentile"]


class Figure(NamedTuple):
    """One number and what to know about it."""

    value: float
    unit: str
    target: str
    note: str


def percentile(values: list[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]
