"""What is removed from the ledger: the personal part of an alert that is erased, and alerts that are old.

It owns what is left of an erased record, the counts of what has gone, and that no byte of it stays in the file: what is
deleted is overwritten, the write-ahead log is emptied, and where SQLite may have left a copy in an unused part of a
page, the file is written anew. It never decides whose alerts, nor who has read them. Each call is one short
transaction of the ledger's one writer.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from dosimeter.monitor.history.named_sql import load_sql
from dosimeter.monitor.history.sqlite_file import empty_log, transaction, write_anew

SQL = load_sql("dosimeter.monitor.history", "upkeep.sql")
PART = 200
"""Alerts that one call removes, at most."""
EDGE = 100
"""Alerts before and behind the last pruned one that SQLite may have moved: far more than the few pages it touches."""
NO_NOW = (1 << 63) - 1
LOOK_AHEAD = 10_000
"""Positions that are looked through for an alert whose time is not in the future."""
EMPTY_LEFT = 256
"""Emptied rows of evidence that stay in front of the first full one, so that it is not moved: two pages of them."""


def id_list(event_ids: Iterable[str]) -> str:
    """As `json_each` reads it: one parameter, however many there are."""
    return json.dumps(list(event_ids))


class Upkeep:
    """Over the connection of the ledger's writer. Raises sqlite3.Error: nothing was done, call again later."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self.path = db, path
        self._hurried = self._rewriting = False

    # --- erasure

    def erase(self, event_ids: Sequence[str], now_ns: int) -> list[int]:
        """Take out what is personal; returns where those that are here stand. Doing it again changes nothing.

        Copies stay in the write-ahead log until `scrub`.
        """
        ids = {"event_ids": id_list(event_ids)}
        with transaction(self._db):
            self._db.execute(SQL["erase_alerts"], {**ids, "now_ns": now_ns})
            self._db.execute(SQL["empty_evidence"], ids)
        return [seq for (seq,) in self._db.execute(SQL["positions"], ids).fetchall()]

    def near_the_edge(self, event_ids: Iterable[str], seqs: Iterable[int]) -> bool:
        """Whether SQLite may have left a copy of one of these where it stood before something was pruned.

        event_ids: also of those that are pruned themselves; seqs: of those that are here.
        """
        through = self._meta("pruned_through")
        near = through > 0 and any(seq <= through + EDGE for seq in seqs)
        return near or not self._pruned_lately().keys().isdisjoint(event_ids)

    def scrub(self, *, anew: bool) -> bool:
        """Empty the write-ahead log; False while a reader is in its way: call again.

        anew: write the whole file anew before, which takes as long as copying it, or until `hurry`.
        """
        if anew:
            self._rewriting = True
            try:
                if self._hurried:
                    raise sqlite3.OperationalError("interrupted")
                write_anew(self._db)
            finally:
                self._rewriting = False
        self._db.execute("PRAGMA busy_timeout = 50")  # commits wait behind this
        try:
            return empty_log(self._db)
        finally:
            self._db.execute("PRAGMA busy_timeout = 2000")

    def hurry(self) -> None:
        """From any thread, and again until it helps: nothing long from now on; what is being done is left undone."""
        self._hurried = True
        if self._rewriting:
            self._db.interrupt()

    def note_erasure(self, request: str, event_ids: int, now_ns: int) -> None:
        row = {"id": request, "event_ids": event_ids, "now_ns": now_ns}
        self._db.execute(SQL["add_erasure"], row)

    def erased(self) -> int:
        """Event ids that requests have named, of all that are done."""
        return self._int("sum_erasures")

    # --- what is old

    def first(self, now_ns: int) -> tuple[int, int] | None:
        """Position of the first alert that is here, and by when it was committed.

        A time in the future is of a clock that was ahead: that of the next alert holds, else now.
        """
        row = self._db.execute(SQL["first"]).fetchone()
        return None if row is None else (row[0], self._committed_by(row[0], now_ns))

    def _committed_by(self, seq: int, now_ns: int) -> int:
        span = {"seq": seq, "end": seq + LOOK_AHEAD, "now_ns": now_ns}
        row = self._db.execute(SQL["possible_since"], span).fetchone()
        return now_ns if row is None else int(row[0])

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

    def prune(self, through: int, before_ns: int, now_ns: int = NO_NOW) -> int:
        """Remove alerts from the front, at or before a position and committed before a time; returns how many.

        now_ns: to know a clock that was ahead, as for `first`.
        """
        found = self._db.execute(SQL["oldest"], {"seq": through, "limit": PART}).fetchall()
        gone, by_ns, was_ahead = [], 0, False
        for row in found:
            is_ahead = row[3] > now_ns
            if not is_ahead:
                by_ns = row[3]
            elif not was_ahead:
                by_ns = self._committed_by(row[1], now_ns)
            was_ahead = is_ahead
            if by_ns >= before_ns:
                break
            gone.append(row)
        if not gone:
            return 0
        with transaction(self._db):
            last = gone[-1][1]
            self._db.execute(SQL["set_meta"], {"name": "pruned_through", "value": last})
            self._add("pruned", len(gone))
            self._add("pruned_deliverable", sum(row[2] for row in gone))
            gone_ids = [row[0] for row in gone]
            lately = [*self._pruned_lately(), *gone_ids][-EDGE:]
            self._db.execute(SQL["note_pruned"], {"event_ids": id_list(lately)})
            ids = id_list(gone_ids)
            self._db.execute(SQL["empty_evidence"], {"event_ids": ids})
            row = self._db.execute(SQL["first_evidence"]).fetchone()
            first = self._int("last_evidence") + 1 if row is None else row[0]
            self._db.execute(SQL["prune_evidence"], {"n": first - EMPTY_LEFT})
            self._db.execute(SQL["prune_alerts"], {"seq": last})
        return len(gone)

    def _pruned_lately(self) -> dict[str, None]:
        """Event ids, the oldest first."""
        row = self._db.execute(SQL["get_meta"], {"name": "pruned_lately"}).fetchone()
        return dict.fromkeys(json.loads(row[0]) if row is not None else ())

    def _add(self, name: str, by: int) -> None:
        self._db.execute(SQL["add_to_meta"], {"name": name, "by": by})

    def _meta(self, name: str) -> int:
        return int(self._db.execute(SQL["get_meta"], {"name": name}).fetchone()[0])

    def _int(self, name: str) -> int:
        found: int = self._db.execute(SQL[name]).fetchone()[0]
        return found
