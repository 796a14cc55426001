"""The page of promises: each has its number, its place, and tests that carry the number and exist."""

from __future__ import annotations

import re

import pytest

from tests.processes import ROOT

PAGE = ROOT / "docs" / "explanation" / "promises.md"
#: P14 needs the bus, which is not built, and the page says so.
NOT_BUILT = {14}
SECTIONS = re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
PROMISES = {int(re.match(r"P(\d+)", one)[1]): one for one in SECTIONS if re.match(r"P\d", one)}  # type: ignore[index]
SHOWN = re.compile(r"\[`((?:test_p|TestP)(\d+)\w+)`\]\(([^)]+)\)")


def test_every_promise_has_its_section() -> None:
    assert set(PROMISES) == set(range(1, 19)) - NOT_BUILT


def test_what_is_not_built_is_named_as_such() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"P{number}" in page for number in NOT_BUILT)


@pytest.mark.parametrize("number", sorted(PROMISES))
def test_a_promise_names_tests_that_exist_and_carry_its_number(number: int) -> None:
    shown = SHOWN.findall(PROMISES[number])
    assert shown
    for name, carried, link in shown:
        assert int(carried) == number
        source = (PAGE.parent / link).resolve()
        assert source.is_relative_to(ROOT / "tests")
        assert re.search(rf"^(def |async def |    def )?{name}\b", source.read_text("utf-8"), re.MULTILINE), name
