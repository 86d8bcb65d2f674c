"""DuckDB over the sealed files, with the rows of SQLite kept beside them in memory, and a moment of both to ask.

Owns the connection, its locks, and following SQLite from question to question: entries never change, so only new ones
are read. It knows no query by name, and not which files a question needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from dosimeter.monitor.audit.queries.named_queries import JUDGED, Asked
from dosimeter.monitor.audit.store.columns import NAMES
from dosimeter.monitor.audit.store.hot import HotStore, Segment
from dosimeter.monitor.audit.store.sealed_file import CORE, core_batch

MEMORY = "1GB"
THREADS = 2
_COLUMNS = f"idx, {', '.join(NAMES)}"
_COUNTED = (
    "idx, id, kind, time_ns, source, tenant, subject, conversation, decision, value_sum, value_n, terms, "
    "rule, feature, status, severity, shape, level, threshold_code"
)
"""What counts and lists need of the rows of SQLite: reading them is most of the time of a first question."""
OF_LABELLED = "idx, id, kind, time_ns, source, tenant, subject, conversation, decision, rule, feature, status, severity"
"""What counts of verdicts and their filters need."""
_JUDGING = "idx, about, actor, verdict"
ENTRY = f"SELECT {_COLUMNS} FROM main.entry"  # without the leaf
LABEL = (
    f"SELECT {_COLUMNS} FROM main.entry INDEXED BY entry_label "
    "WHERE kind = 'label' AND about IS NOT NULL "
    f"UNION ALL SELECT {_COLUMNS} FROM main.sealed_few WHERE kind = 'label' AND about IS NOT NULL"
)
_NEW_LABELS = " UNION ALL ".join(
    f"SELECT {_JUDGING} FROM main.{table} NOT INDEXED "
    "WHERE idx >= ?1 AND kind = 'label' AND about IS NOT NULL"
    for table in ("sealed_few", "entry")
)
_NEW_ENTRIES = f"SELECT {_COUNTED} FROM main.entry WHERE idx >= ?1"
FEW = f"{ENTRY} UNION ALL SELECT {_COLUMNS} FROM main.sealed_few"
"""All entries but sealed alerts and evidence."""
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
        self._db.execute(f"CREATE TABLE labelled AS SELECT {OF_LABELLED} FROM none")
        self._db.execute("CREATE TABLE unfound (id BLOB)")
        self._db.execute(f"CREATE VIEW judged AS {JUDGED}")
        self._next, self._next_label, self._past = 0, 0, 0
        self._gone: set[int] = set()  # files whose time is over, by their first positions

    def follow(
        self, hot: HotStore, segments: Sequence[Segment], *, entries: bool, labels: bool
    ) -> None:
        """Call it inside a reading transaction of `hot`."""
        past = segments[-1].past if segments else 0
        gone = {s.first: s.past for s in segments if s.gone}
        if past != self._past:
            self._db.execute(f"CREATE OR REPLACE TABLE hot AS FROM hot WHERE idx >= {past}")
            self._past = past
        for first in gone.keys() - self._gone:
            for table in ("label", "labelled"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE idx >= {first} AND idx < {gone[first]}"
                )
        self._gone = set(gone)
        if labels:
            at = self._next_label
            self._next_label = self._read(hot, _NEW_LABELS, at, _JUDGING, into="label")
        if entries:
            at = max(self._next, past)
            self._next = self._read(hot, _NEW_ENTRIES, at, _COUNTED, into="hot")

    def unknown(self) -> list[bytes]:
        """Entries that have labels and were not learnt yet. Call it after `follow` with labels."""
        text = (
            "SELECT DISTINCT about FROM label WHERE about NOT IN (SELECT id FROM labelled) "
            "AND about NOT IN (SELECT id FROM unfound)"
        )
        return [row[0] for row in self._db.execute(text).fetchall()]

    def _read(self, hot: HotStore, new: str, at: int, names: str, *, into: str) -> int:
        """The position after the last row read."""
        cursor = hot.db.execute(f"{new} ORDER BY idx", (at,))
        self._db.execute("BEGIN")
        try:
            while rows := cursor.fetchmany(_ROWS):
                self._db.register("batch", core_batch(rows, names.split(", ")))
                self._db.execute(f"INSERT INTO {into} FROM batch")
                self._db.unregister("batch")
                at = int(rows[-1][0]) + 1
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        return at

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._db.cursor()

    def close(self) -> None:
        self._db.close()


class Snapshot:
    """One moment of DuckDB's tables; made while nobody changes them, used after."""

    def __init__(self, of: Beside, *, beside: bool) -> None:
        self.beside = beside
        self._cursor = of.cursor()
        self._cursor.execute("BEGIN")
        self._cursor.execute("SELECT idx FROM hot LIMIT 1").fetchall()

    def run(self, asked: Asked, paths: Sequence[str]) -> Rows:
        """Over these files, and the rows of SQLite where they were asked for."""
        return self._over(asked, f"({self._entries(paths)})")

    def run_labelled(self, asked: Asked) -> Rows:
        """Over the entries alone that have labels."""
        return self._over(asked, "labelled")

    def narrow(self, asked: Asked, paths: Sequence[str]) -> None:
        """Keep what is asked for, for `run_narrowed`: one look at the files for several questions."""
        text, values = asked.duckdb(f"({self._entries(paths)})")
        narrowed = text.replace("SELECT *", f"SELECT {_COUNTED}", 1)
        self._cursor.execute(f"CREATE OR REPLACE TEMP TABLE narrowed AS {narrowed}", values)

    def run_narrowed(self, asked: Asked) -> Rows:
        return self._over(asked, "narrowed")

    def ids(self, asked: Asked, paths: Sequence[str], column: str) -> pa.ChunkedArray:
        """asked: of the query `entries`. The values of the column, in no order."""
        text, values = asked.duckdb(f"({self._entries(paths)})")
        each = text.replace("SELECT *", f"SELECT {column}", 1).replace("ORDER BY idx", "")
        found = self._cursor.sql(f"FROM ({each}) WHERE {column} IS NOT NULL", params=values)
        return found.to_arrow_table()[column]

    def _entries(self, paths: Sequence[str]) -> str:
        names = _COUNTED if self.beside else _COLUMNS
        each = [f"SELECT {names} FROM read_parquet({list(paths)!r})"] if paths else []
        if self.beside or not paths:
            each.append(f"SELECT {_COUNTED} FROM hot")
        return " UNION ALL ".join(each)

    def _over(self, asked: Asked, entries: str) -> Rows:
        text, values = asked.duckdb(entries)
        self._cursor.execute(text, values)
        description = self._cursor.description or []
        return Rows(tuple(column[0] for column in description), self._cursor.fetchall())

    def close(self) -> None:
        self._cursor.close()
