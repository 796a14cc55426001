"""Tells a model's thinking from its answer where the server does not: `<think>` at the very beginning of the text."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

__all__ = ["Piece", "ThinkingSplitter"]

_TAGS = {"<think>": "</think>", "<thinking>": "</thinking>"}


class Piece(NamedTuple):
    text: str
    reasoning: bool


class _Phase(Enum):
    BEGINNING = auto()
    THINKING = auto()
    BETWEEN = auto()  # the empty lines before the answer belong to neither
    ANSWERING = auto()


class ThinkingSplitter:
    """Feed it the text as it comes. A tag anywhere but at the beginning belongs to the answer."""

    def __init__(self) -> None:
        self._phase = _Phase.BEGINNING
        self._held = ""
        self._end = ""

    def feed(self, text: str) -> list[Piece]:
        """What is certain so far; at most a tag's length is held back."""
        self._held += text
        if self._phase is _Phase.BEGINNING:
            self._begin()
        thought = self._thought() if self._phase is _Phase.THINKING else ""
        if self._phase is _Phase.BETWEEN:
            self._held = self._held.lstrip("\n")
            self._phase = _Phase.ANSWERING if self._held else _Phase.BETWEEN
        answer = self._take() if self._phase is _Phase.ANSWERING else ""
        return _pieces(thought, answer)

    def rest(self) -> list[Piece]:
        """What was held back: to be called at the end."""
        return _pieces(self._take(), "") if self._phase is _Phase.THINKING else _pieces("", self._take())

    def _begin(self) -> None:
        start = self._held.lstrip()
        for tag, end in _TAGS.items():
            if start.startswith(tag):
                self._held, self._end, self._phase = start[len(tag) :], end, _Phase.THINKING
                return
        if start and not any(tag.startswith(start) for tag in _TAGS):
            self._phase = _Phase.ANSWERING

    def _thought(self) -> str:
        thought, found, after = self._held.partition(self._end)
        if found:
            self._held, self._phase = after, _Phase.BETWEEN
            return thought
        certain = len(self._held) - _overlap(self._held, self._end)
        thought, self._held = self._held[:certain], self._held[certain:]
        return thought

    def _take(self) -> str:
        held, self._held = self._held, ""
        return held


def _pieces(thought: str, answer: str) -> list[Piece]:
    return [piece for piece in (Piece(thought, reasoning=True), Piece(answer, reasoning=False)) if piece.text]


def _overlap(text: str, tag: str) -> int:
    """How much of the end of `text` may be the beginning of `tag`."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)
