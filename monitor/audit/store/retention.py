"""What goes when its time is over: evidence after days, core entries after months, unless somebody holds them.

Owns when that is and the order: what will go is an entry of the log first, then the store forgets the file, then the
file is removed, then the keys of the month are destroyed; a crash in between is made good by the next run. A held entry
keeps its evidence, and its whole core file. When a core file goes, queries no longer find its entries; the log keeps
their leaves, which have nothing personal, so that proofs go on to hold.
"""

from __future__ import annotations

import calendar
import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dosimeter.monitor.audit.erasure.known import By, KnownEntries
from dosimeter.monitor.audit.store.entries import Entry, own_id
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import SQL as HOT
from dosimeter.monitor.audit.store.hot import HotStore, Segment
from dosimeter.monitor.audit.store.keys import KeyStore, month_of
from dosimeter.monitor.audit.store.sealed_file import (
    EVIDENCE,
    about_of,
    hash_of,
    synced,
    times_of,
    written,
)
from dosimeter.monitor.audit.store.sealing import SQL

DAY_NS = 86_400 * 1_000_000_000
MOST = 300
"""Files of a kind that go at once, so that the entry which names them fits into the log; the rest an hour later."""
_MONTH = "keys_before"
"""In hot.db: keys of earlier months were destroyed."""
_UNREADABLE = (pa.ArrowException, OSError, KeyError, ValueError)
_BY: tuple[By, ...] = ("id", "subject", "conversation", "tenant", "about")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Going:
    """Segments whose evidence goes, whose core goes, and the month before which keys go: 202603."""

    evidence: tuple[Segment, ...]
    core: tuple[Segment, ...]
    keys_before: int


@dataclass(frozen=True, slots=True)
class Gone:
    """What went: files, ciphertexts that were not in a file yet, keys; kept: rows of evidence that are held."""

    evidence_files: int
    core_files: int
    ciphertexts: int
    keys: int
    kept: int

    def __str__(self) -> str:
        """What went, in words; empty: nothing did."""
        said = {
            "files of entries": self.core_files,
            "files of evidence": self.evidence_files,
            "pieces of evidence not in a file yet": self.ciphertexts,
            "keys": self.keys,
        }
        return ", ".join(f"{count} {what}" for what, count in said.items() if count)


@dataclass(frozen=True, slots=True)
class _Held:
    """about: what was put on hold. entries: of it or about it. subjects: whose keys these need."""

    about: frozenset[bytes]
    entries: frozenset[bytes]
    subjects: frozenset[bytes]


class Retention:
    """Use it from the thread that writes history, in the process that holds the lock of the log."""

    def __init__(
        self,
        hot: HotStore,
        keys: KeyStore,
        folder: HistoryFolder,
        *,
        core_months: int,
        evidence_days: int,
    ) -> None:
        self._hot, self._keys, self._folder = hot, keys, folder
        self._core_months, self._evidence_days = core_months, evidence_days

    def due(self, now_ns: int) -> Going | None:
        """What goes now; None: nothing."""
        held = self._held()
        before_ns = now_ns - self._evidence_days * DAY_NS
        segments = self._hot.segments()
        core = [
            s
            for s in self._over(
                [s for s in segments if not s.gone], _back(now_ns, self._core_months)
            )
            if self._is_sound(s) and not _any(self._folder.core / s.core, "id", held.entries)
        ]
        rest = [s for s in segments if s.evidence is not None and s not in core]
        evidence = [
            s
            for s in self._over(rest, before_ns)
            if not self._all_held(s, held) and self._is_sound(s)
        ]
        month = month_of(before_ns)
        if not core and not evidence and month <= int(self._hot.meta(_MONTH) or 0):
            return None
        return Going(tuple(evidence[:MOST]), tuple(core[:MOST]), month)

    @staticmethod
    def entry_of(going: Going, now_ns: int) -> Entry:
        """To be durable before `carry_out`."""
        fields = {
            "core": [s.core for s in going.core],
            "evidence_files": [f"evidence/{s.evidence}" for s in (*going.evidence, *going.core) if s.evidence],
            "keys_before": going.keys_before,
        }  # fmt: skip
        return Entry("retention", own_id(now_ns), now_ns, fields=fields)

    def carry_out(self, going: Going) -> Gone:
        """May be repeated. What was put on hold since `due` stays. Raises StoreStalled, OSError."""
        held = self._held()
        kept = 0
        for segment in going.evidence:
            kept += self._drop_evidence(segment, held)
        core = [s for s in going.core if not _any(self._folder.core / s.core, "id", held.entries)]
        for segment in core:
            with self._hot.writing() as db:
                db.execute(SQL["core_gone"], (segment.first,))
                db.execute(SQL["drop_few"], (segment.first, segment.past))
            self._remove(self._folder.core / segment.core)
            if segment.evidence is not None:
                self._remove(self._folder.evidence / segment.evidence)
        ciphertexts = self._drop_unsealed(going.keys_before, held)
        keys = self._keys.destroy_months(going.keys_before, held.subjects)
        with self._hot.writing() as db:
            db.execute(HOT["put_meta"], {"name": _MONTH, "value": str(going.keys_before)})
        return Gone(len(going.evidence), len(core), ciphertexts, keys, kept)

    def _over(self, segments: Sequence[Segment], before_ns: int) -> list[Segment]:
        """Those that end before then: with their last event, or, as a clock may have run ahead, with their sealing."""
        found, sealed_before = [], True
        for segment in segments:  # in the order in which they were sealed
            path = self._folder.core / segment.core
            try:
                # What a file says of itself: its hash is in the log, the row beside it is not.
                _, to_ns = times_of(path) or (0, segment.to_ns)
                if to_ns >= before_ns and sealed_before:
                    sealed_before = int(about_of(path).get("sealed_ns", before_ns)) < before_ns
            except _UNREADABLE:
                self._left(segment)
                continue
            if to_ns < before_ns or sealed_before:
                found.append(segment)
        return found

    def _is_sound(self, segment: Segment) -> bool:
        """Whether its core file is the one that was sealed. What somebody took away or put in its place is evidence of
        that: to call its time over would be to say that it went as it should."""
        try:
            if hash_of(self._folder.core / segment.core) == segment.sha256:
                return True
        except OSError:
            pass
        self._left(segment)
        return False

    @staticmethod
    def _left(segment: Segment) -> None:
        what = "is not the file that was sealed: it is left as it is, and its evidence with it"
        log.error("core/%s %s", segment.core, what)

    def _held(self) -> _Held:
        about = frozenset(self._hot.holds())
        if not about:
            return _Held(about, about, about)
        of = KnownEntries(self._hot, self._folder)
        known = [one for column in _BY for one in of.by(column, about)]
        owners = {one.subject or one.tenant for one in known} - {None}
        subjects = about | {owner for owner in owners if owner is not None} | self._of_lost()
        return _Held(about, frozenset(one.id for one in known), subjects)

    def _of_lost(self) -> frozenset[bytes]:
        """Whose evidence lies beside a core file that somebody took away: whether it is held nobody can say now."""
        found: set[bytes] = set()
        for segment in self._hot.segments():
            path = self._folder.evidence / str(segment.evidence)
            lost = not segment.gone and not (self._folder.core / segment.core).exists()
            if lost and path.exists():
                with suppress(*_UNREADABLE):
                    found |= set(_read(path, ["subject"])["subject"].to_pylist())
        return frozenset(found)

    def _all_held(self, segment: Segment, held: _Held) -> bool:
        path = self._folder.evidence / str(segment.evidence)
        if not held.about or not path.exists():
            return False
        try:
            rows = _held_rows(_read(path, ["id", "subject"]), held)
        except _UNREADABLE as error:
            log.error(
                "evidence/%s cannot be read, and some of it may be held: %s", path.name, error
            )
            return True
        return bool(pc.all(rows, min_count=0).as_py())

    def _drop_evidence(self, segment: Segment, held: _Held) -> int:
        """Returns how many rows stay."""
        path = self._folder.evidence / str(segment.evidence)
        if held.about and path.exists():
            table = _read(path, EVIDENCE.names)
            stays = table.filter(_held_rows(table, held))
            if len(stays):
                with written(path, EVIDENCE, about_of(path)) as writer:
                    writer.write_table(stays.cast(EVIDENCE))
                return len(stays)
        with self._hot.writing() as db:
            db.execute(SQL["evidence_gone"], (segment.first,))
        self._remove(path)
        return 0

    def _drop_unsealed(self, before: int, held: _Held) -> int:
        old = self._hot.db.execute(SQL["old_evidence"], (before,)).fetchall()
        going = [
            (id_, shut)
            for id_, subject, shut in old
            if id_ not in held.entries and subject not in held.about
        ]
        with self._hot.writing() as db:
            db.executemany(SQL["drop_evidence"], going)
        return len(going)

    @staticmethod
    def _remove(path: Path) -> None:
        path.unlink(missing_ok=True)
        synced(path.parent)


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    return pq.read_table(path, columns=list(columns), use_threads=False)


def _held_rows(table: pa.Table, held: _Held) -> pa.ChunkedArray:
    return pc.or_(
        _is_in(table["id"], held.entries | held.about), _is_in(table["subject"], held.about)
    )


def _any(path: Path, column: str, ids: Collection[bytes]) -> bool:
    if not ids or not path.exists():
        return False
    return bool(pc.any(_is_in(_read(path, [column])[column], ids)).as_py())


def _is_in(column: pa.ChunkedArray, ids: Collection[bytes]) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=pa.array(sorted(ids), column.type))


def _back(now_ns: int, months: int) -> int:
    """The same day and time so many months ago, or the last day of that month."""
    now = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC)
    year, month = divmod(12 * now.year + now.month - 1 - months, 12)
    day = min(now.day, calendar.monthrange(year, month + 1)[1])
    return int(now.replace(year=year, month=month + 1, day=day).timestamp()) * 1_000_000_000
