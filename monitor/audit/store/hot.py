"""The hot store, where an entry becomes accepted: SQLite in WAL mode, short transactions, several processes.

Owns hot.db: the order of entries, what they name by hash, evidence as ciphertext, and how far the feeds were read, all
of one batch in one commit. What is sealed into files leaves `entry` and stays in the log. It knows no keys and no JSON:
leaves come as bytes with their columns.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dosimeter.monitor.audit.store.columns import COLUMNS, NAMES, Value
from dosimeter.monitor.audit.store.entries import MANY
from dosimeter.monitor.history.named_sql import load_sql, read_sql
from dosimeter.monitor.history.sqlite_file import empty_log, transaction

VERSION = 2
PACKAGE = "dosimeter.monitor.audit.store"
BUSY_S = 5.0
SQL = load_sql(PACKAGE, "hot_queries.sql")
_TYPES = {"int": "INTEGER", "text": "TEXT", "id": "BLOB", "hash": "BLOB"}
_ID, _KIND, _TIME = (NAMES.index(name) for name in ("id", "kind", "time_ns"))
_INSERT = (
    f"INSERT INTO entry (idx, leaf, {', '.join(NAMES)}) VALUES ({', '.join('?' * (len(NAMES) + 2))})"
    " ON CONFLICT (id) DO NOTHING"
)


class StoreError(RuntimeError):
    """The file cannot be used as a store of history."""


class StoreStalled(RuntimeError):
    """Nothing can be made durable now: disk full or read-only, file locked. Nothing was accepted; try again later."""

    def __init__(self, path: Path, cause: sqlite3.Error) -> None:
        self.path = path
        hint = "free disk space, or give this user the right to write the folder"
        if "locked" in str(cause):
            hint = "another process holds it (`fuser` names it): wait for that one, or end it"
        super().__init__(f"{path}: cannot commit: {cause}\n  hint: {hint}")


@dataclass(frozen=True, slots=True)
class Sealed:
    """One entry ready to be stored. row: in the order of COLUMNS.

    evidence: (of which entry, subject, month, ciphertext).
    """

    leaf: bytes
    row: tuple[Value, ...]
    evidence: tuple[bytes, bytes, int, bytes] | None = None
    drops_hold: bytes | None = None
    puts_hold: bytes | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """first: index of the first that was new. size: of the store afterwards."""

    first: int
    accepted: int
    duplicates: int

    @property
    def size(self) -> int:
        return self.first + self.accepted


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed range [first, past). core, evidence: file names in the folders of these names.

    from_ns, to_ns: of its first and of its last event. gone: the core file is no more, as its time is over.
    few: its entries of rare kinds are all in `sealed_few`; only one that an earlier release has sealed may lack them.
    """

    first: int
    past: int
    from_ns: int
    to_ns: int
    core: str
    sha256: str
    evidence: str | None
    gone: bool = False
    few: bool = True


@dataclass(frozen=True, slots=True)
class Told:
    """Of an alert: when it was, the position that decided, and its terms."""

    time_ns: int
    position: int | None
    terms: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What one commit carries. cursors: feed -> state."""

    entries: Sequence[Sealed] = ()
    blobs: Sequence[bytes] = ()
    cursors: Mapping[str, Any] = field(default_factory=dict)


class HotStore:
    """One connection; use it from one thread at a time. Every process that writes history has one."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Create the file or open it. Raises StoreError, StoreStalled."""
        self.path = path
        if read_only and not path.exists():
            hint = "start `dosimeter history`, or name its folder with `--history`"
            raise StoreError(f"{path}: no history here\n  hint: {hint}")
        where = read_only_uri(path) if read_only else str(path)
        try:
            self.db = sqlite3.connect(
                where, uri=read_only, isolation_level=None, timeout=BUSY_S, check_same_thread=False
            )
        except sqlite3.OperationalError as error:
            raise StoreStalled(path, error) from error
        try:
            self._prepare(read_only)
        except sqlite3.OperationalError as error:
            self.db.close()
            raise StoreStalled(path, error) from error
        except sqlite3.DatabaseError as error:
            self.db.close()
            raise StoreError(f"{path}: not a store of history: {error}") from error
        except StoreError:
            self.db.close()
            raise

    def _prepare(self, read_only: bool) -> None:
        found = self.db.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise StoreError(
                f"{self.path}: version `{found}` is newer than `{VERSION}`\n  hint: upgrade dosimeter"
            )
        if read_only:
            if found == 0:
                raise StoreError(f"{self.path}: not a store of history: it states no version")
            if found < VERSION:
                hint = "let `dosimeter history` open it once, where it can be written"
                raise StoreError(
                    f"{self.path}: version `{found}` is older than `{VERSION}`\n  hint: {hint}"
                )
            return
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("PRAGMA secure_delete = ON")
        if found == 0:
            columns = ",\n  ".join(f"{c.name} {_TYPES[c.kind]}" for c in COLUMNS)
            schema = read_sql(PACKAGE, "hot_schema.sql").replace("/* columns */", columns)
            with self.writing():
                if self.db.execute("PRAGMA user_version").fetchone()[0] == 0:
                    self._run(schema)
        elif found == 1:
            with self.writing():
                if self.db.execute("PRAGMA user_version").fetchone()[0] == 1:
                    self._run(read_sql(PACKAGE, "hot_schema_2.sql"))

    def _run(self, schema: str) -> None:
        """Inside a transaction."""
        for statement in _statements(schema):
            self.db.execute(statement)
        self.db.execute(f"PRAGMA user_version = {VERSION}")

    def append(self, batch: Batch, *, first: Callable[[], None] = lambda: None) -> Appended:
        """All of it durable, or none of it. An entry whose id is there already is left out. Raises StoreStalled.

        first: run inside the transaction before anything is written.
        """
        with self.writing():
            first()
            begun = self._size()
            for body in batch.blobs:
                self.db.execute(SQL["put_blob"], (hashlib.sha256(body).digest(), body))
            new = self._put(begun, [one for one in batch.entries if not self._is_sealed(one.row)])
            evidence = [one.evidence for one in new if one.evidence is not None]
            self.db.executemany(SQL["put_evidence"], evidence)
            for one in new:
                if one.puts_hold is not None:
                    self.db.execute(SQL["put_hold"], (one.puts_hold, one.row[_ID]))
                if one.drops_hold is not None:
                    self.db.execute(SQL["drop_hold"], (one.drops_hold,))
            size = begun + len(new)
            self.db.execute(SQL["put_meta"], {"name": "size", "value": str(size)})
            for feed, state in batch.cursors.items():
                self.db.execute(SQL["put_cursor"], (feed, json.dumps(state, sort_keys=True)))
        return Appended(begun, len(new), len(batch.entries) - len(new))

    def _is_sealed(self, row: Sequence[Value]) -> bool:
        """Whether an entry of a rare kind has left `entry` by now; alerts are told by their positions."""
        kind = row[_KIND]
        if kind in MANY:
            return False
        found = self.db.execute(SQL["sealed_few"], (kind, row[_TIME], row[_ID])).fetchone()
        return found is not None

    def _put(self, at: int, entries: Sequence[Sealed]) -> Sequence[Sealed]:
        """Those that were not there yet, which now stand from `at` on. All at once, as hardly one is there."""
        self.db.execute("SAVEPOINT put")
        rows = ((index, one.leaf, *one.row) for index, one in enumerate(entries, at))
        if self.db.executemany(_INSERT, rows).rowcount == len(entries):
            self.db.execute("RELEASE put")
            return entries
        self.db.execute("ROLLBACK TO put")
        new: list[Sealed] = []
        for one in entries:
            if self.db.execute(_INSERT, (at + len(new), one.leaf, *one.row)).rowcount:
                new.append(one)
        self.db.execute("RELEASE put")
        return new

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction of writing. Raises StoreStalled where the disk or another writer does not allow it."""
        try:
            with transaction(self.db):
                yield self.db
        except sqlite3.OperationalError as error:
            raise StoreStalled(self.path, error) from error

    @property
    def size(self) -> int:
        """Entries so far, sealed ones included."""
        return self._size()

    def _size(self) -> int:
        return int(self.meta("size") or 0)

    @property
    def store_id(self) -> str:
        """Random identity of this history."""
        found = self.meta("store_id")
        assert found is not None  # made with the schema
        return found

    def meta(self, name: str) -> str | None:
        row = self.db.execute(SQL["get_meta"], {"name": name}).fetchone()
        return None if row is None else str(row[0])

    def leaves(self, first: int, past: int) -> list[tuple[int, bytes]]:
        """(index, leaf) of [first, past) as far as not sealed."""
        return self.db.execute(SQL["leaves"], (first, past)).fetchall()

    def blob(self, sha256: str) -> bytes | None:
        """What has this hash, checked; None where there is none, or it is not what it was."""
        try:
            row = self.db.execute(SQL["get_blob"], (bytes.fromhex(sha256),)).fetchone()
        except ValueError:  # no hash, as in a record whose terms are lost
            return None
        if row is None or hashlib.sha256(row[0]).hexdigest() != sha256:
            return None
        return bytes(row[0])

    def blobs(self) -> Iterator[bytes]:
        """All of them, one after the other."""
        for (body,) in self.db.execute(SQL["blobs"]):
            yield bytes(body)

    def evidence(self, id_: bytes) -> tuple[bytes, int, bytes] | None:
        """(subject, month, ciphertext) as far as not sealed."""
        row = self.db.execute(SQL["get_evidence"], (id_,)).fetchone()
        return None if row is None else (bytes(row[0]), int(row[1]), bytes(row[2]))

    def told(self, id_: bytes) -> Told | None:
        """What completes the evidence of an alert; None where it is none, or sealed."""
        row = self.db.execute(SQL["told"], (id_,)).fetchone()
        return None if row is None else Told(*row)

    def cursors(self, prefix: str) -> dict[str, Any]:
        """What stands under names that begin so, by the rest of the name."""
        rows = self.db.execute(SQL["cursors"], (prefix, prefix + "\U0010ffff")).fetchall()
        return {name.removeprefix(prefix): json.loads(state) for name, state in rows}

    def drop_evidence(self, subjects: Iterable[bytes]) -> int:
        """What is not sealed yet of these subjects. Returns how many ciphertexts there were. Raises StoreStalled."""
        dropped = 0
        with self.writing() as db:
            for subject in subjects:
                dropped += db.execute(SQL["drop_evidence"], (subject,)).rowcount
        return dropped

    def empty_log(self) -> bool:
        """Cut the write-ahead log to nothing. False: somebody reads it, and it is cut another time."""
        try:
            return empty_log(self.db)
        except sqlite3.OperationalError:
            return False

    def cursor(self, feed: str) -> Any:
        """What was committed with the last batch of that feed; None before the first."""
        row = self.db.execute(SQL["get_cursor"], (feed,)).fetchone()
        return None if row is None else json.loads(row[0])

    def segments(self) -> list[Segment]:
        return [Segment(*row) for row in self.db.execute(SQL["segments"]).fetchall()]

    def is_gone(self, idx: int) -> bool:
        """Whether the time of this entry is over: its core file is no more."""
        row = self.db.execute(SQL["is_gone"], {"idx": idx}).fetchone()
        return row is not None and bool(row[0])

    def holds(self) -> dict[bytes, bytes]:
        """Subject or entry -> the entry that put the hold."""
        return {bytes(a): bytes(e) for a, e in self.db.execute(SQL["holds"]).fetchall()}

    def close(self) -> None:
        self.db.close()

    def __enter__(self) -> HotStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_only_uri(path: Path) -> str:
    """Where nothing can be written and nothing waits in the write-ahead log, SQLite must be told so to read at all."""
    waits = Path(f"{path}-wal")
    fixed = not os.access(path.parent, os.W_OK) and not (waits.exists() and waits.stat().st_size)
    return f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if fixed else ''}"


def _statements(script: str) -> Iterator[str]:
    """One after the other: `executescript` would commit the transaction it is in."""
    part = ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            yield part
            part = ""
