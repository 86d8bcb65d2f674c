"""Reading the ledger: a connection that cannot write, for the dispatcher, the CLI and the pages.

Every call is one short statement, so that no reader ever holds a snapshot that keeps the
write-ahead log from being trimmed. It knows nothing of who reads, or of cursors.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dosimeter.monitor.history.counted import Counted
from dosimeter.monitor.history.ledger import SQL, LedgerError, check_version
from dosimeter.monitor.history.records import Account, Pruned, StoredAlert
from dosimeter.monitor.history.restored import OPENINGS, Opening, read_openings

CANARY = "dosimeter.canary"
"""The rule that a canary names."""
PART = 20_000
"""Positions that one statement goes through."""


class LedgerMissing(LedgerError):
    """There is no ledger at this path, or none yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path}: no ledger here\n"
            "  hint: start `dosimeter sidecar`, or name the folder it writes with `--data-dir`"
        )


class LedgerReader:
    """One read-only connection; use it from one thread at a time."""

    def __init__(self, path: Path, *, counted: Counted | None = None) -> None:
        """counted: of whoever looks again and again. Raises LedgerMissing, LedgerTooNew, LedgerError."""
        self.path, self._counted = path, counted
        if not path.exists():
            raise LedgerMissing(path)
        self._db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            timeout=2.0,
            check_same_thread=False,
        )
        try:
            self._file = _file_at(path)
            version = check_version(self._db, path)
        except BaseException:
            self._db.close()
            raise
        self.version = version
        if version is None:  # being created at this very moment
            self._db.close()
            raise LedgerMissing(path)

    @property
    def ledger_id(self) -> str:
        """Random identity of this file: a cursor is only meaningful together with it."""
        found: str = self._db.execute(SQL["get_meta"], {"name": "ledger_id"}).fetchone()[0]
        return found

    def check_place(self) -> None:
        """Raises LedgerError where another file has taken the place of the one that is read."""
        if _file_at(self.path) != self._file:
            raise LedgerError(f"{self.path}: moved away or replaced; it is opened again")

    def openings(self) -> list[Opening]:
        """Who wrote, oldest first."""
        row = self._db.execute(SQL["get_meta"], {"name": OPENINGS}).fetchone()
        return read_openings(None if row is None else row[0])

    def data_version(self) -> int:
        """Changes when another connection has committed: the cheap question before the real one."""
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version

    def alerts_since(self, seq: int = 0, *, limit: int = 500) -> list[StoredAlert]:
        """Alerts after `seq` in the order of acceptance, shadow ones included."""
        return self._alerts("alerts_since", seq=seq, limit=limit)

    def deliverable_since(self, seq: int = 0, *, limit: int = 500) -> list[StoredAlert]:
        """Like `alerts_since`, without those that no sink may see."""
        return self._alerts("deliverable_since", seq=seq, limit=limit)

    def count_deliverable(self, seq: int = 0) -> tuple[int, int]:
        """(all deliverable alerts there ever were, those after `seq`), of one snapshot."""
        if self._counted is not None:
            return self._counted.count(self._db, seq, self.ledger_id, self.openings())
        total, after, _ = self._db.execute(SQL["count_deliverable"], {"seq": seq}).fetchone()
        return total, after

    def oldest_deliverable_ns(self, seq: int) -> int | None:
        """When the first deliverable alert after `seq` was committed; None when there is none."""
        row = self._db.execute(SQL["oldest_deliverable"], {"seq": seq}).fetchone()
        return None if row is None else int(row[0])

    def by_prefix(self, prefix: str, *, limit: int = 10) -> list[StoredAlert]:
        """Alerts whose event id starts with `prefix` (hex, any case), by id."""
        low = prefix.lower()
        return self._alerts("alerts_by_prefix", prefix=low, after=low + "g", limit=limit)

    def search(
        self,
        *,
        feature: str | None = None,
        rule: str | None = None,
        tenant: str | None = None,
        decision: str | None = None,
        since_ns: int | None = None,
        limit: int = 50,
    ) -> list[StoredAlert]:
        """Newest first; a filter left out does not filter. since_ns is event time, wall clock."""
        given = {
            "feature = :feature": feature,
            "rule = :rule": rule,
            "tenant = :tenant": tenant,
            "decision = :decision": decision,
            "time_ns >= :since_ns": since_ns,
        }
        wanted = {text: value for text, value in given.items() if value is not None}
        filters = " ".join(f"{text} AND" for text in wanted)
        bound = {text.partition(":")[2]: value for text, value in wanted.items()}
        statement = SQL["list_alerts"].replace("/* filters */", filters)
        return self._rows(statement, {**bound, "limit": limit})

    def decisions(self) -> dict[tuple[str, str], int]:
        """Hits by rule and decision."""
        rows = self._db.execute(SQL["count_decisions"]).fetchall()
        return {(rule, decision): count for rule, decision, count in rows}

    def last_seq(self) -> int:
        """Of the last alert that was accepted, pruned or not; 0 when there never was one."""
        seq: int = self._db.execute(SQL["last_seq"]).fetchone()[0]
        return seq

    def first_since(self, committed_ns: int) -> int:
        """The first position that was committed then or later, by halving: commits are in order of time."""
        high = self.last_seq() + 1
        low = self._db.execute(SQL["first_seq"]).fetchone()[0] or high
        while low < high:
            middle = (low + high) // 2
            row = self._db.execute(SQL["committed_at"], {"seq": middle}).fetchone()
            if row is None or row[1] >= committed_ns:  # None: pruned at this moment
                high = middle
            else:
                low = row[0] + 1
        return low

    def last_committed_ns(self) -> int | None:
        """When the last record that is here was committed; None when there is none."""
        row = self._db.execute(SQL["last_committed"]).fetchone()
        return None if row is None else int(row[0])

    def canaries(self, through: int, *, limit: int = 10) -> list[tuple[int, int]]:
        """Position and time of commit of the last ones up to a position, newest first."""
        found = {"rule": CANARY, "through": through, "limit": limit}
        return self._db.execute(SQL["canaries"], found).fetchall()

    def captures(self) -> list[bytes]:
        """What was put on record of captures, in order."""
        return [core for (core,) in self._db.execute(SQL["captures"]).fetchall()]

    def first_canary_ns(self) -> int | None:
        """When the first one that is here was committed; None where none is."""
        row = self._db.execute(SQL["first_canary"], {"rule": CANARY}).fetchone()
        return None if row is None else int(row[0])

    def decided_since(self, seq: int) -> Iterator[tuple[int, str | bytes]]:
        """What decides about hits to come, from that position on in order, each with the time of its commit.

        A hit is a JSON list, a digest is as it was stored.
        """
        yield from self._by_parts("decided_between", seq)

    def limited_since(self, seq: int) -> set[str]:
        """The rules, by hash of their text, of which a limit kept something back, from that position on."""
        return {sha256 for (sha256,) in self._by_parts("limited_between", seq)}

    def _by_parts(self, name: str, seq: int) -> Iterator[Any]:
        end = self.last_seq() + 1
        for first in range(seq, end, PART):
            part = {"first": first, "end": min(first + PART, end)}
            yield from self._db.execute(SQL[name], part).fetchall()

    def hits_of(self, rule: str, first: int, *, limit: int) -> list[tuple[str, int, str]]:
        """The hits of a rule from that position on, newest first: id, time of commit, what counts as a JSON list."""
        parameters = {"rule": rule, "first": first, "limit": limit}
        return self._db.execute(SQL["hits_of"], parameters).fetchall()

    def pruned(self) -> Pruned:
        """What has gone from the front, of one snapshot."""
        return Pruned(*self._db.execute(SQL["pruned"]).fetchone())

    def contiguous_after(self) -> int | None:
        """Positions after this one have no gap, except for what is pruned: one that is missing was deleted.

        None of a ledger that no release with this promise has opened yet.
        """
        found: int | None = self._db.execute(SQL["contiguous_after"]).fetchone()[0]
        return found

    def count(self) -> int:
        """The alerts that are here, shadow ones included."""
        total: int = self._db.execute(SQL["count_alerts"]).fetchone()[0]
        return total

    def evidence(self, event_id: str) -> bytes | None:
        return self._body("get_evidence", event_id=event_id)

    def blob_names(self) -> list[str]:
        """The hash of each."""
        return [name for (name,) in self._db.execute(SQL["blob_names"]).fetchall()]

    def blob(self, sha256: str) -> bytes | None:
        return self._body("get_blob", sha256=sha256)

    def accounts(self) -> list[Account]:
        """Coverage totals per server process, the one updated last at the end."""
        return [
            Account(
                epoch=epoch,
                served=served,
                served_by=json.loads(by),
                scored=scored,
                unscored=json.loads(unscored),
                unaccounted=unaccounted,
                requests=requests,
                closed=closed,
                updated_ns=updated_ns,
            )
            for epoch, served, by, scored, unscored, unaccounted, requests, closed, updated_ns in (
                self._db.execute(SQL["accounts"]).fetchall()
            )
        ]

    def _alerts(self, name: str, **parameters: object) -> list[StoredAlert]:
        return self._rows(SQL[name], parameters)

    def _rows(self, statement: str, parameters: Mapping[str, object]) -> list[StoredAlert]:
        rows = self._db.execute(statement, parameters).fetchall()
        return [
            StoredAlert(seq, event_id, core, bool(deliverable), committed_ns)
            for seq, event_id, core, deliverable, committed_ns in rows
        ]

    def _body(self, name: str, **parameters: object) -> bytes | None:
        row = self._db.execute(SQL[name], parameters).fetchone()
        return None if row is None else bytes(row[0])

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> LedgerReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
