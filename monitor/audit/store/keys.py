"""The erasable part of history: which random id stands for which label, and the keys of subjects.

Owns keys.db. Destroying a subject's rows here is erasure: what is left elsewhere is ciphertext nobody can read and ids
that stand for nobody. Its backups must be kept apart and short (docs/audit.md). It knows nothing of entries.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

from dosimeter.monitor.audit.store.hot import StoreStalled, read_only_uri
from dosimeter.monitor.history.named_sql import load_sql, read_sql
from dosimeter.monitor.history.sqlite_file import empty_log, transaction, write_anew

VERSION = 1
PACKAGE = "dosimeter.monitor.audit.store"
BUSY_S = 30.0
"""For an erasure, which writes the file anew: about 7 s a million names."""
DAY_NS = 86_400 * 10**9
_EPOCH = date(1970, 1, 1).toordinal()
MAX_KNOWN = 200_000
"""Ids and keys remembered in memory, each; above it all are forgotten and read again."""
CACHE_KB, LOG_PAGES = 32_768, 4_000
"""Of pages in memory; of pages in the write-ahead log before they are copied into the file, 16 MB."""
SQL = load_sql(PACKAGE, "keys_queries.sql")

Name = tuple[str, bytes, str]
"""kind (tenant, user, conversation, request, actor), the id of its tenant or b"", the label's value."""
KeyOf = tuple[bytes, int]
"""The id of a subject, and the month of the event as 202603."""


class KeysError(RuntimeError):
    """The file cannot be used as a key store."""


class NameGone(KeysError):
    """Somebody was erased meanwhile: nothing more may lead to that id, and no key is made for it."""

    def __init__(self, id_: bytes) -> None:
        super().__init__(f"{id_.hex()} stands for nobody: erased\n  hint: do it again")


@dataclass(frozen=True, slots=True)
class Destroyed:
    keys: int
    names: int


def month_of(time_ns: int) -> int:
    """202603 for a moment in March 2026, UTC."""
    return _month(max(0, time_ns) // DAY_NS)


@lru_cache(maxsize=1024)
def _month(day: int) -> int:
    at = date.fromordinal(_EPOCH + day)
    return 100 * at.year + at.month


def _mark(id_: bytes) -> bytes:
    """What is kept of one who was erased."""
    return hashlib.sha256(id_).digest()


class KeyStore:
    """One connection; use it from one thread at a time. Several processes may have it open."""

    def __init__(
        self,
        path: Path,
        *,
        random: Callable[[int], bytes] = os.urandom,
        read_only: bool = False,
    ) -> None:
        """Create the file or open it. Raises KeysError."""
        self.path, self._random = path, random
        new = not path.exists()
        where = read_only_uri(path) if read_only else str(path)
        try:
            self._db = sqlite3.connect(
                where, uri=read_only, isolation_level=None, timeout=BUSY_S, check_same_thread=False
            )
        except sqlite3.OperationalError as error:
            raise KeysError(f"{path}: cannot be opened: {error}") from error
        if new and not read_only:
            path.chmod(0o600)
        try:
            self._prepare(read_only)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise KeysError(f"{path}: cannot be used as a key store: {error}") from error
        except KeysError:
            self._db.close()
            raise
        self._ids: dict[Name, bytes] = {}
        self._keys: dict[KeyOf, bytes] = {}
        self._version = -1
        self._together = False

    def _prepare(self, read_only: bool) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise KeysError(
                f"{self.path}: version `{found}` is newer than `{VERSION}`\n  hint: upgrade dosimeter"
            )
        if read_only:
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA secure_delete = ON")  # what is deleted stays in no page
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA temp_store = MEMORY")
        # Ids are random, so that every batch touches pages everywhere in the file.
        self._db.execute(f"PRAGMA cache_size = {-CACHE_KB}")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        if found == 0:
            schema = read_sql(PACKAGE, "keys_schema.sql")
            self._db.executescript(
                f"BEGIN IMMEDIATE;\n{schema}\nPRAGMA user_version = {VERSION};\nCOMMIT;"
            )
        self._db.execute(SQL["make_gone"])

    def ids(self, names: Iterable[Name], owners: Mapping[Name, bytes]) -> dict[Name, bytes]:
        """The random id of each, made where there is none; durable when this returns. Raises StoreStalled, NameGone.

        owners: for a name that leads to a subject (a conversation), the id of that subject: erased with it.
        """
        self._forget_if_changed()
        wanted = set(names)
        missing = sorted(name for name in wanted if name not in self._ids)
        if missing:
            with self._writing():
                self._stand({owners[name] for name in missing if name in owners})
                self._stand({name[1] for name in missing if name[1]})
                found = dict(zip(missing, self._draw(16, len(missing)), strict=True))
                made = [(*name, id_, owners.get(name)) for name, id_ in found.items()]
                if self._db.executemany(SQL["put_id"], made).rowcount < len(made):
                    for name in missing:  # some were there
                        found[name] = self._db.execute(SQL["find_id"], name).fetchone()[0]
            if len(self._ids) + len(found) > MAX_KNOWN:
                self._ids.clear()
                return found | self.ids(wanted - found.keys(), owners)
            self._ids |= found
            self._seen()
        return {name: self._ids[name] for name in wanted}

    def keys(self, wanted: Iterable[KeyOf]) -> dict[KeyOf, bytes]:
        """The key of each subject and month, 32 bytes, made where there is none; durable then.

        Raises StoreStalled, NameGone.
        """
        self._forget_if_changed()
        each = set(wanted)
        missing = sorted(one for one in each if one not in self._keys)
        if missing:
            with self._writing():
                self._stand({subject for subject, _ in missing})
                found = dict(zip(missing, self._draw(32, len(missing)), strict=True))
                made = [(*one, key) for one, key in found.items()]
                if self._db.executemany(SQL["put_key"], made).rowcount < len(made):
                    for one in missing:  # some were there
                        found[one] = self._db.execute(SQL["find_key"], one).fetchone()[0]
            if len(self._keys) + len(found) > MAX_KNOWN:
                self._keys.clear()
                return found | self.keys(each - found.keys())
            self._keys |= found
            self._seen()
        return {one: self._keys[one] for one in each}

    def _draw(self, size: int, count: int) -> Iterator[bytes]:
        """So many random texts of `size` bytes, of one look at where chance comes from."""
        drawn = self._random(size * count)
        return (drawn[at : at + size] for at in range(0, len(drawn), size))

    def _stand(self, ids: Iterable[bytes]) -> None:
        """Inside a transaction: what is erased stays erased. Raises NameGone."""
        marks = {_mark(id_): id_ for id_ in ids}
        row = self._db.execute(SQL["any_gone"], {"marks": b"".join(marks)}).fetchone()
        if row is not None:
            self._ids.clear()
            raise NameGone(marks[row[0]])

    def find(self, kind: str, tenant: bytes, value: str) -> bytes | None:
        """The id of a label's value; None where there is none, or it was erased."""
        row = self._db.execute(SQL["find_id"], (kind, tenant, value)).fetchone()
        return None if row is None else bytes(row[0])

    def name(self, id_: bytes) -> tuple[str, str] | None:
        """(kind, value) that an id stands for; None once it was erased."""
        row = self._db.execute(SQL["find_name"], (id_,)).fetchone()
        return None if row is None else (row[0], row[1])

    def is_person(self, value: str) -> bool:
        """Whether that is all of the name of a user, conversation, request or actor, of whatever tenant."""
        return self._db.execute(SQL["is_person"], {"value": value}).fetchone() is not None

    def gone(self, id_: bytes) -> bool:
        """Whether it was erased."""
        return self._db.execute(SQL["find_gone"], (_mark(id_),)).fetchone() is not None

    def key(self, subject: bytes, month: int) -> bytes | None:
        row = self._db.execute(SQL["find_key"], (subject, month)).fetchone()
        return None if row is None else bytes(row[0])

    def destroy(self, subject: bytes) -> Destroyed:
        """As `destroy_all`, of one subject."""
        return self.destroy_all([subject])

    def destroy_all(self, subjects: Iterable[bytes]) -> Destroyed:
        """The keys of subjects, their own names and the names that lead to them. Durable when this returns.

        Raises StoreStalled, or KeysError where another process keeps the file from being cleaned: to be called again.
        """
        keys = names = 0
        with self._writing():
            for subject in subjects:
                keys += self._db.execute(SQL["destroy_keys"], (subject,)).rowcount
                names += self._db.execute(SQL["destroy_names"], (subject, subject)).rowcount
                self._db.execute(SQL["put_gone"], (_mark(subject),))
        self._ids.clear()
        self._keys.clear()
        self._clean()
        return Destroyed(keys, names)

    def leading_to(self, subject: bytes) -> list[bytes]:
        """Ids of the names that are destroyed with a subject, such as its conversations."""
        return [bytes(id_) for (id_,) in self._db.execute(SQL["owned"], (subject,))]

    def within(self, tenant: bytes) -> list[bytes]:
        """Ids of the users, conversations and requests of a tenant."""
        return [bytes(id_) for (id_,) in self._db.execute(SQL["within"], (tenant,))]

    def months(self, subject: bytes) -> list[int]:
        """Of which there are keys."""
        return [int(month) for (month,) in self._db.execute(SQL["months"], (subject,))]

    def _clean(self) -> None:
        """What was destroyed stays nowhere in the file, nor in its write-ahead log."""
        try:
            write_anew(self._db)
            emptied = empty_log(self._db)
        except sqlite3.OperationalError as error:
            raise KeysError(
                f"{self.path}: destroyed, but the file cannot be cleaned: {error}\n"
                "  hint: free disk space of its size, and ask for the erasure again"
            ) from error
        finally:
            self._seen()
        if not emptied:
            raise KeysError(
                f"{self.path}: destroyed, but its write-ahead log is being read\n"
                "  hint: end the program that reads it, and ask for the erasure again"
            )

    def destroy_months(self, before: int, held: Iterable[bytes]) -> int:
        """The keys of months before that one, but for those of held subjects. Returns how many."""
        with self._writing():
            kept = {bytes(one) for one in held}
            old = self._db.execute(SQL["keys_before"], (before,)).fetchall()
            gone = [(subject, month) for subject, month in old if bytes(subject) not in kept]
            self._db.executemany(SQL["destroy_key"], gone)
        self._keys.clear()
        self._clean()
        return len(gone)

    @contextmanager
    def together(self) -> Iterator[None]:
        """One commit of all that `ids` and `keys` make within: durable when this ends, and forgotten if it fails."""
        self._together = True
        try:
            yield
            if self._db.in_transaction:
                self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._ids.clear()
            self._keys.clear()
            if isinstance(error, sqlite3.OperationalError):
                raise StoreStalled(self.path, error) from error
            raise
        finally:
            self._together = False

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, or a part of one. Raises StoreStalled where the disk or another writer does not allow it."""
        try:
            if self._together:
                if not self._db.in_transaction:
                    self._db.execute("BEGIN IMMEDIATE")
                yield
            else:
                with transaction(self._db):
                    yield
        except sqlite3.OperationalError as error:
            raise StoreStalled(self.path, error) from error

    def _forget_if_changed(self) -> None:
        """Another process may have destroyed what is remembered here."""
        if self._db.execute("PRAGMA data_version").fetchone()[0] != self._version:
            self._ids.clear()
            self._keys.clear()
            self._seen()

    def _seen(self) -> None:
        self._version = self._db.execute("PRAGMA data_version").fetchone()[0]

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> KeyStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
