"""What the files of data-dir say by themselves, whether or not a sidecar runs: standing, sizes, counts.

It reads, and reads names, numbers and sizes alone: no label, no record and no text of an alert leaves it.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from dosimeter.monitor.config import Config
from dosimeter.monitor.delivery_status import delivery_status
from dosimeter.monitor.history.reader import LedgerReader

COUNTING_S = 2.0
"""For the rows of one table; one that takes longer stays uncounted."""
FOLDERS = (
    "archive",
    "archive/spool",
    "archive/work",
    "archive/refused",
    "erasures",
    "history/log",
    "history/core",
    "history/evidence",
)
T = TypeVar("T")


def standing(config: Config, *, now_ns: int) -> dict[str, Any]:
    """Ledger, delivery and history; `error` in the place of what cannot be read."""
    return {
        "ledger": _or_error(lambda: _ledger(config)),
        "delivery": _or_error(
            lambda: delivery_status(config.ledger_path, config.deliver_path, now_ns=now_ns)
        ),
        "history": history_standing(config),
    }


def history_standing(config: Config) -> dict[str, Any] | None:
    """Up to which position history, or the one of the fleet, has taken the ledger in; None: nobody keeps one."""
    try:
        found = json.loads(config.history_cursor_path.read_bytes())
        with LedgerReader(config.ledger_path) as reader:
            if found["ledger_id"] != reader.ledger_id:
                return {"error": "its cursor is of another ledger"}
            return {"seq": int(found["seq"]), "last_seq": reader.last_seq()}
    except FileNotFoundError:
        return None if config.history is None else {"error": "it has taken nothing in yet"}
    except (RuntimeError, OSError, sqlite3.Error, ValueError, KeyError, TypeError) as error:
        return {"error": str(error)}


def _ledger(config: Config) -> dict[str, Any]:
    with LedgerReader(config.ledger_path) as reader:
        return {
            "alerts": reader.count(),
            "last_seq": reader.last_seq(),
            "last_commit_ns": reader.last_committed_ns(),
        }


def _or_error(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read()
    except (RuntimeError, OSError, sqlite3.Error) as error:
        return {"error": str(error)}


def sizes(config: Config) -> dict[str, Any]:
    """Of each store the bytes, the schema version and the rows of its tables; of each folder files and bytes."""
    stores = (
        config.ledger_path,
        config.deliver_path,
        config.history_path / "hot.db",
        config.history_path / "keys.db",
    )
    return {
        "stores": {
            str(path.relative_to(config.data_dir)): _store(path) for path in stores if path.exists()
        },
        "folders": {
            name: _folder(config.data_dir / name)
            for name in FOLDERS
            if (config.data_dir / name).is_dir()
        },
        "refused_bytes": _size(config.data_dir / "refused.jsonl"),
    }


def _store(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bytes": _size(path),
        "wal_bytes": _size(path.with_name(f"{path.name}-wal")),
    }
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=2.0)) as db:
            names = [name for (name,) in db.execute(TABLES)]
            found["user_version"] = db.execute("PRAGMA user_version").fetchone()[0]
            found["schema_version"] = _schema_version(db) if "meta" in names else None
            found["rows"] = {name: _rows(db, name) for name in names}
    except sqlite3.Error as error:
        found["error"] = getattr(error, "sqlite_errorname", "unreadable")
    return found


TABLES = (
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
)


def _schema_version(db: sqlite3.Connection) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    return None if row is None else str(row[0])


def _rows(db: sqlite3.Connection, table: str) -> int | None:
    until = time.monotonic() + COUNTING_S
    db.set_progress_handler(lambda: int(time.monotonic() > until), 100_000)
    try:
        count: int = db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]
        return count
    except sqlite3.OperationalError:
        return None


def _folder(path: Path) -> dict[str, int]:
    """Of all that is below it."""
    files = [one for one in path.rglob("*") if one.is_file()]
    return {"files": len(files), "bytes": sum(_size(one) for one in files)}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it went meanwhile, or never was
        return 0
