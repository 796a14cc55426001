"""JSON as JavaScript reads and writes it, which is what Dispatch's workers hash and sign.

`JSON.stringify` keeps the order of members, but puts those that are array indices first; every number is a double;
half of a surrogate pair is written as an escape. `parse` and `stringify` are JSON.parse and JSON.stringify.
"""

from __future__ import annotations

import json
import math
import re
from json.encoder import encode_basestring
from typing import Any

import rfc8785

from cavvy import defaults

__all__ = ["as_unicode", "mended", "parse", "stringify"]

_INDEX = re.compile("0|[1-9][0-9]{0,9}")
_MAX_INDEX = 2**32 - 2
_MAX_EXACT = 2**53  # below it every integer is a double
#: One after the other, so that a backslash is never taken for the beginning of one; the group: perhaps half a pair.
_ESCAPE = re.compile(rb"\\(?:u([dD][89a-fA-F])|.)", re.DOTALL)
_LONE = re.compile("[\ud800-\udfff]")


def parse(text: str | bytes) -> Any:
    """The value behind `text`, numbers as floats. Raises ValueError for what is no JSON, or nested too deep to read."""
    try:
        return json.loads(text, parse_int=_double, parse_float=_double, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def stringify(value: Any, *, depth: int = defaults.MAX_JSON_DEPTH) -> bytes:
    """JSON.stringify of a value that `parse` gave. Raises ValueError when it is nested more than `depth` deep."""
    return _stringify(value, depth).encode()


def as_unicode(data: bytes) -> bytes:
    """The same JSON for readers to whom half of a surrogate pair is no text: U+FFFD stands for it."""
    if not any(escape[1] for escape in _ESCAPE.finditer(data)):
        return data
    value = parse(data)
    whole = mended(value)
    return data if whole == value else stringify(whole)


def mended(value: Any) -> Any:
    """A value without halves of surrogate pairs; parsing has made characters of whole pairs."""
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if isinstance(value, list):
        return [mended(one) for one in value]
    if isinstance(value, dict):
        return {mended(key): mended(one) for key, one in value.items()}
    return value


def _stringify(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return _LONE.sub(lambda half: f"\\u{ord(half[0]):04x}", encode_basestring(value))
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    if depth <= 0:
        raise ValueError("it is nested too deep")
    if isinstance(value, list):
        return "[" + ",".join(_stringify(one, depth - 1) for one in value) + "]"
    members = (f"{_stringify(key, 0)}:{_stringify(value[key], depth - 1)}" for key in _order(value))
    return "{" + ",".join(members) + "}"


def _number(value: float) -> str:
    """Both write the fewest digits that read back as the same number; they differ in when there is an exponent."""
    if not math.isfinite(value):
        return "null"
    if value.is_integer() and abs(value) < _MAX_EXACT:
        return str(int(value))
    shown = repr(value)
    return shown if "e" not in shown and not value.is_integer() else rfc8785.dumps(value).decode()


def _order(members: dict[str, Any]) -> list[str]:
    """Array indices ascending, then the others as they came."""
    indices = sorted((key for key in members if _is_index(key)), key=int)
    return [*indices, *(key for key in members if not _is_index(key))] if indices else list(members)


def _is_index(key: str) -> bool:
    return _INDEX.fullmatch(key) is not None and int(key) <= _MAX_INDEX


def _double(digits: str) -> float:
    """As `float`, but of Python: between two numbers of a long text other threads get their turn."""
    return float(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
