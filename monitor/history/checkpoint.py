"""Moving the write-ahead log into the database, on a thread of its own.

By default SQLite does this inside whichever commit makes the log long, and that commit then waits for a
second round of disk writes: it is what sets the slowest commits. It knows nothing of what is stored.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

INTERVAL_S = 0.25
WORTH_BYTES = 1 << 20
"""A log shorter than this is left alone."""

FALLBACK_PAGES = 8000
"""The writer does it itself at about 32 MB: so far the log grows when this thread cannot keep up."""


class Checkpointer:
    """Runs from `start` to `close`. Passive: it never holds up the writer or a reader."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-checkpoint", daemon=True)

    def start(self) -> Checkpointer:
        self._thread.start()
        return self

    def _run(self) -> None:
        log = self._path.with_name(self._path.name + "-wal")
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = FULL")  # on disk before the log is used again
            while not self._stop.wait(INTERVAL_S):
                # A failure here costs nothing: the records are in the log, and the writer will notice.
                with contextlib.suppress(sqlite3.Error, OSError):
                    if log.stat().st_size > WORTH_BYTES:
                        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
