"""The ledger, where an alert becomes accepted: SQLite in WAL mode, one writer, one commit a group.

It owns the file, its version and its durability, and knows nothing of rules, sinks or cursors. A
record is accepted when `append` has returned, and then survives `kill -9`; with
`synchronous=FULL` also power loss. Accepted records are numbered without a gap. What is removed
again, and how, is `upkeep`'s.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from dosimeter.monitor.history.checkpoint import FALLBACK_PAGES, Checkpointer
from dosimeter.monitor.history.lock import WriterLock
from dosimeter.monitor.history.named_sql import load_sql, read_sql
from dosimeter.monitor.history.private import keep_from_others
from dosimeter.monitor.history.records import Account, Committed, LedgerRecord
from dosimeter.monitor.history.restored import OPENINGS, Opening, with_opening
from dosimeter.monitor.history.sqlite_file import transaction
from dosimeter.monitor.history.upkeep import SQL as UPKEEP
from dosimeter.monitor.history.upkeep import Upkeep, id_list

SCHEMA_VERSION = 2
PACKAGE = "dosimeter.monitor.history"
BUSY_S = 2.0
"""How long a commit waits for a visitor's lock (a shell, a backup) before it counts as stalled."""
ROWS = 256
"""Of one statement, at most."""

T = TypeVar("T")

SQL = load_sql(PACKAGE, "queries.sql")


class LedgerError(RuntimeError):
    """The file cannot be used as a ledger."""


class LedgerTooNew(LedgerError):
    """Written by a later release, under rules this one does not know."""

    def __init__(self, path: Path, found: int) -> None:
        self.path, self.found = path, found
        super().__init__(
            f"{path}: schema version `{found}` is newer than `{SCHEMA_VERSION}`\n"
            "  hint: upgrade dosimeter, or point `data-dir` at another folder"
        )


class LedgerStalled(RuntimeError):
    """Nothing can be made durable now: disk full, file locked, I/O error. Nothing was accepted.

    Append the same group again later: what did get in is recognised by its event id.
    """

    def __init__(self, path: Path, cause: sqlite3.Error) -> None:
        self.path, self.reason = path, str(cause)
        hint = "free disk space, release the lock or raise the quota"
        if not isinstance(cause, sqlite3.OperationalError):
            hint = "the file is damaged: stop the sidecar, and put a backup in its place"
        super().__init__(
            f"{path}: cannot commit: {cause}\n"
            f"  hint: {hint}; nothing is read from the wire until then"
        )


def check_version(connection: sqlite3.Connection, path: Path) -> int | None:
    """The schema version of an open file; None: empty. Raises LedgerError, LedgerTooNew."""
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not tables:
            return None
        row = connection.execute(SQL["get_meta"], {"name": "schema_version"}).fetchone()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "no such table" not in str(error):
            raise
        raise LedgerError(f"{path}: not a dosimeter ledger: {error}") from error
    if row is None:
        raise LedgerError(f"{path}: not a dosimeter ledger: it states no schema version")
    if int(row[0]) > SCHEMA_VERSION:
        raise LedgerTooNew(path, int(row[0]))
    return int(row[0])


class Ledger:
    """The writer. One per file, held by the line; use it from one thread at a time."""

    def __init__(
        self, path: Path, *, quota: int | None = None, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Create the file or open it. quota: bytes in use from which on nothing is accepted.

        Raises AlreadyWriting, LedgerTooNew, LedgerError, LedgerStalled.
        """
        self.path = path
        self._quota, self._now_ns = quota, now_ns
        self._noted = False
        path.parent.mkdir(parents=True, exist_ok=True)
        keep_from_others(path)
        self._lock = WriterLock(path)
        self._checkpointer: Checkpointer | None = None
        self._db = sqlite3.connect(
            path, isolation_level=None, timeout=BUSY_S, check_same_thread=False
        )
        try:
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise LedgerStalled(path, error) from error
        except LedgerError:
            self.close()
            raise
        self.upkeep = Upkeep(self._db, path)
        self._checkpointer = Checkpointer(path).start()

    def _prepare(self) -> None:
        check_version(self._db, self.path)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {FALLBACK_PAGES}")
        # A reader that sat on an old snapshot lets the WAL grow; this gives the space back
        # afterwards.
        self._db.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        # What is removed is overwritten, here and in what SQLite moves for it; before anything can be.
        self._db.execute("PRAGMA secure_delete = ON")
        version = check_version(self._db, self.path)
        if version is None:
            first = SQL["put_meta"].replace(":name", "'schema_version'").replace(":value", "'1'")
            self._run(read_sql(PACKAGE, "schema.sql"), first)
            version = 1
        if version == 1:
            stamp = UPKEEP["set_meta"].replace(":name", "'schema_version'")
            self._run(read_sql(PACKAGE, "schema_2.sql"), stamp.replace(":value", "2"))

    def _run(self, schema: str, stamp: str) -> None:
        """Both or neither."""
        try:
            self._db.executescript(f"BEGIN IMMEDIATE;\n{schema}\n{stamp};\nCOMMIT;")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def append(
        self,
        records: Sequence[LedgerRecord] = (),
        *,
        blobs: Mapping[str, bytes] | None = None,
        accounts: Iterable[Account] = (),
        evidence: Mapping[str, bytes] | None = None,
    ) -> Committed:
        """Make one group durable: all of it or none of it. Returns when it is on disk.

        blobs      sha256 hex -> content named by the records' hashes
        accounts   cumulative totals, replacing the earlier ones of their epoch
        evidence   event id -> body, for alerts accepted earlier (or in this group); not of erased ones

        Raises LedgerStalled: nothing was accepted, and the same call may be made again.
        Raises LedgerError: a record whose core is not JSON; repeating cannot help.
        """
        now_ns = self._now_ns()
        try:
            self._keep_to_quota()
            with transaction(self._db):
                if records and not self._noted:
                    self._note_opening()
                committed = self._write(records, blobs or {}, accounts, evidence or {}, now_ns)
            self._noted = self._noted or bool(records)
        except sqlite3.Error as error:
            if "malformed JSON" in str(error) or isinstance(error, sqlite3.IntegrityError):
                raise LedgerError(f"{self.path}: record refused: {error}") from error
            raise LedgerStalled(self.path, error) from error
        return committed

    def _note_opening(self) -> None:
        row = self._db.execute(SQL["get_meta"], {"name": OPENINGS}).fetchone()
        last = self._db.execute(SQL["last_seq"]).fetchone()[0]
        text = with_opening(None if row is None else row[0], Opening(secrets.token_hex(8), last))
        self._db.execute(SQL["note_meta"], {"name": OPENINGS, "value": text})

    def _keep_to_quota(self) -> None:
        """Whoever removes what is old is not held to it, or there would be no way back."""
        if self._quota is None:
            return
        size, pages, empty = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        )
        used = size * (pages - empty)
        if used >= self._quota:
            raise sqlite3.OperationalError(
                f"{used >> 20} MiB are used, and `ledger.quota` is {self._quota >> 20}"
            )

    def _write(
        self,
        records: Sequence[LedgerRecord],
        blobs: Mapping[str, bytes],
        accounts: Iterable[Account],
        evidence: Mapping[str, bytes],
        now_ns: int,
    ) -> Committed:
        db = self._db
        accepted = [new for part in _parts(records) for new in self._accept(part, now_ns)]
        first = [
            (r.event_id, r.evidence)
            for r in accepted
            if r.evidence is not None and r.event_id not in evidence  # else the rest has come
        ]
        self._many("insert_evidence", first)
        for ids in _parts(list(evidence)):
            db.execute(UPKEEP["empty_evidence"], {"event_ids": id_list(ids)})
        orphans = len(evidence) - self._many("replace_evidence", list(evidence.items()))
        for sha256, content in blobs.items():
            db.execute(SQL["insert_blob"], {"sha256": sha256, "body": content})
        for account in accounts:
            db.execute(SQL["upsert_account"], _account_row(account, now_ns))
        last = db.execute(SQL["last_seq"]).fetchone()[0]
        return Committed(len(accepted), len(records) - len(accepted), orphans, last)

    def _accept(self, part: Sequence[LedgerRecord], now_ns: int) -> Sequence[LedgerRecord]:
        """Those that were new. A second record of an event id is the same decision, taken again after a crash."""
        try:
            self._insert(part, now_ns)
            return part
        except sqlite3.IntegrityError as error:
            if "alert.event_id" not in str(error):
                raise
        known = {r.event_id: r for r in reversed(part)}  # of two of the same id the first
        for (event_id,) in self._db.execute(
            SQL["known_alerts"], {"event_ids": id_list(known)}
        ).fetchall():
            del known[event_id]
        new = list(reversed(known.values()))
        self._insert(new, now_ns)
        return new

    def _insert(self, part: Sequence[LedgerRecord], now_ns: int) -> None:
        self._many(
            "insert_alerts", [(r.event_id, r.core, int(r.deliverable), now_ns) for r in part]
        )

    def _many(self, name: str, rows: Sequence[tuple[object, ...]]) -> int:
        """How many rows were written."""
        written = 0
        for part in _parts(rows):
            more = f", ({', '.join('?' * len(part[0]))})" * (len(part) - 1)
            values = [value for row in part for value in row]
            written += self._db.execute(SQL[name].replace("/* rows */", more), values).rowcount
        return written

    def close(self) -> None:
        if self._checkpointer is not None:
            self._checkpointer.close()
            self._checkpointer = None
        self._db.close()
        self._lock.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """So many as one statement takes."""
    return (rows[start : start + ROWS] for start in range(0, len(rows), ROWS))


def _account_row(account: Account, now_ns: int) -> dict[str, object]:
    return {
        "epoch": account.epoch,
        "served": account.served,
        "scored": account.scored,
        "served_by": _object(account.served_by),
        "unscored": _object(account.unscored),
        "unaccounted": account.unaccounted,
        "requests": account.requests,
        "closed": account.closed,
        "updated_ns": now_ns,
    }


def _object(counts: Mapping[str, int]) -> str:
    return json.dumps(dict(counts), sort_keys=True, separators=(",", ":"))
