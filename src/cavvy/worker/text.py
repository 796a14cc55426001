"""The text of running attempts, sent as few `job_delta` frames as the eye allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cavvy import defaults
from cavvy.core.job import AttemptRef
from cavvy.protocol.messages import JobDelta

__all__ = ["AttemptText", "TextFlusher"]

_FRAME_HEADER_BYTES = 1024
_ESCAPED_BYTES = 6  # what one code point can take in JSON


class AttemptText:
    """The whole text of one attempt so far, and how much of it was sent."""

    __slots__ = ("_flusher", "_parts", "_sent_chars", "_sent_parts", "ref", "waiting")

    def __init__(self, ref: AttemptRef, flusher: TextFlusher) -> None:
        self.ref = ref
        self.waiting = False
        self._flusher = flusher
        self._parts: list[str] = []
        self._sent_parts = 0
        self._sent_chars = 0

    def append(self, chunk: str) -> None:
        self._parts.append(chunk)
        if not self.waiting:
            self._flusher.wait(self)

    def joined(self) -> str:
        return "".join(self._parts)

    @property
    def begun(self) -> bool:
        """Whether any text was sent."""
        return self._sent_chars > 0

    def rewind(self, offset: int) -> None:
        """What lies behind `offset` (code points) is to be sent, again or for the first time."""
        whole = self.joined()
        self._parts = [whole[:offset], whole[offset:]]
        self._sent_parts = 1
        self._sent_chars = len(self._parts[0])
        if self._parts[1] and not self.waiting:
            self._flusher.wait(self)

    def take(self) -> tuple[int, str]:
        """The text to send and its offset, which counts as sent from now."""
        text = "".join(self._parts[self._sent_parts :])
        offset = self._sent_chars
        self._sent_parts = len(self._parts)
        self._sent_chars += len(text)
        return offset, text


class TextFlusher:
    """Sends the first text of an attempt at once and later ones together, at most every DELTA_FLUSH_S.

    Nothing is sent while paused; it is not lost either: `AttemptText.rewind` says where to go on.
    """

    def __init__(self, send: Callable[[JobDelta], None]) -> None:
        self._send = send
        self._waiting: list[AttemptText] = []
        self._timer: asyncio.TimerHandle | None = None
        self._last_s = 0.0
        self._live = False
        self._piece_chars = 1

    def resume(self, max_frame_bytes: int) -> None:
        self._live = True
        self._piece_chars = max(1, (max_frame_bytes - _FRAME_HEADER_BYTES) // _ESCAPED_BYTES)

    def pause(self) -> None:
        self._live = False
        for text in self._waiting:
            text.waiting = False
        self._waiting.clear()
        self._stop_timer()

    def wait(self, text: AttemptText) -> None:
        """`text` has something to send."""
        if not self._live:
            return
        if not text.begun:
            self.flush(text)
            return
        text.waiting = True
        self._waiting.append(text)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            at_s = max(loop.time(), self._last_s + defaults.DELTA_FLUSH_S)
            self._timer = loop.call_at(at_s, self._flush_waiting)

    def flush(self, text: AttemptText) -> None:
        """Sends what `text` has, now."""
        if not self._live:
            return
        offset, rest = text.take()
        while rest:
            piece, rest = rest[: self._piece_chars], rest[self._piece_chars :]
            self._send(JobDelta(job_id=text.ref.job_id, epoch=text.ref.epoch, offset=offset, text=piece))
            offset += len(piece)

    def forget(self, text: AttemptText) -> None:
        if text.waiting:
            text.waiting = False
            self._waiting.remove(text)

    def _flush_waiting(self) -> None:
        self._timer = None
        self._last_s = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, []
        for text in waiting:
            text.waiting = False
            self.flush(text)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
