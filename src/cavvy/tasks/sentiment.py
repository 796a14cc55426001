"""The sentiment of a text by a lexicon: words that are for or against, what strengthens and what turns them round."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from cavvy.tasks.lexicon import Lexicon, lexicon_of, turned
from cavvy.tasks.words import SENTENCE_MARKS, UNSPACED, WORD, languages_of, pieces

__all__ = ["classify"]

_SMILE = r"(?<!\w)(?:[:;=8]['\u2019]?-?[)\](\[DPp/|\\]|<3)(?!\w)"
_TOKEN = re.compile(
    rf"(?P<smile>{_SMILE})|(?P<word>{WORD.pattern})|(?P<end>[.!?\u2026{SENTENCE_MARKS}\n]+)"
    "|(?P<pause>[,;:()\u2014\uff0c\u3001\uff1b\uff1a])|(?P<sign>[\u2639-\u263b\u2661\u2665\u2764\u2728\U0001f300-\U0001faff])"
)
_UNSPACED_RUN = re.compile(f"[{UNSPACED}]")
_SMILES = {")": 2.0, "]": 2.0, "D": 2.5, "P": 1.0, "p": 1.0, "3": 2.5, "(": -2.0, "[": -2.0, "/": -1.0, "\\": -1.0}

_NEGATION_REACH = 4  # words behind a negation that it still turns round
_BEFORE_BUT, _AFTER_BUT = 0.6, 1.3  # what comes after a "but" is what is meant
_SHOUTED = 1.25  # in capitals, or with an exclamation mark
_BALANCED = 0.2  # less difference than this share of all is no side
_SPARSE = 0.008  # of a text longer than this many words …
_LONG = 120  # … fewer words with a sentiment than that share are no sentiment of the text

#: Confidence in a neutral text: nothing said anything, it said little, it said both.
_NOTHING, _LITTLE, _BOTH = 0.3, 0.4, 0.5


class _Tally:
    """What was heard so far; a sentence is held back until it is known whether a "but" comes."""

    def __init__(self) -> None:
        self.good = self.bad = 0.0
        self._sentence: list[float] = []
        self._factor = 1.0

    @property
    def total(self) -> float:
        return self.good + self.bad

    def hear(self, weight: float) -> None:
        self._sentence.append(weight * self._factor)

    def take_back(self) -> None:
        """What was heard last was part of something else."""
        if self._sentence:
            self._sentence.pop()

    def turn_last(self) -> None:
        if self._sentence:
            self._sentence[-1] = turned(self._sentence[-1])

    def but(self) -> None:
        self._sentence = [weight * _BEFORE_BUT for weight in self._sentence]
        if self._sentence:
            self._factor = _AFTER_BUT

    def end(self, factor: float) -> None:
        for weight in self._sentence:
            if weight > 0:
                self.good += weight * factor
            else:
                self.bad -= weight * factor
        self._sentence, self._factor = [], 1.0


def classify(text: str, breathe: Callable[[], None]) -> dict[str, Any]:
    """`sentiment` is positive, negative or neutral; `confidence` is from 0 to 1, and 0.3 when no word of the text told
    anything.
    """
    languages = languages_of(_spoken(text, breathe))
    count, tally = _listen(text, lexicon_of(languages), breathe)
    sentiment, confidence = _verdict(tally, count)
    return {"sentiment": sentiment, "confidence": round(confidence, 2), "method": "lexicon"}


def _spoken(text: str, breathe: Callable[[], None]) -> Iterator[str]:
    for piece in pieces(text):
        breathe()
        yield from (found[0].casefold() for found in WORD.finditer(piece))


def _tokens(text: str, breathe: Callable[[], None]) -> Iterator[re.Match[str]]:
    for piece in pieces(text):
        breathe()
        yield from _TOKEN.finditer(piece)


def _verdict(tally: _Tally, words: int) -> tuple[str, float]:
    if not tally.total:
        return "neutral", _NOTHING
    if words > _LONG and tally.total < _SPARSE * words:
        return "neutral", _LITTLE
    balance = (tally.good - tally.bad) / tally.total
    if abs(balance) < _BALANCED:
        return "neutral", _BOTH
    confidence = 0.5 + 0.5 * abs(balance) * (1 - math.exp(-tally.total / 2))
    return ("positive" if balance > 0 else "negative"), confidence


def _listen(text: str, lexicon: Lexicon, breathe: Callable[[], None]) -> tuple[int, _Tally]:
    """How many words there are, and what they say."""
    tally = _Tally()
    ear, count = _Ear(lexicon, tally), 0
    for token in _tokens(text, breathe):
        kind, said = token.lastgroup, token[0]
        if kind == "word":
            count += 1
            ear.hear(said)
        elif kind == "end":
            ear.pause()
            tally.end(_SHOUTED if "!" in said or "\uff01" in said else 1.0)
        elif kind == "pause":
            ear.pause()
        else:
            tally.hear(_SMILES.get(said[-1], 0.0) if kind == "smile" else lexicon.signs.get(said, 0.0))
    ear.pause()
    tally.end(1.0)
    return count, tally


class _Ear:
    """Hears word after word of one clause; what turns round or strengthens is remembered until the clause ends."""

    def __init__(self, lexicon: Lexicon, tally: _Tally) -> None:
        self._lexicon = lexicon
        self._tally = tally
        self._weights: dict[str, float] = {}
        self._trailed = False
        self.pause()

    def pause(self) -> None:
        """The clause ends; a negation at its end turns round what was before it: "gefällt mir nicht"."""
        if self._trailed:
            self._tally.turn_last()
        self._last = ""
        self._strength = 1.0
        self._negated = 0
        self._heard = self._weighed = self._trailed = False

    def hear(self, said: str) -> None:
        lexicon, word = self._lexicon, said.casefold().replace("\u2019", "'")
        if _UNSPACED_RUN.match(word):
            self._hear_run(word)
            return
        pair, self._last = f"{self._last} {word}", word
        self._negated = _NEGATION_REACH if lexicon.joins_negation(word) else max(0, self._negated - 1)
        weighed, self._weighed = self._weighed, False
        if pair in lexicon.pairs:
            if weighed:
                self._tally.take_back()
            self._hear_pair(lexicon.pairs[pair])
        elif word in lexicon.buts:
            self.pause()
            self._tally.but()
        elif lexicon.negates(word):
            self._trailed = self._heard and not self._negated and word in lexicon.trailing
            self._negated = _NEGATION_REACH + 1
        elif word in lexicon.strengths:
            self._strength *= lexicon.strengths[word]
        elif weight := self._weight(word):
            self._weigh(weight, shouted=len(said) > 2 and said.isupper())
        else:
            self._strength, self._heard = 1.0, self._heard and bool(lexicon.trailing)

    def _hear_pair(self, weight: float) -> None:
        """Behind a negation it is turned round, unless that is its own first word, or it is a "ne … pas" itself."""
        self._tally.hear(turned(weight) if weight > 0 and 0 < self._negated < _NEGATION_REACH else weight)
        self._negated, self._heard, self._trailed = 0, True, False

    def _hear_run(self, run: str) -> None:
        for weight in self._lexicon.unspaced(run):
            if weight is None:
                self._tally.but()
            else:
                self._tally.hear(weight)

    def _weight(self, word: str) -> float:
        if word not in self._weights:
            self._weights[word] = self._lexicon.weight(word)
        return self._weights[word]

    def _weigh(self, weight: float, *, shouted: bool) -> None:
        weight *= min(self._strength, 2.0) * (_SHOUTED if shouted else 1.0)
        self._heard, self._weighed, self._trailed, self._strength = True, True, False, 1.0
        self._tally.hear(turned(weight) if self._negated else weight)
