"""What all our SQLite files have in common: a transaction of writing, and that nothing of what was deleted stays.

It owns no schema and no path, and never decides when.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing. Raises sqlite3.OperationalError where the disk or another writer does not allow it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def write_anew(db: sqlite3.Connection) -> None:
    """Without this, copies of what was deleted stay in the file, `secure_delete` or not.

    As rows come and go SQLite moves others from page to page, and what they leave behind in the free space of a page is
    not overwritten.
    """
    db.execute("VACUUM")


def empty_log(db: sqlite3.Connection) -> bool:
    """Of the write-ahead log, which has copies too, nothing is left; False while a reader is in the way: call again."""
    busy: int = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy
