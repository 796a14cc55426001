from __future__ import annotations

import contextlib
import io
import json
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cavvy.cli import _output
from cavvy.cli._output import TerminalFilter, clean, print_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("ünï 🐎 \u200d", "ünï 🐎 \u200d"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]0;title\x1b\\after", "after"),
        ("\x1b]52;c;aGk=\x9cafter", "after"),
        ("\x9d0;title\x9cafter", "after"),
        ("\x1bP1$r\x1b\\after", "after"),
        ("\x1b(Bafter", "after"),
        ("\x1bcafter", "after"),
        ("\x1b[31\x1b]0;x\x07after", "after"),
        ("\x1b]never ended\nafter", "\nafter"),
        ("over\rwritten\x08\x7f\x00\x07", "overwritten"),
        ("\x1b\x1b[2Jafter", "after"),
        ("\x1b]x\x1b]y\x07after", "after"),
    ],
)
def test_terminal_control_is_taken_out(text: str, shown: str) -> None:
    assert clean(text) == shown


ANY = st.text(st.sampled_from("a[]m;0\x1b\x9b\x9c\x9d\x07\\P(\n\t\r") | st.characters())


@given(ANY)
def test_nothing_that_drives_a_terminal_is_ever_left(text: str) -> None:
    assert not [char for char in clean(text) if char not in "\n\t" and (char < " " or "\x7f" <= char <= "\x9f")]


@given(st.lists(ANY))
def test_the_pieces_a_text_comes_in_make_no_difference(pieces: list[str]) -> None:
    whole = TerminalFilter()
    assert "".join(whole.feed(piece) for piece in pieces) == clean("".join(pieces))


@given(st.text(st.characters(exclude_categories=["Cs"])))  # JSON has no lone surrogates
def test_json_drives_no_terminal_and_loses_nothing(text: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_json({"text": text})
    assert not [char for char in out.getvalue().rstrip("\n") if char < " " or "\x7f" <= char <= "\x9f"]
    assert json.loads(out.getvalue()) == {"text": text}


def test_what_nobody_can_read_any_more_is_dropped_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with open(writer, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        stream.write("buffered")
        os.close(reader)
        _output.settle()
        stream.flush()
