"""How the lists of one language are written down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Words"]


class Words(NamedTuple):
    """Words apart by blanks, pairs of words joined by `_`. `good` and `bad` are the strong, the plain, the weak ones.

    `trailing` are negations that may come behind what they turn round. One that ends in an apostrophe is
    joined to it.
    """

    good: tuple[str, str, str]
    bad: tuple[str, str, str]
    stronger: str
    weaker: str
    negations: str
    buts: str
    trailing: str = ""

    def weights(self) -> Iterator[tuple[str, float]]:
        for sign, lists in ((1, self.good), (-1, self.bad)):
            for weight, words in zip((3, 2, 1), lists, strict=True):
                yield from ((word.replace("_", " "), float(sign * weight)) for word in words.split())

    def factors(self) -> Iterator[tuple[str, float]]:
        yield from ((word, 1.4) for word in self.stronger.split())
        yield from ((word, 0.6) for word in self.weaker.split())
