"""The examples, and the Python in the pages a newcomer copies from, run as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import ROOT, Installation, installed
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.e2e

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PRINTED = {
    "quickstart_run": rf"{re.escape(ANSWER)}\nby scripted, job [0-9a-f-]{{36}}\n",
    "stream": rf"{re.escape(ANSWER)}\n9 tokens\n",
    "verify_receipt": r"receipt: valid; scripted answered at \S+Z\n",
}

PAGES = ["README.md", "docs/howto/submit-from-python.md"]
#: What the pages take for granted.
GIVEN = "from cavvy import Cavvy\nwith Cavvy() as cavvy: key_you_were_given = cavvy.workers()[0].key\n"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """As after `cavvy up`, with an answer that is known in place of the model."""
    with installed(tmp_path_factory.mktemp("up")) as here:
        here.start_coordinator("up", module="tests.scripted_worker")
        yield here


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_an_example_runs_and_leaves_nothing_open(up: Installation, script: Path) -> None:
    ended = up.run("-W", "error", str(script))
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(PRINTED[script.stem], ended.out), ended.out


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_from_top_to_bottom(up: Installation, page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    script = tmp_path / "page.py"
    script.write_text("\n".join([GIVEN, *blocks]), encoding="utf-8")
    ended = up.run(str(script))
    assert (ended.code, ended.err) == (0, "")
    assert ANSWER in ended.out
