"""How far everyone who reads the ledger has come: what the slowest has not passed may not go.

It knows where cursors are kept (the dispatcher's file, history's) and nothing of what their owners do with alerts.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dosimeter.monitor.history.ledger import PACKAGE
from dosimeter.monitor.history.named_sql import load_sql

SQL = load_sql(PACKAGE, "deliver_queries.sql")
HISTORY = "history"


@dataclass(frozen=True, slots=True)
class Consumer:
    """cursor: the position up to which it needs nothing any more."""

    name: str
    cursor: int


def slowest(
    store: Path,
    history: Path,
    *,
    ledger_id: str,
    sinks: Iterable[str],
    history_is_set_up: bool,
    owed_after: Callable[[int], int],
    last_seq: int,
) -> Consumer:
    """Who holds the most. Nobody reads: a nameless one that is through.

    store       the dispatcher's file; every sink in it counts, also one that is not set up any more
    history     history's cursor, a file
    sinks       those that are set up: one that never began holds everything, and so does history
    owed_after  up to where nothing is deliverable after a position: a sink's cursor stops before shadow alerts
    """
    found = [
        *(Consumer(one.name, owed_after(one.cursor)) for one in _sinks(store, ledger_id, sinks)),
        *_history(history, ledger_id, history_is_set_up),
    ]
    return min(found, key=lambda one: one.cursor, default=Consumer("", last_seq))


def _sinks(store: Path, ledger_id: str, names: Iterable[str]) -> list[Consumer]:
    cursors = dict.fromkeys(names, 0)
    if store.exists():
        db = sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True, timeout=0.5)
        try:
            of = db.execute(SQL["get_meta"], {"name": "ledger_id"}).fetchone()
            if of is None or of[0] != ledger_id:
                return [Consumer(store.name, 0)]
            cursors |= dict(db.execute(SQL["cursors"]).fetchall())
        except sqlite3.Error:  # being made at this moment, or not ours: nothing may go
            return [Consumer(store.name, 0)]
        finally:
            db.close()
    return [Consumer(name, cursor) for name, cursor in cursors.items()]


def _history(path: Path, ledger_id: str, is_set_up: bool) -> list[Consumer]:
    try:
        found = json.loads(path.read_bytes())
        seq = found["seq"] if found["ledger_id"] == ledger_id else 0
        return [Consumer(HISTORY, max(0, int(seq)))]
    except FileNotFoundError:
        return [Consumer(HISTORY, 0)] if is_set_up else []
    except (OSError, ValueError, KeyError, TypeError):  # half a file says nothing: nothing may go
        return [Consumer(HISTORY, 0)]
