"""Checks that several bodies share: what must hold of one field, and how it is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NoReturn

from cavvy import defaults
from cavvy.errors import InvalidInput

__all__ = ["checked_name", "moment_ms", "refuse"]

_LAST_MS = 253_402_300_799_999  # the end of the year 9999


def checked_name(value: str | None, field: str) -> str | None:
    """`value` unless it is too long or empty. Raises InvalidInput."""
    if value is not None and not 1 <= len(value) <= defaults.MAX_NAME_CHARS:
        refuse(field, f"must be 1 to {defaults.MAX_NAME_CHARS} characters long")
    return value


def moment_ms(given: str | None, field: str) -> int | None:
    """A time in ISO 8601 as milliseconds (Unix); without an offset it is UTC. Raises InvalidInput."""
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
        at_ms = round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        refuse(field, "must be a time in ISO 8601, such as 2030-01-31T12:00:00Z")
    if not 0 <= at_ms <= _LAST_MS:
        refuse(field, "must be a time from 1970 to 9999")
    return at_ms


def refuse(field: str, what: str) -> NoReturn:
    """Raises InvalidInput: the field, then what it must be."""
    raise InvalidInput("invalid_field", f"Field {field!r}: {what}.", field=field)
