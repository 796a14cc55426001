"""What is known of one subject, and what to do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Finding", "State", "fine", "unknown", "wrong"]

State = Literal["ok", "wrong", "unknown"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """`check` is the subject, `what` is so; `why` it matters and how to `fix` it where something is wrong."""

    check: str
    state: State
    what: str
    why: str | None = None
    fix: str | None = None


def fine(check: str, what: str) -> Finding:
    return Finding(check=check, state="ok", what=what)


def unknown(check: str, what: str, fix: str | None = None) -> Finding:
    """It could not be looked at, or there is nothing to look at yet."""
    return Finding(check=check, state="unknown", what=what, fix=fix)


def wrong(check: str, what: str, *, why: str, fix: str) -> Finding:
    return Finding(check=check, state="wrong", what=what, why=why, fix=fix)
