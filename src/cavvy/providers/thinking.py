"""Tells a model's thinking from its answer where the server does not: `<think>` at the very beginning of the text."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Piece", "ThinkingSplitter"]

_TAGS = {"<think>": "</think>", "<thinking>": "</thinking>"}


class Piece(NamedTuple):
    text: str
    reasoning: bool


class ThinkingSplitter:
    """Feed it the text as it comes. A tag anywhere but at the beginning belongs to the answer."""

    def __init__(self) -> None:
        self._held = ""
        self._end = ""
        self._decided = False

    def feed(self, text: str) -> list[Piece]:
        """What is certain so far; at most a tag's length is held back."""
        if self._decided and not self._end:
            return [Piece(text, reasoning=False)] if text else []
        self._held += text
        if not self._decided:
            self._decide()
        if not self._decided:
            return []
        return self._inside() if self._end else self.rest()

    def rest(self) -> list[Piece]:
        """What was held back: to be called at the end."""
        held, self._held = self._held, ""
        return [Piece(held, reasoning=bool(self._end))] if held else []

    def _decide(self) -> None:
        start = self._held.lstrip()
        for tag, end in _TAGS.items():
            if start.startswith(tag):
                self._held, self._end, self._decided = start[len(tag) :], end, True
                return
        self._decided = bool(start) and not any(tag.startswith(start) for tag in _TAGS)

    def _inside(self) -> list[Piece]:
        thought, found, answer = self._held.partition(self._end)
        if found:
            self._held, self._end = "", ""
            pieces = [Piece(thought, reasoning=True), Piece(answer.lstrip("\n"), reasoning=False)]
        else:
            keep = _overlap(self._held, self._end)
            cut = len(self._held) - keep
            pieces = [Piece(self._held[:cut], reasoning=True)]
            self._held = self._held[cut:]
        return [piece for piece in pieces if piece.text]


def _overlap(text: str, tag: str) -> int:
    """How much of the end of `text` may be the beginning of `tag`."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)
