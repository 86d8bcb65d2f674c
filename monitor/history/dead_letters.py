"""What sinks refused for what it is, in the dispatcher's own file, and what is to be sent to them again.

An alert that is buried or dug out and the counts of its sink change in one commit. It knows nothing of cursors, nor of
how anything is sent.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dosimeter.monitor.history.ledger import PACKAGE
from dosimeter.monitor.history.named_sql import load_sql
from dosimeter.monitor.history.records import StoredAlert
from dosimeter.monitor.history.sqlite_file import transaction

SQL = load_sql(PACKAGE, "dead_letter_queries.sql")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One of them. Times are wall clock, ns."""

    sink: str
    seq: int
    event_id: str
    core: bytes  # the record whole; without what was personal in it, once it is erased
    error: str  # the sink's own words
    at_ns: int  # of the refusal
    again_ns: int | None = None  # when somebody asked for it to be sent again


class DeadLetters:
    """The part of the dispatcher's file that holds them, over a connection of the caller's."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def of(self, sink: str, *, limit: int = 100) -> list[DeadLetter]:
        """The oldest first."""
        return self._letters("dead_letters", sink, limit)

    def holds(self, sink: str, seq: int) -> bool:
        """Whether the sink refused it."""
        row = self._db.execute(SQL["is_dead"], {"sink": sink, "seq": seq}).fetchone()
        return bool(row[0])

    # --- sent again

    def ask_replay(
        self, sink: str | None, event_ids: Iterable[str] | None, *, now_ns: int, dry: bool = False
    ) -> list[tuple[str, str]]:
        """Mark them to be sent again, by whoever delivers to their sink; returns (sink, event id) of each.

        None: of every sink, every one. dry: say which it would be, and mark none.
        """
        ids = None if event_ids is None else json.dumps(list(event_ids))
        with transaction(self._db):
            chosen = {"sink": sink, "event_ids": ids}
            found = self._db.execute(SQL["dead_letters_of"], chosen).fetchall()
            for name, seq, _ in () if dry else found:
                self._db.execute(SQL["ask_again"], {"sink": name, "seq": seq, "now_ns": now_ns})
        return [(name, event_id) for name, _, event_id in found]

    def asked_again(self, sink: str) -> int:
        """How many are to be sent again."""
        count: int = self._db.execute(SQL["count_replays"], {"sink": sink}).fetchone()[0]
        return count

    def replays(self, sink: str, *, limit: int) -> list[DeadLetter]:
        """Those that are to be sent again, the oldest first."""
        return self._letters("replays", sink, limit)

    def settle_replays(
        self,
        sink: str,
        *,
        delivered: Sequence[int],
        dead: Sequence[tuple[int, str]],
        now_ns: int,
    ) -> None:
        """What became of those that were sent again, by position, in one commit.

        One that is acknowledged counts as delivered and no longer as dead; one that is refused again stays dead.
        """
        with transaction(self._db):
            gone = 0
            for seq in delivered:
                found = self._db.execute(SQL["unbury"], {"sink": sink, "seq": seq}).rowcount
                gone += found if seq > 0 else 0  # below, it is of a ledger that is no more
            for seq, error in dead:
                row = {"sink": sink, "seq": seq, "error": error, "now_ns": now_ns}
                self._db.execute(SQL["bury_again"], row)
            row = {"sink": sink, "delivered": gone, "now_ns": now_ns}
            self._db.execute(SQL["settle_replays"], row)

    # --- within a commit of the caller's

    def bury(self, sink: str, refused: Iterable[tuple[StoredAlert, str]], now_ns: int) -> None:
        for alert, error in refused:
            row = {
                "sink": sink,
                "seq": alert.seq,
                "event_id": alert.event_id,
                "core": alert.core,
                "error": error,
                "now_ns": now_ns,
            }
            self._db.execute(SQL["bury"], row)

    def set_aside(self, sink: str, after: int) -> int:
        """Those behind a position that the ledger has lost go below 0; returns how many of the others there are."""
        row = {"sink": sink, "after": after}
        self._db.execute(SQL["set_aside"], row)
        dead: int = self._db.execute(SQL["count_dead"], row).fetchone()[0]
        return dead

    def erase(self, event_ids: Iterable[str]) -> int:
        """Take out what is personal of these; returns how many there were."""
        row = {"event_ids": json.dumps(list(event_ids))}
        return self._db.execute(SQL["erase_dead_letters"], row).rowcount

    def count(self, sink: str) -> int:
        """Those that were set aside too."""
        found: int = self._db.execute(SQL["count_letters"], {"sink": sink}).fetchone()[0]
        return found

    def discard(self, sink: str) -> None:
        self._db.execute(SQL["forget_letters"], {"sink": sink})

    def _letters(self, query: str, sink: str, limit: int) -> list[DeadLetter]:
        rows = self._db.execute(SQL[query], {"sink": sink, "limit": limit}).fetchall()
        return [DeadLetter(*row) for row in rows]
