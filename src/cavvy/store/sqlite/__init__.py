"""The store in one SQLite file.

`store.py` is the asyncio face; `writer.py` owns the only read-write connection and commits what `batch.py` packs of the
writes; `reader.py` answers reads, those of single jobs gathered by `grouped.py`. `files.py` holds the directory,
`connection.py` opens and migrates; all SQL is in `queries/` and `migrations/`.
"""

from cavvy.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
