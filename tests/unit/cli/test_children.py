"""Child processes: none is left, whatever they and we do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cavvy.cli import _children
from cavvy.cli._children import Children
from cavvy.errors import StartError


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Children:
    """Children that run Python code instead of a command of ours."""
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -c "$@"\n', encoding="utf-8")
    interpreter.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    return Children(tmp_path, {"GREETING": "hello"})


FOREVER = "import os, signal; print(os.environ['GREETING'], flush=True)\nwhile True: signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
BROKEN = "import sys; sys.stderr.write('first\\nlast words\\n'); sys.exit(6)"


def test_a_child_is_ended_by_term(children: Children) -> None:
    with children:
        child = children.start("one", [FOREVER])
        assert child.first_line() == b"hello\n"
        child.check()
    assert child.process.returncode == -15


def test_a_child_that_ignores_term_is_killed(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_children, "STOP_S", 0.01)
    with children:
        child = children.start("one", [STUBBORN])
        child.first_line()
    assert child.process.returncode == -9


def test_children_are_gone_after_an_exception_too(children: Children) -> None:
    child = children.start("one", [FOREVER])
    child.first_line()
    with pytest.raises(KeyboardInterrupt), children:
        raise KeyboardInterrupt
    assert child.process.returncode is not None


def test_a_child_that_ends_early_is_noticed_and_its_last_words_are_kept(children: Children) -> None:
    with children:
        child = children.start("one", [BROKEN])
        with pytest.raises(StartError, match="one ended with exit code 6"):
            child.first_line()
        assert children.log_tails() == "  one: first\n  one: last words"
