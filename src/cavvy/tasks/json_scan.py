"""JSON values in any text: objects and arrays, nested as deeply as may be, found in linear time.

```
                 ┌────────────── container ◀──────────────┐
  bracket ──▶ FIRST ──▶ value ──▶ NEXT ── comma ──▶ ITEM ──┘     anything else: none of the open containers is JSON,
                 └── closing bracket ──┴──▶ whole                the whole ones inside them still are
```
Each bracket is parsed once, except those inside of strings, which may be brackets after all if what the string is in is
no JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, NamedTuple

from cavvy import defaults
from cavvy.core.canonical import MAX_SAFE_INTEGER

__all__ = ["extract_json", "json_values"]

_BRACKET = re.compile(r"[\[{]")
_SPACE = re.compile(r"[ \t\n\r]*+")
_STRING = re.compile(
    r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"',
)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?P<fraction>\.[0-9]++)?(?P<exponent>[eE][+-]?[0-9]++)?")
_WORDS = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_BREATH = 1024  # steps, of a microsecond or two


class _At(Enum):
    FIRST = auto()  # an item, or the closing bracket
    ITEM = auto()
    NEXT = auto()  # a comma, or the closing bracket


class _Whole(NamedTuple):
    """A container that is JSON, up to `end`; `depth` is how deeply it is nested."""

    value: Any
    end: int
    depth: int


class _NotJson(Exception):
    pass


class _Container:
    __slots__ = ("at", "closing", "depth", "inner", "key", "start", "value")

    def __init__(self, start: int, bracket: str) -> None:
        self.start = start
        self.value: Any = {} if bracket == "{" else []
        self.closing = "}" if bracket == "{" else "]"
        self.at = _At.FIRST
        self.depth = 1
        self.key = ""
        self.inner: list[tuple[int, _Whole]] = []

    def add(self, value: Any) -> None:
        if self.closing == "}":
            self.value[self.key] = value
        else:
            self.value.append(value)
        self.at = _At.NEXT

    def add_whole(self, start: int, whole: _Whole) -> None:
        self.add(whole.value)
        self.depth = max(self.depth, whole.depth + 1)
        self.inner.append((start, whole))


def extract_json(text: str, breathe: Callable[[], None]) -> dict[str, Any]:
    """`extracted` are the objects and arrays in `text`, in order, none inside another. Not among them is what prose
    writes in brackets: an empty pair, or a number alone, unless that is the whole text.
    """
    found = json_values(text, breathe)
    if not (len(found) == 1 and _SPACE.fullmatch(text, found[0].end)):
        found = [whole for whole in found if not _is_prose(whole.value)]
    return {"extracted": [whole.value for whole in found], "count": len(found), "method": "scanner"}


def json_values(text: str, breathe: Callable[[], None]) -> list[_Whole]:
    """Every outermost container. Those nested deeper than JSON_TASK_DEPTH come in pieces that are not."""
    scan = _Scan(text, breathe)
    found: list[_Whole] = []
    position = 0
    while (bracket := _BRACKET.search(text, position)) is not None:
        whole = scan.container(bracket.start())
        if whole is None:
            position = bracket.end()
        else:
            found.append(whole)
            position = whole.end
    return found


class _Scan:
    """What is known of each bracket: the container that begins there, or None."""

    def __init__(self, text: str, breathe: Callable[[], None]) -> None:
        self._text = text
        self._breathe = breathe
        self._known: dict[int, _Whole | None] = {}
        self._steps = 0

    def container(self, start: int) -> _Whole | None:
        if start not in self._known:
            self._parse(start)
        return self._known.pop(start)

    def _parse(self, start: int) -> None:
        """Makes the bracket at `start` known, and those inside it unless it is whole."""
        open_ones = [_Container(start, self._text[start])]
        position = start + 1
        try:
            while open_ones:
                self._steps += 1
                if not self._steps % _BREATH:
                    self._breathe()
                position = self._step(open_ones, position)
        except _NotJson:
            for one in open_ones:
                self._known[one.start] = None
                self._known.update(one.inner)

    def _step(self, open_ones: list[_Container], position: int) -> int:
        """One token further; the last of `open_ones` is what it belongs to. Raises _NotJson."""
        position = self._skip(position)
        top = open_ones[-1]
        mark = self._text[position : position + 1]
        if mark == top.closing and top.at is not _At.ITEM:
            self._close(open_ones, position + 1)
            return position + 1
        if top.at is _At.NEXT:
            if mark != ",":
                raise _NotJson
            top.at = _At.ITEM
            return position + 1
        if top.closing == "}":
            position = self._key(top, position)
            mark = self._text[position : position + 1]
        if mark and mark in "[{":
            return self._open(open_ones, position, mark)
        value, position = self._scalar(position, mark)
        top.add(value)
        return position

    def _open(self, open_ones: list[_Container], position: int, bracket: str) -> int:
        if position not in self._known:
            open_ones.append(_Container(position, bracket))
            return position + 1
        whole = self._known[position]
        if whole is None:
            raise _NotJson
        open_ones[-1].add_whole(position, whole)
        return whole.end

    def _close(self, open_ones: list[_Container], end: int) -> None:
        top = open_ones[-1]
        if top.depth > defaults.JSON_TASK_DEPTH:
            raise _NotJson
        whole = _Whole(top.value, end, top.depth)
        open_ones.pop()
        if open_ones:
            open_ones[-1].add_whole(top.start, whole)
        else:
            self._known[top.start] = whole

    def _key(self, top: _Container, position: int) -> int:
        """The key before the value at the position returned."""
        top.key, position = self._string(position)
        position = self._skip(position)
        if self._text[position : position + 1] != ":":
            raise _NotJson
        return self._skip(position + 1)

    def _scalar(self, position: int, mark: str) -> tuple[Any, int]:
        if mark == '"':
            return self._string(position)
        if mark in _WORDS:
            word, value = _WORDS[mark]
            if not self._text.startswith(word, position):
                raise _NotJson
            return value, position + len(word)
        number = _NUMBER.match(self._text, position)
        if number is None:
            raise _NotJson
        return _number(number), number.end()

    def _string(self, position: int) -> tuple[str, int]:
        found = _STRING.match(self._text, position)
        if found is None:
            raise _NotJson
        token = found[0]
        if "\\" not in token:
            return token[1:-1], found.end()
        value: str = json.loads(token)
        if _LONE_SURROGATE.search(value):
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value, found.end()

    def _skip(self, position: int) -> int:
        found = _SPACE.match(self._text, position)
        return position if found is None else found.end()


def _number(found: re.Match[str]) -> int | float | str:
    """As a number, unless no double is as large or, of an integer, as exact: then its digits, in a string."""
    digits = found[0]
    number = float(digits)
    if found["fraction"] is None and found["exponent"] is None:
        return int(digits) if abs(number) <= MAX_SAFE_INTEGER else digits
    return number if math.isfinite(number) else digits


def _is_prose(value: Any) -> bool:
    """A checkbox, a footnote's number."""
    return isinstance(value, list) and (not value or (len(value) == 1 and isinstance(value[0], int)))
