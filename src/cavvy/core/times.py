"""How long one attempt may take, and what a job that waits is told about its times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from cavvy.core.job import Terms
from cavvy.core.lifecycle import Event

__all__ = ["AttemptClock", "Overrun", "overrun", "reason_with_times"]


class AttemptClock(msgspec.Struct, kw_only=True, gc=False):
    """What the coordinator has seen of one attempt since it granted it, took it up or revived it; never stored.

    `heard_s` is the last sign of life (text, reasoning, a keep-alive), at first the grant and then the start.
    """

    heard_s: float
    started_s: float | None = None
    lively: bool = False

    def start(self, now_s: float) -> None:
        """Its worker calls the provider now; to be told of a start again changes nothing."""
        if self.started_s is None:
            self.started_s = self.heard_s = now_s

    def show_life(self, now_s: float) -> None:
        """Who shows life runs, whether or not it said that it started."""
        self.start(now_s)
        self.heard_s, self.lively = now_s, True

    def forgive(self, gap_s: float) -> None:
        """Nothing could be heard for so long."""
        self.heard_s += gap_s
        if self.started_s is not None:
            self.started_s += gap_s


class Overrun(NamedTuple):
    """Which limit an attempt went over."""

    event: Event
    message: str


def overrun(clock: AttemptClock, terms: Terms, now_s: float) -> Overrun | None:
    """The first limit that this attempt is over, if any.

    One that its worker has, but never starts, is measured against the time for the first sign of life.
    """
    if clock.started_s is not None and now_s >= clock.started_s + terms.timeout_s:
        return Overrun(Event.TIMEOUT, f"It ran longer than its timeout_s, {terms.timeout_s:g} s.")
    if clock.lively:
        if now_s >= clock.heard_s + terms.stall_timeout_s:
            message = f"The model fell silent for its stall_timeout_s, {terms.stall_timeout_s:g} s."
            return Overrun(Event.STALLED, message)
    elif now_s >= clock.heard_s + terms.first_token_timeout_s:
        message = f"The model showed no sign of life for its first_token_timeout_s, {terms.first_token_timeout_s:g} s."
        return Overrun(Event.STALLED, message)
    return None


def reason_with_times(reason: str, terms: Terms, now_ms: int) -> str:
    """Why a pending job waits, given the `reason` of a job that could start now, and what will end its wait."""
    if terms.deadline_at_ms is not None and terms.deadline_at_ms <= now_ms:
        return "Its deadline has passed; it fails in a moment, or when workers have had the time to come back."
    notes = [reason]
    if terms.not_before_ms is not None and now_ms < terms.not_before_ms:
        notes = [f"It is not started before {_moment(terms.not_before_ms)} (not_before)."]
    if terms.match_window_s is not None:
        window = f"{terms.match_window_s:g} s"
        notes.append(f"It fails when no worker that could run it has been online for {window} (match_window_s).")
    if terms.deadline_at_ms is not None:
        notes.append(f"It fails at {_moment(terms.deadline_at_ms)} (deadline).")
    return " ".join(notes)


def _moment(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
