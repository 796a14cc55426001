"""Logs say what happened and where; never a prompt, an output or a key."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import sqlite3
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import structlog

from cavvy import logs
from cavvy.errors import RolledBack

SECRET = "the rabbit is under the floor"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where a process that was configured writes; everything is as before afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, structlog.get_config(), sys.excepthook, sys.unraisablehook
    written = io.StringIO()
    logs.configure(written)
    yield written
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    structlog.configure(**before[2])
    structlog.reset_defaults()
    logging.captureWarnings(False)
    sys.excepthook, sys.unraisablehook = before[3:]
    threading.excepthook = threading.__excepthook__


def broken(secret: str) -> None:
    held = {"prompt": secret}
    raise ValueError(f"cannot read {held}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cav_adm_k3yk3yk3yk3y_" + "s" * 49, "cav_adm_…"),
        ("join cavvy://h:1/cav_wrk_" + "s" * 43 + "_" + "f" * 32 + "#pin", "join cavvy://h:1/cav_wrk_…#pin"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer …"),
        ("key sk-proj-" + "a" * 40 + " refused", "key sk-… refused"),
        ("key sk-ant-api03-" + "a" * 40, "key sk-…"),
        ("risky-task disk-full", "risky-task disk-full"),
        ("a\x1b[2Jb\nc", "a [2Jb c"),
        ("x" * 1000, "x" * 500 + "…"),
    ],
)
def test_what_looks_like_a_key_is_not_shown(text: str, shown: str) -> None:
    assert logs.redact(text) == shown


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError(SECRET), "ValueError"),
        (RolledBack("database or disk is full"), "RolledBack: database or disk is full"),
        (sqlite3.OperationalError("disk I/O error"), "OperationalError: disk I/O error"),
        (FileNotFoundError(2, "No such file or directory", SECRET), "FileNotFoundError: No such file or directory"),
    ],
)
def test_only_words_of_our_own_and_the_systems_are_repeated(error: Exception, says: str) -> None:
    assert logs.told(error) == says


def log_a_fault() -> None:
    try:
        broken(SECRET)
    except ValueError:
        logs.get_logger().exception("failed", job="j1", key="Bearer abc")


def test_an_error_is_told_by_its_place(stream: io.StringIO) -> None:
    log_a_fault()
    written = stream.getvalue()
    assert SECRET not in written
    assert "in broken" in written
    assert "ValueError" in written
    assert "Bearer abc" not in written


def test_an_embedder_who_configured_nothing_shows_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    log_a_fault()
    written = "".join(capsys.readouterr())
    assert "in broken" in written
    assert SECRET not in written


def test_an_embedder_with_locals_in_tracebacks_shows_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.configure(processors=[structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()])
    try:
        log_a_fault()
    finally:
        structlog.reset_defaults()
    assert SECRET not in "".join(capsys.readouterr())


def test_who_logs_past_our_logger_is_redacted_too(stream: io.StringIO) -> None:
    try:
        broken(SECRET)
    except ValueError:
        structlog.get_logger().exception("failed", key="cav_adm_" + "k" * 60)
    assert SECRET not in stream.getvalue()
    assert "kkk" not in stream.getvalue()


def test_libraries_are_reduced_to_their_first_words(stream: io.StringIO) -> None:
    for name in ("httpx", "any_llm", "openai", "litestar", "asyncio", "uvicorn.error", "websockets.server"):
        log = logging.getLogger(name)
        log.debug("sent %s", SECRET)
        log.info("HTTP Request: POST https://host/?q=%s", SECRET)
        log.warning("retrying %s", SECRET)
        log.error("Task exception was never retrieved\nfuture: " + SECRET)
        try:
            broken(SECRET)
        except ValueError:
            log.exception("it broke: %s", SECRET)
    written = stream.getvalue()
    assert SECRET not in written
    assert "Task exception was never retrieved" in written
    assert "any_llm" in written


class Leaves:
    """Fails where nobody can catch it."""

    def __del__(self) -> None:
        broken(SECRET)


async def fail_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(broken, SECRET)
    await asyncio.sleep(0)


class Unwritable(io.StringIO):
    """A file on a disk that is full, or a terminal that was closed."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, f"no room for {len(text)} characters")


@pytest.mark.usefixtures("stream")  # which puts everything back
def test_what_cannot_be_written_is_no_error_of_whoever_logs_it() -> None:
    logs.configure(Unwritable())
    logs.get_logger().error("store_takes_no_writes")


def test_what_nobody_catches_is_told_by_its_place(stream: io.StringIO) -> None:
    thread = threading.Thread(target=broken, args=(SECRET,))
    thread.start()
    thread.join()
    Leaves()
    asyncio.run(fail_in_a_callback())
    try:
        broken(SECRET)
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(SECRET, stacklevel=1)
    written = stream.getvalue()
    assert SECRET not in written
    assert written.count("in broken") == 4
