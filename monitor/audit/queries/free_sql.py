"""An auditor's own SQL over history: one question that only reads, in a database that can do nothing else.

Owns the views and the locks. A question is parsed before it runs, and refused unless it is one SELECT over these views
and functions that make rows out of nothing; behind that DuckDB itself is shut off from files, extensions and settings.
Evidence is in no view. It knows no names, and writes no entry of this access: whoever calls it does, before.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import escape
from typing import Any

import duckdb

from dosimeter.detectors.findings import visible
from dosimeter.monitor.audit.queries.beside import MEMORY, SETTINGS, THREADS, listed, rows_in
from dosimeter.monitor.audit.queries.named_queries import JUDGED
from dosimeter.monitor.audit.store.columns import NAMES
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.audit.store.sealed_file import CORE, core_batch
from dosimeter.monitor.history.named_sql import load_sql

MAX_TEXT = 100_000
MAX_ANSWER = 1 << 30
"""Characters and bytes of an answer: its rows lie in this process, which DuckDB's own limit does not count."""
VIEWS = load_sql("dosimeter.monitor.audit.queries", "free_sql.sql")
_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""Parts of a question that only read."""
_ROWS_FROM_NOTHING = frozenset({"range", "generate_series", "unnest"})
_COLUMNS = f"idx, {', '.join(NAMES)}"
_BATCH = 20_000
_AT_ONCE = 256


class SqlRefused(ValueError):
    """Not one SELECT over the views, or not SQL; the text says what."""


class SqlStopped(RuntimeError):
    """It took longer, or more memory, than it may."""


@dataclass(frozen=True, slots=True)
class Answer:
    """types: as DuckDB names them. cut: there are more rows than were asked for."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    cut: bool


def run_sql(
    folder: HistoryFolder, text: str, *, zone: str = "UTC", max_rows: int = 10_000, seconds: float = 60
) -> Answer:  # fmt: skip
    """Raises SqlRefused, SqlStopped, StoreError, StoreStalled. zone: IANA name, in which times are given."""
    db = duckdb.connect(config={"threads": THREADS, "memory_limit": MEMORY})
    watch = threading.Timer(seconds, db.interrupt)
    watch.daemon = True
    try:
        _check(db, text)
        _open(db, folder, zone)
        watch.start()
        cursor = db.execute(text)
        rows = _rows(cursor, max_rows + 1)
        about = cursor.description or []
        return Answer(
            tuple(_apart([str(column[0]) for column in about])),
            tuple(str(column[1]) for column in about),
            rows[:max_rows],
            len(rows) > max_rows,
        )
    except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
        what = (
            f"after {seconds:g} s" if isinstance(error, duckdb.InterruptException) else "by memory"
        )
        hint = "ask for fewer columns, or a shorter time: `WHERE time_ns >= …`"
        raise SqlStopped(f"stopped {what}\n  hint: {hint}") from error
    except duckdb.Error as error:
        raise SqlRefused(visible(str(error))) from error
    finally:
        watch.cancel()
        db.close()


def _rows(cursor: duckdb.DuckDBPyConnection, most: int) -> list[tuple[Any, ...]]:
    """Raises OutOfMemoryException."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    while len(rows) < most and (some := cursor.fetchmany(min(_AT_ONCE, most - len(rows)))):
        rows += some
        size += sum(len(v) for row in some for v in row if isinstance(v, str | bytes))
        if size > MAX_ANSWER:
            raise duckdb.OutOfMemoryException
    return rows


def _apart(names: list[str]) -> list[str]:
    """Of two columns of one name the second is another: by name, as in JSON, one would be lost."""
    found: list[str] = []
    for name in names:
        other, n = name, 1
        while other in found or (n > 1 and other in names):
            n += 1
            other = f"{name}_{n}"
        found.append(other)
    return found


def _open(db: duckdb.DuckDBPyConnection, folder: HistoryFolder, zone: str) -> None:
    """The views over one moment of history; from then on nothing else can be reached."""
    for setting in SETTINGS:
        db.execute(setting)
    db.execute(f"SET TimeZone = '{zone.replace(chr(39), '')}'")
    db.register("none", CORE.empty_table())
    db.execute("CREATE TABLE hot AS FROM none")
    db.execute("CREATE TABLE label AS FROM none")
    with HotStore(folder.hot, read_only=True) as hot:
        hot.db.execute("BEGIN")
        files = [str(folder.core / s.core) for s in hot.segments() if not s.gone]
        _copy(db, hot, "entry", into="hot")
        _copy(db, hot, "sealed_few WHERE kind = 'label' AND about IS NOT NULL", into="label")
    db.unregister("none")
    db.execute("INSERT INTO label FROM hot WHERE kind = 'label' AND about IS NOT NULL")
    sealed = f"SELECT {_COLUMNS} FROM {rows_in(files)} UNION ALL " if files else ""
    db.execute(f"CREATE VIEW entry AS {sealed}SELECT {_COLUMNS} FROM hot")
    db.execute(f"CREATE VIEW judged AS {JUDGED}")
    for name in VIEWS.names():
        db.execute(f"CREATE VIEW {name} AS {VIEWS[name]}")
    # As they are named, and as `rows_in` writes them.
    db.execute(f"SET allowed_paths = {listed([*files, *map(escape, files)])}")
    db.execute("SET enable_external_access = false")
    db.execute("SET lock_configuration = true")


def _copy(db: duckdb.DuckDBPyConnection, hot: HotStore, table: str, *, into: str) -> None:
    cursor = hot.db.execute(f"SELECT {_COLUMNS} FROM {table} ORDER BY idx")
    while rows := cursor.fetchmany(_BATCH):
        db.register("batch", core_batch(rows))
        db.execute(f"INSERT INTO {into} FROM batch")
        db.unregister("batch")


def _check(db: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raises SqlRefused."""
    if len(text) > MAX_TEXT:
        raise SqlRefused(f"{len(text)} characters of SQL; at most {MAX_TEXT}")
    statements = db.extract_statements(text)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        found = ", ".join(str(one.type).rpartition(".")[2] for one in statements) or "nothing"
        raise SqlRefused(f"one SELECT is needed, this is: {found}")
    row = db.execute("SELECT json_serialize_sql(CAST(? AS VARCHAR))", [text]).fetchone()
    try:
        tree = json.loads(row[0]) if row else {"error": True}
    except RecursionError:
        hint = "write a long sum or chain of operators in several parts"
        raise SqlRefused(f"it is nested too deeply\n  hint: {hint}") from None
    if tree.get("error"):
        raise SqlRefused(f"one SELECT is needed: {visible(str(tree.get('error_message', '')))}")
    parts = list(_parts(tree["statements"]))
    own = {str(one["key"]) for part in parts for one in _named(part)}
    for part in parts:
        _allow(part, own)


def _allow(part: Mapping[str, Any], own: set[str]) -> None:
    kind = part.get("type")
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _NODES:
        raise SqlRefused(f"a question only reads; this has {kind.removesuffix('_NODE').lower()}")
    if kind == "BASE_TABLE":
        name, of = str(part.get("table_name")), part.get("schema_name") or part.get("catalog_name")
        if of or (name.lower() not in VIEWS.names() and name not in own):
            views = ", ".join(VIEWS.names())
            raise SqlRefused(
                f"there is no view `{visible(f'{of}.{name}' if of else name)}`\n  hint: there are {views}"
            )
    if kind == "TABLE_FUNCTION":
        called = part.get("function")
        name = str(called.get("function_name")) if isinstance(called, Mapping) else "?"
        if name.lower() not in _ROWS_FROM_NOTHING:
            raise SqlRefused(f"`{visible(name)}(…)` may not be read from\n  hint: the views may")


def _parts(tree: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _named(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The queries that a WITH gives names to."""
    found = part.get("cte_map")
    return list(found.get("map", [])) if isinstance(found, Mapping) else []
