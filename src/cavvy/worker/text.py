"""The text of running attempts, sent as few `job_delta` frames as the eye allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from math import inf

from cavvy import defaults
from cavvy.core.job import AttemptRef
from cavvy.protocol.messages import JobDelta

__all__ = ["AttemptText", "TextFlusher"]

_FRAME_HEADER_BYTES = 1024
_ESCAPED_BYTES = 6  # what one code point can take in JSON


class AttemptText:
    """The whole text of one attempt so far, and how much of it was sent. Thoughts are kept only until they are sent."""

    __slots__ = ("_flusher", "_parts", "_sent_chars", "_sent_parts", "_thoughts", "begun", "ref", "told_s", "waiting")

    def __init__(self, ref: AttemptRef, flusher: TextFlusher) -> None:
        self.ref = ref
        self.waiting = False
        self.begun = False  # whether any text was sent
        self.told_s = -inf  # when anything was sent
        self._flusher = flusher
        self._parts: list[str] = []
        self._sent_parts = 0
        self._sent_chars = 0
        self._thoughts: list[str] = []

    def append(self, chunk: str) -> None:
        self._parts.append(chunk)
        if not self.waiting:
            self._flusher.wait(self)

    def think(self, chunk: str) -> None:
        """A piece of what the model thinks. Nobody hears of it later, so without a connection it is dropped."""
        if self._flusher.live:
            self._thoughts.append(chunk)
            if not self.waiting:
                self._flusher.wait(self)

    def alive(self) -> None:
        """The model lives, but has no text to show for it."""
        self._flusher.show_life(self)

    def joined(self) -> str:
        return "".join(self._parts)

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
        self.begun = True
        return offset, text

    @property
    def sent_chars(self) -> int:
        return self._sent_chars

    def take_thoughts(self) -> str:
        thoughts, self._thoughts = "".join(self._thoughts), []
        return thoughts


class TextFlusher:
    """Sends the first text of an attempt at once and later ones together, at most every DELTA_FLUSH_S.

    Nothing is sent while paused; it is not lost either: `AttemptText.rewind` says where to go on.
    """

    def __init__(self, send: Callable[[JobDelta], None]) -> None:
        self._send = send
        self._waiting: list[AttemptText] = []
        self._timer: asyncio.TimerHandle | None = None
        self._last_s = 0.0
        self.live = False
        self._piece_chars = 1

    def resume(self, max_frame_bytes: int) -> None:
        self.live = True
        self._piece_chars = max(1, (max_frame_bytes - _FRAME_HEADER_BYTES) // _ESCAPED_BYTES)

    def pause(self) -> None:
        self.live = False
        for text in self._waiting:
            text.waiting = False
        self._waiting.clear()
        self._stop_timer()

    def wait(self, text: AttemptText) -> None:
        """`text` has something to send."""
        if not self.live:
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
        if not self.live:
            return
        text.told_s = asyncio.get_running_loop().time()
        thoughts = text.take_thoughts()
        offset, rest = text.take()
        for piece in self._pieces(thoughts):
            delta = JobDelta(job_id=text.ref.job_id, epoch=text.ref.epoch, offset=offset, text=piece, kind="reasoning")
            self._send(delta)
        for piece in self._pieces(rest):
            self._send(JobDelta(job_id=text.ref.job_id, epoch=text.ref.epoch, offset=offset, text=piece))
            offset += len(piece)

    def show_life(self, text: AttemptText) -> None:
        """Sends an empty text if nothing was sent for SIGN_OF_LIFE_S."""
        now_s = asyncio.get_running_loop().time()
        if self.live and not text.waiting and now_s - text.told_s >= defaults.SIGN_OF_LIFE_S:
            text.told_s = now_s
            self._send(JobDelta(job_id=text.ref.job_id, epoch=text.ref.epoch, offset=text.sent_chars, text=""))

    def _pieces(self, text: str) -> Iterator[str]:
        """The text in frames' sizes."""
        for start in range(0, len(text), self._piece_chars):
            yield text[start : start + self._piece_chars]

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
