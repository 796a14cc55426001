"""classify: which side a text takes, in several languages, and how sure that is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cavvy.tasks.sentiment import classify
from cavvy.tasks.words import pieces

POSITIVE = [
    "I really love this phone. The camera is amazing and the battery lasts all day!",
    "No problem, thanks.",
    "It's not bad at all.",
    "The room was small and noisy, but the staff was wonderful and we loved our stay.",
    "Wir waren sehr zufrieden, das Personal war freundlich und hilfsbereit.",
    "Ce restaurant est vraiment excellent, le service est impeccable. J'adore !",
    "Me encanta este lugar, la gente es muy amable.",
    "Un'esperienza meravigliosa, personale gentilissimo e cibo ottimo.",
    "Adorei o hotel, muito limpo e confortável.",
    "Heel fijn hotel, vriendelijk personeel en lekker ontbijt.",
    "Очень хороший отель, персонал вежливый, номер чистый.",
    "这家餐厅的服务很好，菜也很好吃，我非常满意。",
    "スタッフの対応が素晴らしく、料理も美味しかったです。",
    "😍😍",
    "see you tomorrow :)",
]
NEGATIVE = [
    "The food was not good and the waiter was rude. I would never recommend this place.",
    "It doesn't work. Never again!",
    "The hotel looked nice, but the room was dirty and the staff was awful.",
    "Das Essen war leider kalt und der Kellner unfreundlich. Nie wieder!",
    "Gefällt mir nicht.",
    "Ce n'est pas bon du tout, je suis très déçu.",
    "No me gusta nada, la comida estaba fría y el servicio fue pésimo.",
    "Personale scortese, camera sporca: davvero una delusione.",
    "Não gostei, o produto chegou quebrado e o atendimento foi péssimo.",
    "Slecht hotel: vies, lawaaierig en veel te duur.",
    "Ужасное обслуживание, мне совсем не понравилось.",
    "质量很差，用了一天就坏了，太失望了。",
    "部屋が汚くて最悪でした。",
    "👎😡",
]
NEUTRAL = [
    "",
    "   \n",
    "The train departs at 9:15 from platform 4 and arrives in Leeds at noon.",
    "Er war in der Stadt und die Straße war lang.",  # English: "war" and "die"
    "See http://example.com/a(b) for the table.",
    "Kaupunki on meren rannalla.",
]


def done(text: str) -> dict[str, Any]:
    return classify(text, lambda: None)


@pytest.mark.parametrize("text", POSITIVE)
def test_a_text_that_is_for_something_is_positive(text: str) -> None:
    found = done(text)
    assert found["sentiment"] == "positive"
    assert 0.5 < found["confidence"] <= 1


@pytest.mark.parametrize("text", NEGATIVE)
def test_a_text_that_is_against_something_is_negative(text: str) -> None:
    found = done(text)
    assert found["sentiment"] == "negative"
    assert 0.5 < found["confidence"] <= 1


@pytest.mark.parametrize("text", NEUTRAL)
def test_a_text_in_which_no_word_takes_a_side_is_neutral_and_says_how_little_that_is(text: str) -> None:
    assert done(text) == {"sentiment": "neutral", "confidence": 0.3, "method": "lexicon"}


def test_a_text_with_both_sides_is_neutral() -> None:
    assert done("The food was good. The service was bad.") == {
        "sentiment": "neutral",
        "confidence": 0.5,
        "method": "lexicon",
    }


def test_one_kind_word_in_a_long_report_is_no_sentiment_of_it() -> None:
    report = "The committee met on Tuesday and read the figures of the second quarter. " * 40
    assert done(f"{report} The coffee was good.")["sentiment"] == "neutral"


def test_more_and_stronger_words_make_it_surer() -> None:
    weak, plain, strong = (
        done(text)["confidence"] for text in ("It is slightly good.", "It is good.", "It is EXTREMELY good, I love it!")
    )
    assert weak < plain < strong


def test_a_negation_reaches_no_further_than_its_clause() -> None:
    assert done("I did not drive, the view was beautiful.")["sentiment"] == "positive"


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=500) | st.lists(st.sampled_from(["not", "good", "bad", "but", "nicht", ".", "!", "很好", "不"]))
)
def test_whatever_the_text_the_answer_is_one_of_three(text: str | list[str]) -> None:
    found = done(text if isinstance(text, str) else " ".join(text))
    assert found["sentiment"] in ("positive", "negative", "neutral")
    assert 0 <= found["confidence"] <= 1


@pytest.mark.parametrize("filler", ["[", "不", "\u202e", "-", "a", "a ", "\u0301"])
def test_no_stretch_of_a_text_is_searched_without_a_breath(filler: str) -> None:
    """Which lets the event loop run beside it, where it is the coordinator's."""
    breaths: list[None] = []
    text = filler * (100_000 // len(filler))
    classify(text, lambda: breaths.append(None))
    assert len(breaths) >= 2 * len(text) // 2048


def test_a_text_in_pieces_is_the_text_cut_between_words() -> None:
    text = "Lovely good evening, my friends\n" * 500 + "x" * 5000
    cut = list(pieces(text))
    assert "".join(cut) == text
    assert all(len(piece) <= 2048 for piece in cut)
    assert all(piece[-1].isspace() for piece in cut if "x" * 9 not in piece)
