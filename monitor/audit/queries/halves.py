"""The two halves of history as one reader has them: SQLite, open to read, and the sealed files that it names.

Owns the connection, its lock, and moments: the list of sealed files and the rows beside them are read in one
transaction, so an entry that is being sealed is seen once. It knows no query by name.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dosimeter.monitor.audit.queries.beside import ENTRY, FEW, LABEL, Beside, Rows
from dosimeter.monitor.audit.queries.bounds import Bounds
from dosimeter.monitor.audit.queries.named_queries import JUDGED, Asked
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, Segment


class Halves:
    """What is here is used inside `reading`, where one thread is at a time; `paths` anywhere."""

    def __init__(self, folder: HistoryFolder) -> None:
        """Raises StoreError, StoreStalled."""
        self.folder = folder
        self.hot = HotStore(folder.hot, read_only=True)
        self._lock = threading.Lock()
        views = {"entry": ENTRY, "few": FEW, "label": LABEL, "judged": JUDGED}
        for view, text in views.items():
            self.hot.db.execute(f"CREATE TEMP VIEW {view} AS {text}")
        self._beside: Beside | None = None

    @property
    def beside(self) -> Beside:
        """Made for the first who asks: most open a history and need SQLite alone, and DuckDB takes longer to start
        than that takes to answer."""
        if self._beside is None:
            self._beside = Beside()
        return self._beside

    @contextmanager
    def reading(self) -> Iterator[list[Segment]]:
        """What is read in here is of one moment. Gives the sealed ranges of that moment."""
        with self._lock:
            self.hot.db.execute("BEGIN")
            try:
                yield self.hot.segments()
            finally:
                self.hot.db.execute("ROLLBACK")

    def in_sqlite(self, asked: Asked, entries: str = "entry") -> Rows:
        """Of what is in SQLite alone. entries: the view to ask."""
        text, values = asked.sqlite(entries)
        cursor = self.hot.db.execute(text, values)
        return Rows(tuple(column[0] for column in cursor.description), cursor.fetchall())

    def any_hot(self, bounds: Bounds) -> bool:
        """So that a question about last March reads nothing of today's rows."""
        found = self.hot.db.execute(
            "SELECT 1 FROM entry WHERE time_ns >= ? AND time_ns < ? LIMIT 1",
            (bounds.from_ns, bounds.to_ns),
        )
        return found.fetchone() is not None

    def times(self, segments: Sequence[Segment]) -> tuple[int, int]:
        """Of the first and of the last event of all; (0, 0) of none."""
        each = ("SELECT min(time_ns) FROM main.entry", "SELECT max(time_ns) FROM main.entry")
        low, high = (self.hot.db.execute(one).fetchone()[0] for one in each)
        there = [s for s in segments if not s.gone]
        lows = [s.from_ns for s in there] + ([] if low is None else [low])
        highs = [s.to_ns for s in there] + ([] if high is None else [high])
        return (min(lows), max(highs)) if lows else (0, 0)

    def paths(self, segments: Sequence[Segment]) -> list[str]:
        return [str(self.folder.core / s.core) for s in segments]

    def close(self) -> None:
        with self._lock:
            self.hot.close()
            if self._beside is not None:
                self._beside.close()


def gone_of(segments: Sequence[Segment]) -> frozenset[int]:
    """The files whose time is over, by their first positions."""
    return frozenset(one.first for one in segments if one.gone)
