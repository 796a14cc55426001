"""The one place that writes: a batch is one transaction, and a failure is one of four."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NoReturn

from cavvy.errors import CommitUnknown, Fenced, Refused, RolledBack, StoreError
from cavvy.store.sqlite import queries
from cavvy.store.sqlite.batch import Parcel
from cavvy.store.sqlite.singles import Single

__all__ = ["Writer"]

_WRITE = queries.load("write")

#: Primary result codes with which COMMIT leaves the transaction open: nothing reached the log.
_NOT_COMMITTED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY})

#: Primary result codes that are the data's fault.
_DATA = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE})

#: What the trigger raises when the store's term is not the writer's.
_FENCED = "fenced"


def _primary_code(error: BaseException) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


class Writer:
    """Commits batches over its connection. Runs in one thread; tests make single steps of it fail."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(_WRITE["batch_view"])
        connection.execute(_WRITE["batch_trigger"])
        self._unknown: CommitUnknown | None = None

    def commit(self, steps: Sequence[Parcel | Single], term: int) -> None:
        """All or nothing, durable on return. Raises RolledBack, Refused, CommitUnknown or Fenced."""
        if self._unknown is not None:
            raise CommitUnknown(f"an earlier commit is unknown, start again ({self._unknown})")
        try:
            self._begin()
            for step in steps:
                if isinstance(step, Single):
                    self._write_single(step)
                else:
                    self._write(step, term)
        except Exception as error:
            self._roll_back(error)
            raise _translated(error) from error
        try:
            self._commit_transaction()
        except Exception as error:
            if _primary_code(error) in _NOT_COMMITTED:
                self._roll_back(error)
                raise _translated(error) from error
            self._give_up(error)

    def _begin(self) -> None:
        self._connection.execute(_WRITE["begin"])

    def _write(self, parcel: Parcel, term: int) -> None:
        self._connection.execute(_WRITE["write"], {**parcel, "term": term})

    def _write_single(self, single: Single) -> None:
        changed = self._connection.execute(_WRITE[single.name], single.parameters).rowcount
        if single.rows is not None and changed != single.rows:
            raise ValueError(f"{single.name} found {changed} rows")

    def _commit_transaction(self) -> None:
        self._connection.execute(_WRITE["commit"])

    def _rollback_transaction(self) -> None:
        self._connection.execute(_WRITE["rollback"])

    def _roll_back(self, cause: Exception) -> None:
        """SQLite has rolled back by itself after some errors; then there is no transaction left."""
        if not self._connection.in_transaction:
            return
        try:
            self._rollback_transaction()
        except Exception as error:  # noqa: BLE001 - whatever it is, the outcome is unknown
            self._give_up(error, f"rolling back after {cause!r} failed: {error!r}")

    def _give_up(self, error: Exception, why: str | None = None) -> NoReturn:
        self._unknown = CommitUnknown(why or f"COMMIT failed: {error!r}")
        raise self._unknown from error


def _translated(error: Exception) -> StoreError:
    """What a failure means that was rolled back for sure."""
    code = _primary_code(error)
    if str(error) == _FENCED:
        return Fenced("another coordinator rules this store: its term is newer")
    if code in _DATA or (code is None and isinstance(error, (ValueError, OverflowError, sqlite3.Error))):
        return Refused(f"the store will not take these writes: {error}")
    return RolledBack(f"nothing was written: {error}")
