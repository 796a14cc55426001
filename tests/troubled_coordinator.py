"""The real command line with one part exchanged: a store whose commits do as the file CAVVY_TEST_ORDERS says.

The file holds what shall happen and to which commits: those that hold this statement of write.sql, or `any`. Beside it
stands `orders.hangs` as soon as a commit hangs, from which only a signal that ends the process helps.
CAVVY_TEST_SHUTDOWN_S is how long it gives those who are connected before it ends without them.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from cavvy import defaults
from cavvy.cli import main
from cavvy.store.sqlite import SqliteStore
from cavvy.store.sqlite.batch import Parcel
from cavvy.store.sqlite.singles import Single
from cavvy.store.sqlite.writer import Writer

__all__ = [
    "DIE_AFTER_COMMIT",
    "DIE_BEFORE_COMMIT",
    "FAIL_AFTER_COMMIT",
    "FAIL_BEFORE_COMMIT",
    "FULL",
    "HANG",
    "READ_ONLY",
]

DIE_BEFORE_COMMIT, DIE_AFTER_COMMIT = "die-before-commit", "die-after-commit"
FAIL_BEFORE_COMMIT, FAIL_AFTER_COMMIT = "fail-before-commit", "fail-after-commit"
READ_ONLY, FULL, HANG = "read-only", "full", "hang"


class Troubled(Writer):
    """Looks for orders before each commit."""

    def commit(self, steps: Sequence[Parcel | Single], term: int) -> None:
        self._order = _order_for(steps)
        self._connection.execute(f"PRAGMA query_only = {int(self._order == READ_ONLY)}")
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        self._connection.execute(f"PRAGMA max_page_count = {pages if self._order == FULL else 2**30}")
        super().commit(steps, term)

    def _commit_transaction(self) -> None:
        if self._order == DIE_BEFORE_COMMIT:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._order == HANG:
            Path(os.environ["CAVVY_TEST_ORDERS"]).with_suffix(".hangs").touch()
            threading.Event().wait()
        if self._order != FAIL_BEFORE_COMMIT:
            super()._commit_transaction()
        if self._order == DIE_AFTER_COMMIT:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._order in (FAIL_BEFORE_COMMIT, FAIL_AFTER_COMMIT):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error


def _order_for(steps: Sequence[Parcel | Single]) -> str:
    path = Path(os.environ["CAVVY_TEST_ORDERS"])
    order, statement = path.read_text().split() if path.exists() else ("", "any")
    meant = statement == "any" or any(_holds(step, statement) for step in steps)
    return order if meant else ""


def _holds(step: Parcel | Single, statement: str) -> bool:
    return step.name == statement if isinstance(step, Single) else step.get(statement) is not None


if __name__ == "__main__":
    SqliteStore.writer_class = Troubled
    shutdown_s = float(os.environ.get("CAVVY_TEST_SHUTDOWN_S", defaults.SHUTDOWN_S))
    with patch.object(defaults, "SHUTDOWN_S", shutdown_s):
        main()
