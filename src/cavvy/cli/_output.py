"""What the command line writes: results to stdout, everything else to stderr, nothing that drives a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, TextIO

__all__ = [
    "CannotWrite",
    "TerminalFilter",
    "clean",
    "drop_stdout",
    "note",
    "note_if_heard",
    "print_json",
    "print_raw",
    "print_table",
    "print_text",
    "settle",
    "stderr_is_terminal",
    "stdout_is_terminal",
]


class CannotWrite(OSError):
    """A disk is full, or what else keeps a stream from taking what is written to it."""


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()  # behind ESC
    SEQUENCE = auto()  # behind CSI, until its final byte
    STRING = auto()  # behind OSC, DCS, SOS, PM or APC, until BEL or ST
    STRING_ESCAPE = auto()  # ESC inside such a string: the first half of ST


_STRINGS = frozenset("]PX^_")
_C1_STRINGS = frozenset("\x90\x98\x9d\x9e\x9f")
_KEPT = frozenset("\n\t")


class TerminalFilter:
    """Takes terminal control out of text that comes in pieces: C0 but for newline and tab, DEL, C1, whole sequences."""

    def __init__(self) -> None:
        self._state = _State.TEXT

    def feed(self, text: str) -> str:
        """What of `text` may be shown; a sequence may begin in one piece and end in another."""
        if self._state is _State.TEXT and text.isprintable():
            return text
        return "".join(char for char in text if self._shows(char))

    def _shows(self, char: str) -> bool:
        if char == "\n":  # ends whatever was begun: a sequence never closed must not swallow the rest
            self._state = _State.TEXT
            return True
        if self._state is _State.TEXT:
            self._state = _begun(char)
            return self._state is _State.TEXT and not _is_control(char)
        self._state = self._continued(char)
        return False

    def _continued(self, char: str) -> _State:
        if char == "\x1b":
            return _State.STRING_ESCAPE if self._state is _State.STRING else _State.ESCAPE
        if self._state is _State.STRING:
            return _State.TEXT if char in "\x07\x9c" else _State.STRING
        if self._state is _State.ESCAPE or (self._state is _State.STRING_ESCAPE and char != "\\"):
            return _escaped(char)
        if self._state is _State.SEQUENCE and not "@" <= char <= "~":
            return _State.SEQUENCE
        return _State.TEXT


def _begun(char: str) -> _State:
    if char == "\x1b":
        return _State.ESCAPE
    if char == "\x9b":
        return _State.SEQUENCE
    return _State.STRING if char in _C1_STRINGS else _State.TEXT


def _escaped(char: str) -> _State:
    if char == "[":
        return _State.SEQUENCE
    if char in _STRINGS:
        return _State.STRING
    return _State.ESCAPE if " " <= char <= "/" else _State.TEXT


def _is_control(char: str) -> bool:
    return (char < " " and char not in _KEPT) or "\x7f" <= char <= "\x9f"


def clean(text: str) -> str:
    """`text` without terminal control."""
    return TerminalFilter().feed(text)


def stdout_is_terminal() -> bool:
    return sys.stdout.isatty()


def stderr_is_terminal() -> bool:
    return sys.stderr.isatty()


def print_text(text: str, *, end: str = "\n") -> None:
    """Writes a result to stdout: as it is into a pipe or file, cleaned on a terminal."""
    _write(sys.stdout, (clean(text) if sys.stdout.isatty() else text) + end)


def print_raw(text: str) -> None:
    """Writes a piece of text that was cleaned already, if it needs to be."""
    _write(sys.stdout, text)


def print_json(value: Any, *, line: bool = False) -> None:
    """Writes `value` to stdout as JSON; indented on a terminal, unless it is one of many lines."""
    _write(sys.stdout, _json(value, indented=sys.stdout.isatty() and not line) + "\n")


def note_json(value: Any) -> None:
    """Writes `value` to stderr as a line of JSON."""
    _write(sys.stderr, _json(value, indented=False) + "\n")


def _json(value: Any, *, indented: bool) -> str:
    """JSON that drives no terminal: its encoder escapes C0, this DEL and C1."""
    import msgspec

    encoded = msgspec.json.encode(value)
    text = (msgspec.json.format(encoded) if indented else encoded).decode()
    return re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Writes aligned columns to stdout; what is None shows as a dash."""
    cells = [list(heads), *([clean("-" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        _write(
            sys.stdout, "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        )


def note(text: str) -> None:
    """Writes a line for the human to stderr."""
    _write(sys.stderr, clean(text) + "\n")


def note_if_heard(text: str) -> None:
    """As `note`, to a terminal that may be gone."""
    with contextlib.suppress(OSError):
        note(text)


def _write(stream: TextIO, text: str) -> None:
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:  # a terminal that is not UTF-8
            stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        hint = "what was asked for may be done all the same"
        raise CannotWrite(f"the output cannot be written: {error.strerror}; {hint}") from error


def settle() -> None:
    """Writes what is still buffered, and drops it where nobody is left to read it: the exit code must not suffer."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _drop(stream)


def drop_stdout() -> None:
    """Makes what is still buffered for a reader that has gone harmless."""
    _drop(sys.stdout)


def _drop(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
