"""Tables of texts as TOML, which the standard library only reads."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["quoted", "table"]

_ESCAPED = {chr(code): f"\\u{code:04X}" for code in (*range(0x20), 0x7F)} | {'"': '\\"', "\\": "\\\\"}


def table(fields: Mapping[str, str | None]) -> str:
    """A line for each field that is not None. The names have to be bare keys."""
    return "".join(f"{name} = {quoted(value)}\n" for name, value in fields.items() if value is not None)


def quoted(text: str) -> str:
    """`text` as a basic string."""
    return '"' + "".join(_ESCAPED.get(char, char) for char in text) + '"'
