"""summarize: whole sentences of the text, the weighty ones, in their order, in any script."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cavvy import defaults
from cavvy.tasks.sentences import sentences
from cavvy.tasks.summary import summarize

LIGHTHOUSE = """# The lighthouse

The lighthouse at Cape Bell was built in 1871 by Dr. A. Moore, who paid 3.5 thousand pounds for the stone. For nearly
a century its keepers climbed the 112 steps every evening to light the lamp. In 1968 the lamp was replaced by an
automatic beacon.

The last keeper, Mrs. Hale, refused to leave. She stayed in the cottage below and kept a diary of storms and birds.

- Visitors may climb the lighthouse in summer.
- Dogs are not allowed!

Engineers say that the stone of the lighthouse is sound, but the iron stairs need repair. Will it be enough?
"""
GERMAN = (
    "Am 3. Oktober feiert Deutschland den Tag der Deutschen Einheit. Der Feiertag erinnert z. B. an das Jahr 1990."
    " Zuvor war Deutschland mehr als vierzig Jahre geteilt. In vielen Städten gibt es Feste, Konzerte und Reden."
    " Die zentrale Feier findet jedes Jahr in einem anderen Land statt. Manche nutzen den Feiertag zum Wandern."
)
CHINESE = (
    "北京是中华人民共和国的首都。北京位于华北平原的北部，是全国的政治中心和文化中心。北京有三千多年的建城史。"
    "故宫是北京最著名的古代建筑，每年有数百万游客参观故宫。今天天气很好。我昨天吃了面条。长城的一部分也在北京的北部。"
    "故宫里收藏着许多珍贵的文物，游客可以在故宫看到古代皇帝的生活。北京的地铁是世界上最繁忙的地铁之一。"
) * 2
HINDI = (
    "हिन्दी भारत की एक भाषा है। इसे करोड़ों लोग बोलते हैं। हिन्दी देवनागरी लिपि में लिखी जाती है। भारत में बहुत सी भाषाएँ बोली"
    " जाती हैं। आज मौसम अच्छा है। मैं बाज़ार जा रहा हूँ। यह भाषा भारत के उत्तर में अधिक बोली जाती है।"
)
ARABIC = (
    "القاهرة هي عاصمة مصر وأكبر مدنها. تقع القاهرة على ضفاف نهر النيل. يعيش في القاهرة ملايين الناس. هل زرت القاهرة؟"
    " الطقس جميل اليوم. تشتهر مصر بالأهرامات القديمة التي تقع قرب القاهرة. يزور مصر كثير من السياح كل عام."
)
TEXTS = [LIGHTHOUSE, GERMAN, CHINESE, HINDI, ARABIC]


def done(text: str) -> dict[str, Any]:
    return summarize(text, lambda: None)


def split(text: str) -> list[str]:
    return [one.text for one in sentences(text, lambda: None)]


@pytest.mark.parametrize("text", TEXTS)
def test_a_summary_is_whole_sentences_of_the_text_in_their_order(text: str) -> None:
    summary, known = done(text)["summary"], split(text)
    chosen = split(summary)
    assert 1 <= len(chosen) <= 5
    assert len(chosen) < len(known)
    places = [known.index(one) for one in chosen]
    assert places == sorted(set(places))


def test_it_holds_what_the_text_speaks_of_again_and_again() -> None:
    summary = done(CHINESE)["summary"]
    assert "故宫" in summary
    assert "面条" not in summary


def test_what_is_said_twice_is_in_it_once() -> None:
    summary = done(CHINESE)["summary"]
    assert summary.count("首都") == 1


def test_what_is_said_a_hundred_times_leaves_room_for_the_rest() -> None:
    text = "The river Danube flows through ten countries. " * 300 + "It ends in the Black Sea. " * 200
    assert summarize(text, lambda: None)["summary"] == (
        "The river Danube flows through ten countries. It ends in the Black Sea."
    )


def test_the_words_of_the_text_are_counted() -> None:
    assert done("one two\n three")["word_count"] == 3
    assert done("hello 世界")["word_count"] == 3
    assert done(" \n ")["word_count"] == 0


def test_a_short_text_is_its_own_summary() -> None:
    assert done("  Two  lines,\nnot much. ") == {
        "summary": "Two lines, not much.",
        "word_count": 4,
        "method": "extractive",
    }


def test_a_text_without_words_has_an_empty_summary() -> None:
    assert done("")["summary"] == ""
    assert done(". " * 300)["summary"] == ""


def test_a_sentence_that_is_too_long_is_cut_at_a_word() -> None:
    summary = done("word " * 500)["summary"]
    assert len(summary) <= defaults.SUMMARY_CHARS
    assert summary.endswith(" word…")


def test_a_cut_falls_between_no_letter_and_its_accent() -> None:
    summary = done("e\u0301" * 2000)["summary"]
    assert summary.endswith("\u0301…")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. A. Moore paid 3.5 pounds. He left.", ["Dr. A. Moore paid 3.5 pounds.", "He left."]),
        ("He said “Go!” and left. (She stayed.) Why?", ["He said “Go!” and left.", "(She stayed.)", "Why?"]),
        ("Am 3. Mai war es z. B. warm. Dann kam Regen.", ["Am 3. Mai war es z. B. warm.", "Dann kam Regen."]),
        ("He was 42. Then he left.", ["He was 42.", "Then he left."]),
        ("Wait... what? See www.example.com now. Yes", ["Wait... what?", "See www.example.com now.", "Yes"]),
        ("今日は晴れです。明日は？「雨。」", ["今日は晴れです。", "明日は？", "「雨。」"]),
        ("ആദ്യം। രണ്ടാമത്॥", ["ആദ്യം।", "രണ്ടാമത്॥"]),
        ("# Title\n\n- one\n- two\n\nA line\nthat goes on.", ["one", "two", "A line that goes on."]),
        ("# Only a title", ["Only a title"]),
        ("Before.\n| a | b |\n|---|---|\n| c. | d |\nAfter.", ["Before.", "After."]),
        ("Before.\n```\nrun(it). Now.\n\nMore.\n```\nAfter.", ["Before.", "After."]),
        ("```\nonly code\n", ["only code"]),
    ],
)
def test_sentences_are_told_apart(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=2000) | st.text(alphabet="aA .!?。\n#-e\u0301世'", max_size=2000))
def test_whatever_the_text_a_summary_is_short_and_well_formed(text: str) -> None:
    found = done(text)
    assert len(found["summary"]) <= defaults.SUMMARY_CHARS
    assert found["summary"] == found["summary"].strip()
    assert found["word_count"] >= 0
