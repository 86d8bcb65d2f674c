"""Few entries of one moment in memory, with what was said of them.

Owns a database of SQLite: of an answer about a handful of rows DuckDB's planning would be nearly all. It opens no file.
"""

from __future__ import annotations

import sqlite3
from typing import Any
from zoneinfo import ZoneInfo

from dosimeter.monitor.audit.queries.beside import Rows
from dosimeter.monitor.audit.queries.by_day import by_day
from dosimeter.monitor.audit.queries.named_queries import JUDGED, query_named


class Few:
    """Of one thread. It takes queries as they are, without filters of their own: what is here was looked for."""

    def __init__(self, entries: Rows, labels: Rows) -> None:
        """labels: on these entries, and with the columns that the query `judged` takes."""
        self._db = sqlite3.connect(":memory:")
        for name, rows in (("entry", entries), ("label", labels)):
            self._db.execute(f"CREATE TABLE {name} ({', '.join(rows.columns)})")
            places = ", ".join("?" * len(rows.columns))
            self._db.executemany(f"INSERT INTO {name} VALUES ({places})", rows.rows)
        self._db.execute(f"CREATE VIEW judged AS {JUDGED}")
        at = entries.columns.index("time_ns")
        each = [row[at] for row in entries.rows]
        self._times = (min(each), max(each)) if each else (0, 0)

    def run(self, name: str, **given: Any) -> Rows:
        text, values = query_named(name).asked(given).sqlite()
        cursor = self._db.execute(text, values)
        return Rows(tuple(column[0] for column in cursor.description), cursor.fetchall())

    def by_day(self, name: str, zone: ZoneInfo, **given: Any) -> Rows:
        return by_day(self.run, self._times, name, zone, given)
