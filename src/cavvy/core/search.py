"""Whether a job holds a piece of text, for people who look for one."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["holds"]


def holds(text: str, *names: str | None, documents: tuple[bytes | None, ...] = ()) -> bool:
    """Whether `text`, in upper or lower case, is part of one of `names` or of a string value in one of the JSON
    `documents`. Names of fields are not looked at; an empty document was erased.
    """
    folded = text.casefold()
    if any(name is not None and folded in name.casefold() for name in names):
        return True
    return any(_within(folded, msgspec.json.decode(document)) for document in documents if document)


def _within(folded: str, value: Any) -> bool:
    if isinstance(value, str):
        return folded in value.casefold()
    if isinstance(value, dict):
        return any(_within(folded, one) for one in value.values())
    if isinstance(value, list):
        return any(_within(folded, one) for one in value)
    return False
