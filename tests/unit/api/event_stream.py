"""Server-sent events as a test reads them: one by one, and none cut short."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, NamedTuple

import httpx

__all__ = ["Event", "Stream"]

PATIENCE_S = 60.0


class Event(NamedTuple):
    name: str
    data: Any
    id: str | None = None


class Stream:
    """The events of one open stream, one by one. The comments that keep it open are passed over."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._bytes = response.aiter_bytes()
        self._rest = b""

    async def next(self) -> Event:
        """The next event. Raises StopAsyncIteration when the stream is over."""
        while (event := await self.next_or_comment()).name == ":":
            pass
        return event

    async def next_or_comment(self) -> Event:
        """The same, or an event named ":" with what a comment says. No stream may break off in the middle of one."""
        async with asyncio.timeout(PATIENCE_S):
            while b"\n\n" not in self._rest:
                try:
                    self._rest += await anext(self._bytes)
                except StopAsyncIteration:
                    assert self._rest == b"", "the stream broke off"
                    raise
        block, self._rest = self._rest.split(b"\n\n", 1)
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
        if "" in fields:
            return Event(":", fields[""])
        return Event(fields["event"], json.loads(fields["data"]), fields.get("id"))

    async def rest(self) -> list[Event]:
        """Everything until the stream is over."""
        events = []
        with contextlib.suppress(StopAsyncIteration):
            while True:
                events.append(await self.next())
        return events

    async def text(self, length: int) -> str:
        """`length` more characters; other events are passed over."""
        text = ""
        while len(text) < length:
            event = await self.next()
            if event.name == "delta":
                text += event.data["text"]
        return text
