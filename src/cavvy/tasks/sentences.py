"""From a text to its sentences, in many scripts: by marks, white space, lines and what is known of abbreviations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cavvy.tasks.words import SENTENCE_MARKS, UNSPACED, WORD

__all__ = ["Sentence", "join", "sentences"]

_CLOSING = "\"'\u201d\u2019\u00bb)\\]\u300d\u300f\uff09"
_END = re.compile(f"(?:[.!?\u2026]++|[{SENTENCE_MARKS}]++)[{_CLOSING}]*+")
_WHOLE = re.compile(f"[.!?\u2026{SENTENCE_MARKS}][{_CLOSING}]*$")
_LIST_ITEM = re.compile(r"\s*(?:[-*\u2022\u2023\u2013]|[0-9]{1,3}[.)])\s+")
_ASIDE = re.compile(r"\s*(?:#{1,6}\s|\|)")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_UNSPACED = re.compile(f"[{UNSPACED}{SENTENCE_MARKS}\u3000-\u303f\uff00-\uffef]")
_LAST_WORD = re.compile(r"[^\s(\[\"'\u201c\u2018\u00ab]*$")
_LONGEST_ABBREVIATION = 12
_BREATH = 256  # sentences
_ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "jr",
        "sr",
        "vs",
        "etc",
        "inc",
        "ltd",
        "co",
        "corp",
        "no",
        "fig",
        "vol",
        "pp",
        "ed",
        "eds",
        "approx",
        "dept",
        "est",
        "gen",
        "col",
        "sgt",
        "capt",
        "rev",
        "hon",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "e.g",
        "i.e",
        "a.m",
        "p.m",
        "u.s",
        "u.k",
        "cf",
        "al",
        "ca",
        "nr",
        "bzw",
        "usw",
        "z.b",
        "d.h",
        "u.a",
        "o.ä",
        "evtl",
        "ggf",
        "vgl",
        "abb",
        "bd",
        "hrsg",
        "str",
        "tel",
        "ing",
        "mag",
        "dipl",
        "m",
        "mme",
        "mlle",
        "p.ex",
        "av",
        "env",
        "sra",
        "srta",
        "ud",
        "uds",
        "ee.uu",
        "dott",
        "sig",
        "ecc",
        "pag",
        "art",
        "г",
        "ул",
        "им",
        "т.е",
        "т.д",
        "т.п",
        "см",
        "рис",
        "стр",
        "руб",
        "тыс",
        "млн",
        "млрд",
    ]
)
#: What follows the number of a day or a century in German.
_AFTER_ORDINAL = re.compile(
    r"\s+(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember|Jahrhundert|Jh)"
)


class Sentence(NamedTuple):
    """White space in it is single blanks. `leads` says that a paragraph begins with it, `ends` that it has a mark at
    its end.
    """

    text: str
    leads: bool
    ends: bool


def sentences(text: str, breathe: Callable[[], None]) -> list[Sentence]:
    """In order, without headings, tables and code as long as there is anything else. What holds no word is none."""
    body: list[Sentence] = []
    asides: list[Sentence] = []
    for paragraph, aside in _paragraphs(text):
        breathe()
        for number, sentence in enumerate(_split(paragraph)):
            if not number % _BREATH:
                breathe()
            found = Sentence(sentence, leads=number == 0, ends=_WHOLE.search(sentence, len(sentence) - 8) is not None)
            (asides if aside else body).append(found)
    return body or asides


def join(chosen: list[str]) -> str:
    """Sentences as one text: with blanks, but none between characters of scripts that have none."""
    parts: list[str] = []
    for sentence in chosen:
        if parts and not (_UNSPACED.match(parts[-1][-1]) and _UNSPACED.match(sentence)):
            parts.append(" ")
        parts.append(sentence)
    return "".join(parts)


def _paragraphs(text: str) -> Iterator[tuple[str, bool]]:
    """Each paragraph or item of a list, on one line; and whether it is no prose: a heading, a row of a table, code."""
    lines: list[str] = []
    in_code = False
    for line in text.splitlines():
        fence = _FENCE.match(line)
        in_code ^= fence is not None
        item, aside = _LIST_ITEM.match(line), _ASIDE.match(line)
        if lines and (item or aside or fence or not line.strip()):
            yield join(lines), False
            lines = []
        if aside or in_code:
            yield _one_line(line[aside.end() :] if aside else line), True
        elif not fence and (stripped := _one_line(line[item.end() :] if item else line)):
            lines.append(stripped)
    if lines:
        yield join(lines), False


def _one_line(line: str) -> str:
    return " ".join(line.split())


def _split(paragraph: str) -> Iterator[str]:
    begin = 0
    for mark in _END.finditer(paragraph):
        if _ends_here(paragraph, mark):
            if WORD.search(paragraph, begin, mark.start()):
                yield paragraph[begin : mark.end()].strip()
            begin = mark.end()
    if WORD.search(paragraph, begin):
        yield paragraph[begin:].strip()


def _ends_here(paragraph: str, mark: re.Match[str]) -> bool:
    if mark[0][0] in SENTENCE_MARKS:
        return True
    after = paragraph[mark.end() : mark.end() + 2]
    if not after:
        return True
    if not after[0].isspace():
        return _UNSPACED.match(after) is not None
    if after[1:].islower():
        return False
    return mark[0] != "." or not _is_abbreviated(paragraph, mark)


def _is_abbreviated(paragraph: str, mark: re.Match[str]) -> bool:
    """Whether the full stop belongs to the word before it."""
    before = _LAST_WORD.search(paragraph[max(0, mark.start() - _LONGEST_ABBREVIATION) : mark.start()])
    word = before[0] if before else ""
    if len(word) == 1 and word.isalpha():
        return True  # an initial, or "z. B."
    if word.isdigit() and len(word) <= 2:
        return _AFTER_ORDINAL.match(paragraph, mark.end()) is not None
    return word.casefold() in _ABBREVIATIONS
