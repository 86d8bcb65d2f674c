"""Which requests were written already, or given up, however many a topic holds: on disk, in bounded memory.

A sidecar may send a request again at any time after it did, and into another partition where some were added, so
neither positions nor times tell a second sending; nothing is forgotten here. The file has no name, and goes with us.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

WRITTEN = -1
"""In the place of how many tokens of a request were given up."""
CACHE_KB = 64 << 10
"""Of the file in memory."""
MAKE = "CREATE TABLE request (id BLOB PRIMARY KEY, lost INTEGER) WITHOUT ROWID"
FIND, PUT = "SELECT lost FROM request WHERE id = ?", "INSERT OR REPLACE INTO request VALUES (?, ?)"


class Seen:
    """Use it from one thread."""

    def __init__(self, folder: Path) -> None:
        """folder: on whose disk it is. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, path = folder, folder / "seen.db"
        with self._telling():
            self._db = sqlite3.connect(path, isolation_level=None)
            # One transaction that never ends: whoever is killed begins anew, in a new folder.
            for line in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KB}"):
                self._db.execute(f"PRAGMA {line}")
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute(MAKE)
        path.unlink()

    def get(self, identity: tuple[int | str, ...]) -> int | None:
        """WRITTEN, or tokens that were given up; None: it is new. Raises OSError."""
        with self._telling():
            row = self._db.execute(FIND, (_id(identity),)).fetchone()
        return None if row is None else int(row[0])

    def put(self, identity: tuple[int | str, ...], lost: int) -> None:
        """Raises OSError: the disk is full."""
        with self._telling():
            self._db.execute(PUT, (_id(identity), lost))

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OSError(f"{self._folder}: which requests came cannot be kept: {error}") from error


def _id(identity: tuple[int | str, ...]) -> bytes:
    """16 bytes for names that may be anybody's, and of any length."""
    return blake2b(repr(identity).encode(), digest_size=16).digest()
