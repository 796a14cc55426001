from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cavvy.providers.thinking import ThinkingSplitter


def split(*texts: str) -> tuple[str, str]:
    """What was thought and what was answered."""
    splitter = ThinkingSplitter()
    pieces = [piece for text in texts for piece in splitter.feed(text)] + splitter.rest()
    thought = "".join(piece.text for piece in pieces if piece.reasoning)
    return thought, "".join(piece.text for piece in pieces if not piece.reasoning)


@pytest.mark.parametrize(
    ("said", "thought", "answer"),
    [
        ("42", "", "42"),
        ("<think>hm</think>\n\n42", "hm", "42"),
        ("\n<thinking>hm</thinking>42", "hm", "42"),
        ("<think>never ends", "never ends", ""),
        ("<think></think>42", "", "42"),
        ("the tag <think>hm</think> is a word", "", "the tag <think>hm</think> is a word"),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("<thin", "", "<thin"),
        ("<table>", "", "<table>"),
        ("  <b", "", "  <b"),
        ("<think>1 < 2 </thinker></think>x", "1 < 2 </thinker>", "x"),
    ],
)
def test_thinking_at_the_beginning_is_told_apart_however_it_is_cut(said: str, thought: str, answer: str) -> None:
    assert split(said) == (thought, answer)
    assert split(*said) == (thought, answer)


@given(st.lists(st.text(alphabet="<>/think ab\n", max_size=9), max_size=9))
def test_where_the_text_is_cut_changes_nothing(texts: list[str]) -> None:
    assert split(*texts) == split("".join(texts))


def test_text_without_thinking_is_not_held_back() -> None:
    splitter = ThinkingSplitter()
    assert [piece.text for piece in splitter.feed("4")] == ["4"]
    assert [piece.text for piece in splitter.feed("<think>")] == ["<think>"]
