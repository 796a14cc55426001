"""Connections to the database file: pragmas, the schema's migrations and the store's own row."""

from __future__ import annotations

import secrets
import sqlite3
from importlib import resources
from pathlib import Path

from cavvy import defaults
from cavvy.errors import SchemaTooNew
from cavvy.store.base import Opened
from cavvy.store.sqlite import queries

__all__ = ["check_version", "connect_reader", "connect_writer", "migrate", "open_term"]

_OPEN = queries.load("open")
#: What a statement needs to be undone, or to sort, holds texts: it stays out of the machine's temporary directory.
_IN_MEMORY = "PRAGMA temp_store = MEMORY"
_WRITER_PRAGMAS = (
    f"PRAGMA busy_timeout = {defaults.SQLITE_BUSY_TIMEOUT_MS}",
    _IN_MEMORY,
    "PRAGMA auto_vacuum = INCREMENTAL",  # before anything is written to a new file: later it changes nothing
    "PRAGMA secure_delete = ON",  # what is deleted is overwritten: erased texts are not in the file
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = 1",
    "PRAGMA checkpoint_fullfsync = 1",
    f"PRAGMA wal_autocheckpoint = {defaults.SQLITE_CHECKPOINT_PAGES}",
    f"PRAGMA cache_size = -{defaults.SQLITE_CACHE_KIB}",
)
_READER_PRAGMAS = (
    f"PRAGMA busy_timeout = {defaults.SQLITE_BUSY_TIMEOUT_MS}",
    _IN_MEMORY,
    "PRAGMA query_only = ON",
    "PRAGMA wal_autocheckpoint = 0",
)


def connect_writer(path: Path) -> sqlite3.Connection:
    """The only connection that writes and checkpoints. Transactions are begun and ended by hand."""
    return _connect(path, _WRITER_PRAGMAS)


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that can neither write nor checkpoint."""
    return _connect(path, _READER_PRAGMAS)


def _connect(path: Path, pragmas: tuple[str, ...]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in pragmas:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrations() -> list[str]:
    """The scripts in order; after the Nth the schema has version N."""
    folder = resources.files("cavvy.store.sqlite") / "migrations"
    scripts = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return [script.read_text(encoding="utf-8") for script in scripts]


def check_version(path: Path) -> None:
    """Raises SchemaTooNew for a file of a newer Cavvy. Looks without writing, not even a checkpoint."""
    if not path.exists() or path.stat().st_size == 0:
        return
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        (version,) = connection.execute(_OPEN["user_version"]).fetchone()
    finally:
        connection.close()
    known = len(_migrations())
    if version > known:
        raise SchemaTooNew(
            f"{path} has schema version {version}, this Cavvy knows up to {known}: "
            "start the newer Cavvy that wrote it, or choose another data directory with --data-dir"
        )


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the schema to the newest version, each step in a transaction of its own."""
    (version,) = connection.execute(_OPEN["user_version"]).fetchone()
    for number, script in enumerate(_migrations()[version:], start=version + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise


def open_term(connection: sqlite3.Connection) -> Opened:
    """Raises the term, durably, and reads where the counters stand. Empties a log that was left."""
    connection.execute(_OPEN["empty_log"]).fetchall()
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_OPEN["new_store"], {"store_id": secrets.token_hex(16)})
        ((store_id, term),) = connection.execute(_OPEN["raise_term"]).fetchall()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise
    (last_seq,) = connection.execute(_OPEN["last_seq"]).fetchone()
    last_number: dict[str, int] = {}
    for tenant, number in connection.execute(_OPEN["last_numbers"]):
        last_number[tenant.decode()] = max(number, last_number.get(tenant.decode(), 0))
    return Opened(store_id=store_id, term=term, last_seq=last_seq, last_number=last_number)
