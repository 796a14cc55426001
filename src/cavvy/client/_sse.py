"""An incremental parser of `text/event-stream` (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from cavvy import defaults
from cavvy.errors import ClientError

__all__ = ["Event", "SseParser"]

_LINE_END = re.compile("\r\n|\n|\r")
#: No honest event is longer: one holds at most a whole output, escaped.
MAX_EVENT_CHARS = defaults.MAX_FRAME_BYTES


class Event(NamedTuple):
    """One event; `id` is the last id seen so far, "" before the first."""

    name: str
    data: str
    id: str


class SseParser:
    """Bytes in, events out: the same events however the bytes are cut. An event without its blank line is none."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="replace").decode
        self._rest = ""
        self._size = 0
        self._name = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. Raises ClientError for an endless one."""
        text = self._rest + self._decode(chunk)
        # A CR at the end may be the first half of CR LF.
        held = "\r" if text.endswith("\r") else ""
        *lines, rest = _LINE_END.split(text[: len(text) - len(held)])
        self._rest = rest + held
        events = [event for line in lines if (event := self._line(line)) is not None]
        if self._size + len(self._rest) > MAX_EVENT_CHARS:
            raise ClientError("the coordinator sent an endless event; is something else listening there?")
        return events

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
            self._size += len(value)
        elif field == "event":
            self._name = value
        elif field == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> Event | None:
        event = Event(self._name or "message", "\n".join(self._data), self._id) if self._data else None
        self._name, self._data, self._size = "", [], 0
        return event
