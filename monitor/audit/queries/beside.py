"""DuckDB over the sealed files, with the rows of SQLite kept beside them in memory, and a moment of both to ask.

Owns the connection, its locks, and following SQLite from question to question: entries never change, so only new ones
are read. It knows no query by name, and not which files a question needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from dosimeter.monitor.audit.queries.named_queries import JUDGED, Asked
from dosimeter.monitor.audit.store.columns import NAMES
from dosimeter.monitor.audit.store.hot import HotStore, Segment
from dosimeter.monitor.audit.store.sealed_file import CORE, core_batch

MEMORY = "1GB"
THREADS = 2
_COLUMNS = f"idx, {', '.join(NAMES)}"
_COUNTED = (
    "idx, id, kind, time_ns, source, tenant, subject, conversation, decision, value_sum, value_n, terms, "
    "rule, feature, status, severity"
)
"""What queries that count need of the rows of SQLite: reading them is most of the time of a first question."""
_JUDGING = "idx, about, actor, verdict"
ENTRY = f"SELECT {_COLUMNS} FROM main.entry"  # without the leaf
LABEL = (
    f"SELECT {_COLUMNS} FROM main.entry INDEXED BY entry_label "
    "WHERE kind = 'label' AND about IS NOT NULL "
    f"UNION ALL SELECT {_COLUMNS} FROM main.sealed_label"
)
_ROWS = 20_000

SETTINGS = (
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET temp_directory = ''",
    "SET preserve_insertion_order = false",
    "SET parquet_metadata_cache = true",
)
"""No extension, nothing of our own variables by name, no file but those of history."""


@dataclass(frozen=True, slots=True)
class Rows:
    """An answer: ids and hashes as bytes, times in ns of UTC."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Beside:
    """The rows of SQLite as DuckDB has them, in memory: followed from query to query, since they never change."""

    def __init__(self) -> None:
        self._db = duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY})
        for setting in SETTINGS:
            self._db.execute(setting)
        self._db.register("none", CORE.empty_table())
        self._db.execute(f"CREATE TABLE hot AS SELECT {_COUNTED} FROM none")
        self._db.execute(f"CREATE TABLE label AS SELECT {_JUDGING} FROM none")
        self._db.execute(f"CREATE VIEW judged AS {JUDGED}")
        self._next, self._next_label, self._past, self._gone = 0, 0, 0, 0

    def follow(
        self, hot: HotStore, segments: Sequence[Segment], *, entries: bool, labels: bool
    ) -> None:
        """Call it inside a reading transaction of `hot`."""
        past = segments[-1].past
        gone = max((s.past for s in segments if s.gone), default=0)
        if past != self._past:
            self._db.execute(f"CREATE OR REPLACE TABLE hot AS FROM hot WHERE idx >= {past}")
            self._past = past
        if gone != self._gone:
            self._db.execute(f"CREATE OR REPLACE TABLE label AS FROM label WHERE idx >= {gone}")
            self._gone = gone
        if labels:
            self._next_label = self._read(hot, "label", self._next_label, _JUDGING, into="label")
        if entries:
            self._next = self._read(hot, "entry", max(self._next, past), _COUNTED, into="hot")

    def _read(self, hot: HotStore, view: str, at: int, names: str, *, into: str) -> int:
        """The position after the last row read."""
        query = f"SELECT {names} FROM {view} WHERE idx >= ? ORDER BY idx"
        cursor = hot.db.execute(query, (at,))
        while rows := cursor.fetchmany(_ROWS):
            self._db.register("batch", core_batch(rows, names.split(", ")))
            self._db.execute(f"INSERT INTO {into} FROM batch")
            self._db.unregister("batch")
            at = int(rows[-1][0]) + 1
        return at

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._db.cursor()

    def close(self) -> None:
        self._db.close()


class Snapshot:
    """One moment of DuckDB's tables; made while nobody changes them, used after."""

    def __init__(self, of: Beside, *, beside: bool) -> None:
        self._beside = beside
        self._cursor = of.cursor()
        self._cursor.execute("BEGIN")
        self._cursor.execute("SELECT idx FROM hot LIMIT 1")

    def run(self, asked: Asked, paths: list[str]) -> Rows:
        names = _COUNTED if self._beside else _COLUMNS
        entries = f"SELECT {names} FROM read_parquet({paths!r})"
        if self._beside:
            entries += f" UNION ALL SELECT {names} FROM hot"
        self._cursor.execute(f"CREATE OR REPLACE TEMP VIEW entry AS {entries}")
        text, values = asked.duckdb()
        self._cursor.execute(text, values)
        description = self._cursor.description or []
        return Rows(tuple(column[0] for column in description), self._cursor.fetchall())

    def close(self) -> None:
        self._cursor.close()
