"""Wrong claims of codes, counted: who has guessed too often is heard no more for a while.

A code is short and cannot be aimed, so they are counted of each key, of each address, and of all.
"""

from __future__ import annotations

from typing import NamedTuple

from cavvy import defaults
from cavvy.core.commands import ClaimTrust
from cavvy.core.job import Now

__all__ = ["Guesses"]


class _Source(NamedTuple):
    """Whom a wrong claim counts against."""

    kind: str
    name: str = ""


class _Wrong(NamedTuple):
    """How many there were since the first, whose window they count in."""

    since_s: float
    times: int


class Guesses:
    """In memory only. Nobody who is refused is counted, which bounds how many there are."""

    def __init__(self) -> None:
        self._wrong: dict[_Source, _Wrong] = {}

    def too_many(self, command: ClaimTrust, now: Now) -> bool:
        """Whether this claim comes from somebody who has used up his guesses."""
        return any(self._seen(source, now).times >= most for source, most in _sources(command))

    def note(self, command: ClaimTrust, now: Now) -> None:
        """It was wrong."""
        for source, _ in _sources(command):
            seen = self._seen(source, now)
            self._wrong[source] = seen._replace(times=seen.times + 1)

    def sweep(self, now: Now) -> None:
        self._wrong = {source: wrong for source, wrong in self._wrong.items() if _counts(wrong, now)}

    def _seen(self, source: _Source, now: Now) -> _Wrong:
        wrong = self._wrong.get(source)
        return wrong if wrong is not None and _counts(wrong, now) else _Wrong(now.mono_s, 0)


def _counts(wrong: _Wrong, now: Now) -> bool:
    return now.mono_s < wrong.since_s + defaults.WRONG_CLAIMS_WINDOW_S


def _sources(command: ClaimTrust) -> tuple[tuple[_Source, int], ...]:
    """Each with how many it may have. Who has proven no key can lock out nobody who has."""
    if command.session is None:
        return (
            (_Source("unproven address", command.address), defaults.WRONG_CLAIMS_PER_ADDRESS),
            (_Source("all unproven"), defaults.WRONG_CLAIMS),
        )
    return (
        (_Source("key", command.worker), defaults.WRONG_CLAIMS_PER_KEY),
        (_Source("address", command.address), defaults.WRONG_CLAIMS_PER_ADDRESS),
        (_Source("all"), defaults.WRONG_CLAIMS),
    )
