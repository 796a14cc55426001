"""Which words are for and against, by language: Cavvy's own lists, from 3 (strong) to 1 (weak).

A word with `*` stands for all that begin so. A text in a language that is not here is read with all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from cavvy.tasks.lexicon import east, english, germanic, romance, signs, slavic
from cavvy.tasks.lexicon.words import Words

__all__ = ["Lexicon", "lexicon_of", "turned"]

_LANGUAGES: Mapping[str, Words] = {
    "en": english.ENGLISH,
    "de": germanic.GERMAN,
    "nl": germanic.DUTCH,
    "fr": romance.FRENCH,
    "es": romance.SPANISH,
    "it": romance.ITALIAN,
    "pt": romance.PORTUGUESE,
    "ru": slavic.RUSSIAN,
}
_SHORTEST_STEM, _LONGEST_STEM = 3, 14
_LONGEST_WORD = 40


class Lexicon:
    """The words of one language, or of several; of two that know a word the first counts."""

    def __init__(self, *languages: Words) -> None:
        self._words: dict[str, float] = {}
        self._stems: dict[str, float] = {}
        self.pairs: dict[str, float] = {}
        self.strengths: dict[str, float] = {}
        self.signs = signs.SIGNS
        for one in languages:
            for word, weight in one.weights():
                kind = self._stems if word.endswith("*") else self.pairs if " " in word else self._words
                kind.setdefault(word.rstrip("*"), weight)
            for word, factor in one.factors():
                self.strengths.setdefault(word, factor)
        self._negations = frozenset().union(*(one.negations.split() for one in languages))
        self.trailing = frozenset().union(*(one.trailing.split() for one in languages))
        self.buts = frozenset().union(*(one.buts.split() for one in languages))

    def weight(self, word: str) -> float:
        """How much this word is for (above 0) or against."""
        if word in self._words:
            return self._words[word]
        if len(word) > _LONGEST_WORD:
            return 0.0
        if "'" in word:
            return self.weight(word.partition("'")[2])  # l'amore, j'aime
        for length in range(min(len(word), _LONGEST_STEM), _SHORTEST_STEM - 1, -1):
            if (weight := self._stems.get(word[:length])) is not None:
                return weight
        return 0.0

    def negates(self, word: str) -> bool:
        return word in self._negations or word.endswith("n't")

    def joins_negation(self, word: str) -> bool:
        """Whether an apostrophe joins a negation to its beginning: n'aime."""
        return word[: word.find("'") + 1] in self._negations

    def unspaced(self, run: str) -> Iterator[float | None]:
        """The weights in a run of a script without spaces; None is a "but"."""
        for found in east.EASTERN.finditer(run):
            weight = east.WEIGHTS.get(found["word"])
            yield turned(weight) if weight and (found["before"] or found["after"]) else weight


def turned(weight: float) -> float:
    """What a word weighs behind a negation: "not good" is less bad than "bad", "not bad" is hardly good."""
    return weight * (-0.7 if weight > 0 else -0.5)


@lru_cache(maxsize=64)
def lexicon_of(languages: tuple[str, ...]) -> Lexicon:
    """That of the languages, as far as they are here; if none is, all there are, English first."""
    known = [_LANGUAGES[language] for language in languages if language in _LANGUAGES]
    return Lexicon(*(known or _LANGUAGES.values()))
