from __future__ import annotations

from cavvy.core.search import holds


def test_case_makes_no_difference() -> None:
    assert holds("STRASSE", "Große Straße")


def test_strings_are_found_however_deep_and_escaped() -> None:
    assert holds('a "b"', documents=(None, rb'[{"x": [1, null, "say a \"b\""]}]'))


def test_names_of_fields_and_numbers_are_no_text() -> None:
    assert not holds("x", documents=(b'{"x": 1}',))
    assert not holds("1", None, documents=(b'{"x": 1}',))
