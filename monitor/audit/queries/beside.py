"""DuckDB over the sealed files, with the rows of SQLite kept beside them in memory, and a moment of both to ask.

Owns the connection, its locks, and following SQLite from question to question: entries never change, so only new ones
are read. It knows no query by name, and not which files a question needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
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
_UNKNOWN = (
    "SELECT DISTINCT about FROM label WHERE about NOT IN (SELECT id FROM labelled) "
    "AND about NOT IN (SELECT id FROM unfound)"
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
        return [row[0] for row in self._db.execute(_UNKNOWN).fetchall()]

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

    def __init__(self, of: Beside, *, tables: bool = True) -> None:
        """tables: of files alone there is nothing to hold on to."""
        self._cursor = of.cursor()
        if tables:
            self._cursor.execute("BEGIN")
            self._cursor.execute("SELECT idx FROM hot LIMIT 1").fetchall()

    def run(self, asked: Asked, paths: Sequence[str], *, hot: bool = True) -> Rows:
        """Over these files. hot: and over the rows of SQLite."""
        return self._rows(*asked.duckdb(f"({_entries(paths, hot)})"))

    def run_labelled(self, asked: Asked) -> Rows:
        """Over the entries alone that have labels."""
        return self._rows(*asked.duckdb("labelled"))

    def unknown(self) -> bool:
        """Whether there are entries with labels that were not learnt yet."""
        return bool(self._cursor.execute(f"{_UNKNOWN} LIMIT 1").fetchall())

    def entries(
        self, asked: Asked, paths: Sequence[str], *, most: int, newest: bool = False
    ) -> Rows:
        """asked: of the query `entries`. At most so many; newest: those with the latest events."""
        text, values = asked.duckdb(f"({_entries(paths, hot=True)})")
        order = "ORDER BY time_ns DESC, idx DESC" if newest else ""
        text = text.replace("SELECT *", f"SELECT {_COUNTED}", 1).replace("ORDER BY idx", order)
        return self._rows(f"{text} LIMIT {most}", values)

    def places(self, asked: Asked, paths: Sequence[str], *, most: int) -> list[int]:
        """asked: as of `entries`. Positions in the log of at most so many, in these files, in no order."""
        text, values = asked.duckdb(f"({_entries(paths, hot=False)})")
        each = text.replace("SELECT *", "SELECT idx", 1).replace("ORDER BY idx", "")
        return [row[0] for row in self._rows(f"{each} LIMIT {most}", values).rows]

    def labels_of(self, ids: Sequence[bytes]) -> Rows:
        """What was said of these entries."""
        text = f"SELECT {_JUDGING} FROM label WHERE about IN (SELECT unnest($ids))"
        return self._rows(text, {"ids": list(ids)})

    def ids(self, asked: Asked, paths: Sequence[str], column: str) -> pa.ChunkedArray:
        """asked: of the query `entries`. The values of the column, in no order; without files of the rows of SQLite."""
        text, values = asked.duckdb(f"({_entries(paths, hot=not paths)})")
        each = text.replace("SELECT *", f"SELECT {column}", 1).replace("ORDER BY idx", "")
        found = self._cursor.sql(f"FROM ({each}) WHERE {column} IS NOT NULL", params=values)
        return found.to_arrow_table()[column]

    def _rows(self, text: str, values: Mapping[str, Any]) -> Rows:
        self._cursor.execute(text, values)
        description = self._cursor.description or []
        return Rows(tuple(column[0] for column in description), self._cursor.fetchall())

    def close(self) -> None:
        self._cursor.close()


def listed(paths: Sequence[str]) -> str:
    """As DuckDB reads a list of texts, whatever is in them."""
    return "[" + ", ".join("'" + path.replace("'", "''") + "'" for path in paths) + "]"


def rows_in(paths: Sequence[str]) -> str:
    """These files and no others: a `*`, `?` or `[` in a name would stand for those beside it too."""
    return f"read_parquet({listed([escape(path) for path in paths])})"


def _entries(paths: Sequence[str], hot: bool) -> str:
    names = _COUNTED if hot else _COLUMNS
    each = [f"SELECT {names} FROM {rows_in(paths)}"] if paths else []
    if hot or not paths:
        each.append(f"SELECT {_COUNTED} FROM hot")
    return " UNION ALL ".join(each)
