"""The page of every route is what the coordinator says of itself."""

from __future__ import annotations

from cavvy.api.problems import CODES
from tests.docs.api_page import PAGE, page
from tests.processes import ROOT


def test_the_page_of_every_route_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "`make docs` writes it anew"


def test_every_code_is_listed_with_its_status_and_title() -> None:
    listed = (ROOT / "docs" / "reference" / "http-api.md").read_text(encoding="utf-8")
    missing = [code for code, (status, title) in CODES.items() if f"| `{code}` | {status} | {title} |" not in listed]
    assert missing == []
