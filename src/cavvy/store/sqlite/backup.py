"""A copy of the database while somebody writes it, and what makes a copy a store of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cavvy.errors import BackupError
from cavvy.store.sqlite import queries
from cavvy.store.sqlite.connection import check_version

__all__ = ["Copied", "adopt", "copy_database"]

_OPEN = queries.load("open")


class Copied(NamedTuple):
    """What is in a copy."""

    store_id: str
    schema: int
    jobs: int
    live: int
    key_ids: frozenset[str]


def copy_database(source: Path, target: Path) -> Copied:
    """Writes one state of `source` to the new file `target`, durably; a coordinator may go on writing meanwhile.

    Only reads, and never checkpoints: that is the writer's alone. What was deleted or erased is not in the copy. Raises
    BackupError.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with _reading(source) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
        _sync(target)
        with _reading(target) as connection:
            return _look(connection)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{source} cannot be copied to {target.parent}: {error}") from error


def adopt(path: Path) -> Copied:
    """Makes the copy a store of its own: workers of the one it was copied from hold nothing of this one.

    Raises BackupError for a damaged copy, SchemaTooNew for one of a newer Cavvy.
    """
    try:
        check_version(path)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            ((found,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
            if found != "ok":
                raise BackupError(f"{path} is damaged ({found}); take another backup")
            connection.execute(_OPEN["rename_store"], {"store_id": secrets.token_hex(16)})
            return _look(connection)
    except sqlite3.Error as error:
        raise BackupError(f"{path} is no database of a coordinator ({error}); take another backup") from error
    finally:
        with contextlib.suppress(OSError):
            _sync(path)


def _look(connection: sqlite3.Connection) -> Copied:
    ((schema,),) = connection.execute(_OPEN["user_version"]).fetchall()
    ((store_id, jobs, live),) = connection.execute(_OPEN["summary"]).fetchall()
    key_ids = frozenset(key_id.decode() for (key_id,) in connection.execute(_OPEN["key_ids"]))
    return Copied(store_id, schema, jobs, live, key_ids)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
