"""What a failure of SQLite means: which of the store's errors it is."""

from __future__ import annotations

import sqlite3

import msgspec

from cavvy.errors import Fenced, Refused, RolledBack, StoreDamaged, StoreError

__all__ = ["NOT_COMMITTED", "UNFIT", "primary_code", "rolled_back", "unreadable"]

#: Primary result codes with which COMMIT leaves the transaction open: nothing reached the log.
NOT_COMMITTED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY})

#: Primary result codes that a disk, a lock or memory gives, and that may be over at the next try.
_PASSING = NOT_COMMITTED | {
    sqlite3.SQLITE_ABORT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_SCHEMA,
}

#: Primary result codes that say that the file is not what was written.
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_NOTADB})

#: What reading raises when SQLite gives back what nobody has written.
UNFIT = (msgspec.DecodeError, ValueError, KeyError)

#: What the trigger raises when the store's term is not the writer's.
_FENCED = "fenced"

_RESTORE = "stop here, check the disk, and go on with a backup: `cavvy restore`"


def primary_code(error: BaseException) -> int | None:
    """SQLite's result code without its details; None for what did not come from it."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def rolled_back(error: Exception) -> StoreError:
    """What a failure means that was rolled back for sure.

    Whatever is not known to pass is the fault of the writes, or of the schema: trying the same again would never end.
    """
    code = primary_code(error)
    if str(error) == _FENCED:
        return Fenced("another coordinator rules this store: its term is newer")
    if code in _DAMAGED:
        return StoreDamaged(f"the database is damaged ({error}): {_RESTORE}")
    if code in _PASSING or (code is None and isinstance(error, (OSError, MemoryError))):
        return RolledBack(f"nothing was written: {error}")
    return Refused(f"the store will not take these writes: {error}")


def unreadable(error: Exception) -> Exception:
    """What it means that the jobs cannot be read: StoreDamaged, or the error itself if it may pass."""
    if _is_no_text(error):
        return StoreDamaged(f"the database cannot be read (what should be text is none): {_RESTORE}")
    if isinstance(error, UNFIT) or primary_code(error) in _DAMAGED | {sqlite3.SQLITE_ERROR}:
        return StoreDamaged(f"the database cannot be read ({error}): {_RESTORE}")
    return error


def _is_no_text(error: Exception) -> bool:
    """Python, not SQLite, could not read a column; its message holds the whole of it."""
    return isinstance(error, UnicodeDecodeError) or (
        isinstance(error, sqlite3.OperationalError) and primary_code(error) is None
    )
