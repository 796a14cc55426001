"""The one place that writes: a batch is one transaction, and a failure is one of five."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import NoReturn

from cavvy import defaults
from cavvy.errors import CommitUnknown, RolledBack
from cavvy.store.sqlite import queries
from cavvy.store.sqlite.batch import Parcel, parcels
from cavvy.store.sqlite.failures import NOT_COMMITTED, primary_code, rolled_back
from cavvy.store.sqlite.singles import Single

__all__ = ["Writer"]

_WRITE = queries.load("write")
_OPEN = queries.load("open")


class Writer:
    """Commits batches over its connection. Runs in one thread; tests make single steps of it fail."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute(_WRITE["batch_view"])
        connection.execute(_WRITE["batch_trigger"])
        self._unknown: CommitUnknown | None = None

    def commit(self, steps: Sequence[Parcel | Single], term: int) -> None:
        """All or nothing, durable on return. Raises one of StoreError."""
        self._transact(lambda: self._write_all(steps, term))

    def scrub(self, term: int) -> bool:
        """Gives free space back, a piece at a time, and empties the log; False when that has to be tried again.

        Raises CommitUnknown, Fenced or StoreDamaged.
        """
        pages = self._surplus()
        if pages:
            try:
                self._transact(lambda: self._vacuum(term, pages))
            except RolledBack:
                return False
        try:
            ((in_the_way, _, _),) = self._connection.execute(_OPEN["empty_log"]).fetchall()
        except sqlite3.Error:  # a full disk, say: the log stays as it is
            return False
        return not in_the_way and self._surplus() == 0

    def _surplus(self) -> int:
        """How many pages to give back now: if very many are free, a piece of them."""
        ((free,),) = self._connection.execute(_OPEN["free_pages"]).fetchall()
        ((pages,),) = self._connection.execute(_OPEN["pages"]).fetchall()
        much = free > defaults.VACUUM_FREE_PAGES and free > pages // 4
        return min(free, defaults.VACUUM_PAGES) if much else 0

    def _vacuum(self, term: int, pages: int) -> None:
        self._write_all(parcels([]), term)  # nothing but the check of the term
        self._connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()

    def _write_all(self, steps: Sequence[Parcel | Single], term: int) -> None:
        for step in steps:
            if isinstance(step, Single):
                self._write_single(step)
            else:
                self._write(step, term)

    def _transact(self, work: Callable[[], None]) -> None:
        if self._unknown is not None:
            raise CommitUnknown(f"an earlier commit is unknown, start again ({self._unknown})")
        try:
            self._begin()
            work()
        except Exception as error:
            self._roll_back(error)
            raise rolled_back(error) from error
        try:
            self._commit_transaction()
        except Exception as error:
            if primary_code(error) in NOT_COMMITTED:
                self._roll_back(error)
                raise rolled_back(error) from error
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
