"""A sidecar's ledger as a stream of items: blobs before alerts that name them, then what grew, coverage, life.

It owns the cursor. What depends on the moment (signs of life, coverage) is decided by one read and given by the next,
out of the cursor: reading again from an older cursor gives it again unchanged. It knows nothing of who takes the items.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dosimeter.monitor.feed import life
from dosimeter.monitor.feed.growing import Growing, may_grow
from dosimeter.monitor.feed.hours import Hours
from dosimeter.monitor.feed.items import (
    Alert,
    Alive,
    Batch,
    Blob,
    Bye,
    FeedAway,
    Hello,
    Item,
    Rolled,
)
from dosimeter.monitor.feed.wire import decode, encode
from dosimeter.monitor.history.reader import LedgerMissing, LedgerReader
from dosimeter.monitor.history.records import Account, StoredAlert

CURSOR_VERSION = 1
LOOK_NS = 10**9
"""Between two looks at what is rewritten in place: evidence and coverage."""
ALIVE_NS = 30 * 10**9
BLOBS = 256
"""Hashes of blobs that a cursor names as given; another one is given again by whoever goes on from it."""


class LedgerFeed:
    """One ledger, read by one thread. A ledger that is not there yet is an empty one."""

    def __init__(self, ledger: Path, name: str, cursor: Mapping[str, Any] | None = None) -> None:
        """name: of this host or pod. cursor: of a batch of an earlier feed of this path; None or empty: from the start.

        Raises ValueError for the cursor of a later release.
        """
        self.ledger, self.name = ledger, name
        self._reader: LedgerReader | None = None
        self._file: tuple[int, int] | None = None
        self.rewind(cursor)

    def rewind(self, cursor: Mapping[str, Any] | None) -> None:
        """Go on from a cursor, as a new feed would: the items after it were not stored."""
        found = dict(cursor or {})
        version = found.get("v", CURSOR_VERSION)
        if version != CURSOR_VERSION:
            raise ValueError(
                f"{self.ledger}: cursor of version `{version}`, not {CURSOR_VERSION}\n"
                "  hint: upgrade dosimeter"
            )
        self._owed = [decode(wire.encode()) for wire in found.get("owed", ())]
        self._source: str = found.get("source", "")
        self._seq: int = found.get("seq", 0)
        self._event_id: str = found.get("event", "")
        self._life: int | None = found.get("life")
        self._looked: int | None = None
        self._asked: int | None = None
        self._stood: tuple[int, list[Account]] | None = None  # when it was asked last
        self._blobs: dict[str, None] = dict.fromkeys(found.get("blobs", ()))
        self._given = set(self._blobs)
        self._absent: set[str] = set()  # of this read: packs and calibrations are not in a ledger
        self._hours = Hours(self._source, found.get("hours"))
        self._growing = Growing(self._source, found.get("growing", ()))

    @property
    def cursor(self) -> dict[str, Any]:
        return {
            "v": CURSOR_VERSION,
            "source": self._source,
            "seq": self._seq,
            "event": self._event_id,
            "life": self._life,
            "blobs": list(self._blobs),
            "hours": self._hours.state(),
            "growing": self._growing.state(),
            "owed": [encode(item).decode() for item in self._owed],
        }

    @property
    def owes(self) -> bool:
        """Whether the next read gives something at once."""
        return bool(self._owed)

    def read(self, now_ns: int, limit: int = 500) -> Batch:
        """What came since, with at most `limit` alerts. now_ns: wall clock.

        Raises FeedAway, LedgerError.
        """
        before = self.cursor
        self._absent.clear()
        try:
            return Batch(tuple(self._read(now_ns, limit)), self.cursor)
        except (sqlite3.Error, OSError) as error:
            self.rewind(before)
            self.close()
            raise FeedAway(f"{self.ledger}: cannot be read now: {error}") from error

    def end(self, now_ns: int, reason: str) -> None:
        """The sidecar ends: the next read gives the rest of its coverage, and its last word."""
        try:
            reader = self._opened(now_ns)
            if reader is None:
                return
            self._owed += self._hours.look(reader.accounts(), now_ns)
            last_seq = reader.last_seq()
        except (sqlite3.Error, OSError) as error:
            raise FeedAway(f"{self.ledger}: cannot be read now: {error}") from error
        self._owed += [*self._hours.flush(), Bye(self._source, last_seq, now_ns, reason)]

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = self._file = None

    def _read(self, now_ns: int, limit: int) -> Iterator[Item]:
        reader = self._opened(now_ns)
        owed, self._owed = self._owed, []
        yield from owed
        if reader is None:
            return
        if any(isinstance(item, Bye) for item in owed):
            return  # nothing of this read may come after it
        # The last one that was given, too: a ledger that was rolled back has another there, or none.
        rows = reader.alerts_since(max(0, self._seq - 1), limit=limit + 1)
        if self._rolled_back(rows, reader, now_ns) or self._begun(reader, now_ns):
            return
        if self._looked is None or not 0 <= now_ns - self._looked < LOOK_NS:
            self._looked = now_ns
            new = [one for one in reader.blob_names() if one not in self._given]
            yield from self._bodies(new[:limit], reader)  # of rules that nothing has met yet, too
            yield from self._growing.look(reader.evidence, now_ns)
            accounts = list(reader.accounts())
            self._owed += self._hours.look(accounts, now_ns)
            if self._asked is None or not 0 <= now_ns - self._asked < ALIVE_NS:
                self._asked = now_ns
                last_seq = reader.last_seq()
                if self._lives(last_seq, accounts):
                    self._owed.append(Alive(self._source, last_seq, now_ns))
        for row in rows:
            if row.seq > self._seq:
                yield from self._alert(row, reader, now_ns)

    def _lives(self, last_seq: int, accounts: list[Account]) -> bool:
        """Where the lock cannot be asked, a ledger that went on since is written by somebody."""
        before, self._stood = self._stood, (last_seq, accounts)
        said = life.written(self.ledger)
        return before not in (None, self._stood) if said is None else said

    def _opened(self, now_ns: int) -> LedgerReader | None:
        """The reader of the file that is there now; None: there is none."""
        try:
            at = self.ledger.stat()
            if (at.st_dev, at.st_ino) != self._file:
                self.close()
                self._reader = LedgerReader(self.ledger)
                self._file = at.st_dev, at.st_ino
        except (FileNotFoundError, LedgerMissing):
            self.close()
            return None
        assert self._reader is not None
        found = self._reader.ledger_id
        if found != self._source:
            if self._source:
                last = Bye(self._source, self._seq, now_ns, "replaced by another ledger")
                owed = [*self._owed, *self._hours.flush(), last]
                self.rewind({"source": found})
                self._owed = owed
            else:
                self.rewind({"source": found})
        return self._reader

    def _rolled_back(self, rows: list[StoredAlert], reader: LedgerReader, now_ns: int) -> bool:
        if not self._seq:
            return False
        if not rows:
            has = reader.last_seq()
            if has >= self._seq:  # accepted just now
                return False
        elif rows[0].seq == self._seq and rows[0].event_id != self._event_id:
            has = 0  # another history since some position that nothing tells: all of it again
        else:
            return False
        self._owed.append(Rolled(self._source, self._seq, has, now_ns))
        self._seq, self._event_id = has, ""
        for row in reader.alerts_since(has - 1, limit=1) if has else ():
            self._event_id = row.event_id
        return True

    def _begun(self, reader: LedgerReader, now_ns: int) -> bool:
        """Whether another life of the sidecar began; its greeting comes before its alerts."""
        started_ns = life.started_ns(self.ledger)
        if started_ns == self._life:
            return False
        last_seq = reader.last_seq()
        first = reader.alerts_since(0, limit=1)
        hello = Hello(
            source=self._source,
            name=self.name,
            started_ns=started_ns,
            first_seq=first[0].seq if first else last_seq + 1,
            exact_after=_or(reader.contiguous_after(), last_seq),
            last_seq=last_seq,
        )
        self._owed.append(hello)
        self._life = started_ns
        return True

    def _alert(self, row: StoredAlert, reader: LedgerReader, now_ns: int) -> Iterator[Item]:
        record = _record(row)
        yield from self._named(record, reader)
        kind = record.get("kind")
        evidence = reader.evidence(row.event_id) if kind == "alert" else None
        grows = may_grow(kind, row.committed_ns, now_ns)
        if grows:
            self._growing.expect(row.event_id, row.committed_ns, evidence)
        self._seq, self._event_id = row.seq, row.event_id
        yield Alert(self._source, row.seq, row.event_id, row.core, evidence, final=not grows)

    def _named(self, record: Mapping[str, Any], reader: LedgerReader) -> Iterator[Blob]:
        """The blobs that a record names, as far as the ledger has them and they were not given."""
        wanted = dict.fromkeys(_hashes(record))
        new = [one for one in wanted if one not in self._given and one not in self._absent]
        return self._bodies(new, reader)

    def _bodies(self, names: Sequence[str], reader: LedgerReader) -> Iterator[Blob]:
        for sha256 in names:
            body = reader.blob(sha256)
            if body is None:
                self._absent.add(sha256)
                continue
            self._given.add(sha256)
            self._blobs[sha256] = None
            while len(self._blobs) > BLOBS:
                del self._blobs[next(iter(self._blobs))]
            yield Blob(sha256, body)

    def __enter__(self) -> LedgerFeed:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(sqlite3.Error):
            self.close()


def _or(found: int | None, otherwise: int) -> int:
    return otherwise if found is None else found


def _record(row: StoredAlert) -> Mapping[str, Any]:
    """Empty where it is none: it is given as it is, to be refused by name, and keeps nothing after it waiting."""
    with suppress(ValueError, RecursionError):
        if isinstance(row.record, dict):
            return row.record
    return {}


def _hashes(record: Mapping[str, Any]) -> Iterator[str]:
    """Of the record itself and of the other conditions it names."""
    also = record.get("also")
    for part in (record, *(also if isinstance(also, list) else ())):
        if isinstance(part, Mapping):
            named = (value for name, value in part.items() if name.endswith("_sha256"))
            yield from [sha for sha in named if isinstance(sha, str)]
