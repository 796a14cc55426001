"""classify on ordinary sentences: how often it says what a reader would, and that it leans to no side."""

from __future__ import annotations

import pytest

from cavvy.tasks.sentiment import classify
from tests.unit.tasks.everyday import EVERYDAY

SIDES = ("positive", "negative", "neutral")
#: Share of the sentences that it gets right: of all, of a language, of a side.
FLOOR, FLOOR_OF_A_LANGUAGE, FLOOR_OF_A_SIDE = 0.92, 0.85, 0.90
#: Share of those that take a side to which it gives the opposite one.
MOST_REVERSED = 0.03


def said(sentence: str) -> str:
    sentiment: str = classify(sentence, lambda: None)["sentiment"]
    return sentiment


#: Language, the side of a reader, the side of `classify`.
HEARD = [
    (language, side, said(sentence))
    for language, by_side in EVERYDAY.items()
    for side, sentences in zip(SIDES, by_side, strict=True)
    for sentence in sentences
]


def right(heard: list[tuple[str, str, str]]) -> float:
    return sum(side == answer for _, side, answer in heard) / len(heard)


def test_there_are_enough_to_say_something() -> None:
    assert len(HEARD) >= 200
    of_side = [sum(side == one for _, side, _ in HEARD) for one in ("positive", "negative")]
    assert abs(of_side[0] - of_side[1]) <= 0.1 * sum(of_side)


def test_most_are_understood() -> None:
    assert right(HEARD) >= FLOOR


@pytest.mark.parametrize("language", EVERYDAY)
def test_most_are_understood_in_each_language(language: str) -> None:
    assert right([one for one in HEARD if one[0] == language]) >= FLOOR_OF_A_LANGUAGE


@pytest.mark.parametrize("side", SIDES)
def test_most_are_understood_whatever_side_they_take(side: str) -> None:
    assert right([one for one in HEARD if one[1] == side]) >= FLOOR_OF_A_SIDE


def test_hardly_one_is_taken_for_its_opposite() -> None:
    taking_sides = [one for one in HEARD if one[1] != "neutral"]
    reversed_ones = [one for one in taking_sides if one[2] not in (one[1], "neutral")]
    assert len(reversed_ones) <= MOST_REVERSED * len(taking_sides)


@pytest.mark.parametrize(
    ("sentence", "sentiment"),
    [
        ("No vale la pena.", "negative"),
        ("Vale la pena.", "positive"),
        ("Não vale a pena.", "negative"),
        ("Je n'aime pas cette couleur.", "negative"),
        ("J'aime pas ce truc.", "negative"),
        ("酒店很漂亮，但是饭菜太难吃了。", "negative"),
        ("悪くないです。", "positive"),
    ],
)
def test_a_negation_turns_round_pairs_and_what_it_is_joined_to(sentence: str, sentiment: str) -> None:
    assert said(sentence) == sentiment
