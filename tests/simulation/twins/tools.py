"""What every broken twin is made with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from cavvy.testing.simulation import Plan, Strike

__all__ = ["AWAY", "ROUGH", "Table", "Twin", "all_of", "nothing"]

Twin = Callable[[], AbstractContextManager[Any]]
#: By name: the twin, the promises of which at least one must be seen broken, and a plan that brings it out.
Table = dict[str, tuple[Twin, str, Plan]]
ROUGH = Plan(workers=2, jobs=25, faults=30, cancels=0.3, drop=0.02)
AWAY = (Strike.HOLD, Strike.SILENCE, Strike.PARTITION, Strike.CUT)


def all_of(*patches: AbstractContextManager[Any]) -> ExitStack:
    stack = ExitStack()
    for patch in patches:
        stack.enter_context(patch)
    return stack


def nothing(*_: Any) -> None:
    pass
