"""An extractive summary: the sentences of a text that hold most of what it speaks of again and again, in its order."""

from __future__ import annotations

import heapq
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cavvy import defaults
from cavvy.tasks.sentences import Sentence, join, sentences
from cavvy.tasks.words import terms, word_count

__all__ = ["summarize"]

_CANDIDATES = 64  # the weightiest, of which those are taken that say something new
_SHARE = 4  # one sentence in so many is taken
_MOST = 5
_SAME = 0.6  # of their words in common, and two sentences say the same
_SHORT = 4  # words: a shorter sentence says little alone
_BREATH = 256  # sentences


class _Weighed(NamedTuple):
    """`weight` is the same in every process: an exact sum, since `about` has no order."""

    weight: float
    number: int
    sentence: Sentence
    about: set[str]


def summarize(text: str, breathe: Callable[[], None]) -> dict[str, Any]:
    """`summary` are whole sentences of `text`, at most SUMMARY_CHARS long; a single one that is longer is cut at a
    word, and ends in an ellipsis. `word_count` is that of `text`.
    """
    return {"summary": _summary(text, breathe), "word_count": word_count(text), "method": "extractive"}


def _summary(text: str, breathe: Callable[[], None]) -> str:
    if len(text) <= defaults.SUMMARY_WHOLE_CHARS:
        return " ".join(text.split())
    whole = sentences(text, breathe)
    different = {one.sentence.text: one for one in reversed(_weigh(whole, breathe))}.values()  # the first of the same
    candidates = heapq.nlargest(_CANDIDATES, different, key=lambda one: (one.weight, -one.number))
    fitting = [one for one in candidates if len(one.sentence.text) <= defaults.SUMMARY_CHARS]
    if not fitting:
        return _cut(candidates[0].sentence.text) if candidates else ""
    chosen = _choose(fitting, min(_MOST, math.ceil(len(whole) / _SHARE)))
    return join([one.sentence.text for one in sorted(chosen, key=lambda one: one.number)])


def _weigh(whole: Sequence[Sentence], breathe: Callable[[], None]) -> list[_Weighed]:
    about = []
    for number, one in enumerate(whole):
        if not number % _BREATH:
            breathe()
        about.append(terms(one.text))
    holding = Counter(term for each in about for term in each)
    worth = {term: _worth(times, len(whole)) for term, times in holding.items()}
    return [
        _Weighed(_weight(one, number, math.fsum(worth[term] for term in each), len(each)), number, one, each)
        for number, (one, each) in enumerate(zip(whole, about, strict=True))
    ]


def _worth(holding: int, of: int) -> float:
    """A word that returns says what a text is about; one that is everywhere is a function word of its language."""
    return math.log1p(holding) * (0.3 if of > _SHORT and holding > of / 2 else 1.0)


def _weight(one: Sentence, number: int, worth: float, length: int) -> float:
    weight = worth / math.sqrt(max(length, 2 * _SHORT))
    weight *= 1.3 if number == 0 else 1.1 if one.leads else 1.0
    weight *= 1.0 if one.ends else 0.5
    return weight * (0.5 if length < _SHORT else 1.0)


def _choose(candidates: Sequence[_Weighed], most: int) -> list[_Weighed]:
    """The weightiest that are not too long together and do not say the same."""
    chosen: list[_Weighed] = []
    room = defaults.SUMMARY_CHARS
    for one in candidates:
        new = not any(_alike(one.about, other.about) for other in chosen)
        if new and len(one.sentence.text) + 1 <= room + (not chosen):
            chosen.append(one)
            room -= len(one.sentence.text) + 1
        if len(chosen) == most:
            break
    return chosen


def _alike(one: set[str], other: set[str]) -> bool:
    return len(one & other) > _SAME * len(one | other)


def _cut(sentence: str) -> str:
    """Its beginning, up to a word's end if there is one, never between a letter and its accents."""
    limit = defaults.SUMMARY_CHARS - 1
    end = sentence.rfind(" ", limit // 2, limit + 1)
    if end < 0:
        end = limit
        while end > limit // 2 and (unicodedata.combining(sentence[end]) or sentence[end] in "\u200d\ufe0f"):
            end -= 1
    return sentence[:end].rstrip() + "\u2026"
