"""What is removed from the ledger: the personal part of an alert that is erased, and alerts that are old.

It owns what is left of an erased record, the counts of what has gone, and that no byte of it stays in the file: what is
deleted is overwritten, the write-ahead log is emptied, and where SQLite may have left a copy in an unused part of a
page, the file is written anew. It never decides whose alerts, nor who has read them. Each call is one short
transaction of the ledger's one writer.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dosimeter.monitor.history.named_sql import load_sql

SQL = load_sql("dosimeter.monitor.history", "upkeep.sql")
PART = 200
"""Alerts that one call removes, at most."""
EDGE = 100
"""Alerts behind what was pruned that SQLite may have moved for it: far more than the few pages that it touches."""
EMPTY_LEFT = 256
"""Emptied rows of evidence that stay in front of the first full one, so that it is not moved: two pages of them."""


def id_list(event_ids: Iterable[str]) -> str:
    """As `json_each` reads it: one parameter, however many there are."""
    return json.dumps(list(event_ids))


class Upkeep:
    """Over the connection of the ledger's writer. Raises sqlite3.Error: nothing was done, call again later."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self.path = db, path

    # --- erasure

    def erase(self, event_ids: Sequence[str], now_ns: int) -> list[int]:
        """Take out what is personal; returns where those that are here stand. Doing it again changes nothing.

        Copies stay in the write-ahead log until `scrub`.
        """
        ids = {"event_ids": id_list(event_ids)}
        with self._transaction():
            self._db.execute(SQL["erase_alerts"], {**ids, "now_ns": now_ns})
            self._db.execute(SQL["empty_evidence"], ids)
        return [seq for (seq,) in self._db.execute(SQL["positions"], ids).fetchall()]

    def near_the_edge(self, seqs: Iterable[int]) -> bool:
        """Whether SQLite may have left a copy of one of these where it stood before something was pruned."""
        through = self._meta("pruned_through")
        return through > 0 and any(seq <= through + EDGE for seq in seqs)

    def scrub(self, *, anew: bool) -> bool:
        """Empty the write-ahead log; False while a reader is in its way: call again.

        anew: write the whole file anew before, which takes as long as copying it.
        """
        if anew:
            self._db.execute("VACUUM")
        self._db.execute("PRAGMA busy_timeout = 50")  # commits wait behind this
        try:
            busy: int = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            self._db.execute("PRAGMA busy_timeout = 2000")
        return not busy

    def note_erasure(self, request: str, event_ids: int, now_ns: int) -> None:
        row = {"id": request, "event_ids": event_ids, "now_ns": now_ns}
        self._db.execute(SQL["add_erasure"], row)

    def erased(self) -> int:
        """Event ids that requests have named, of all that are done."""
        return self._int("sum_erasures")

    # --- what is old

    def first(self) -> tuple[int, int] | None:
        """Position of the first alert that is here, and when it was committed."""
        row: tuple[int, int] | None = self._db.execute(SQL["first"]).fetchone()
        return row

    def last_seq(self) -> int:
        """Of the last alert that was accepted."""
        return self._int("last_seq")

    def owed_after(self, seq: int) -> int:
        """The last position up to which no alert after `seq` is deliverable."""
        found: int | None = self._db.execute(SQL["next_owed"], {"seq": seq}).fetchone()[0]
        return self.last_seq() if found is None else found - 1

    def pruned(self) -> int:
        """Alerts, since the ledger was made."""
        return self._meta("pruned")

    def prune(self, through: int, before_ns: int) -> int:
        """Remove alerts from the front, at or before a position and committed before a time; returns how many."""
        found = self._db.execute(SQL["oldest"], {"seq": through, "limit": PART}).fetchall()
        old = next((n for n, row in enumerate(found) if row[3] >= before_ns), len(found))
        gone = found[:old]
        if not gone:
            return 0
        with self._transaction():
            last = gone[-1][1]
            self._db.execute(SQL["set_meta"], {"name": "pruned_through", "value": last})
            self._add("pruned", len(gone))
            self._add("pruned_deliverable", sum(row[2] for row in gone))
            ids = id_list(row[0] for row in gone)
            self._db.execute(SQL["empty_evidence"], {"event_ids": ids})
            row = self._db.execute(SQL["first_evidence"]).fetchone()
            first = self._int("last_evidence") + 1 if row is None else row[0]
            self._db.execute(SQL["prune_evidence"], {"n": first - EMPTY_LEFT})
            self._db.execute(SQL["prune_alerts"], {"seq": last})
        return len(gone)

    def _add(self, name: str, by: int) -> None:
        self._db.execute(SQL["add_to_meta"], {"name": name, "by": by})

    def _meta(self, name: str) -> int:
        return int(self._db.execute(SQL["get_meta"], {"name": name}).fetchone()[0])

    def _int(self, name: str) -> int:
        found: int = self._db.execute(SQL[name]).fetchone()[0]
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
