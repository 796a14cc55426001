"""Tables of texts as TOML."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from cavvy import toml_text


@given(st.text())
def test_any_text_survives(text: str) -> None:
    assert tomllib.loads(toml_text.table({"name": text, "left_out": None})) == {"name": text}
    assert tomllib.loads(f"[{toml_text.quoted(text)}]") == {text: {}}
