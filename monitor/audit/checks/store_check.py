"""Whether the store says the same as its log, entry by entry: while the log is read, each leaf with its stored row.

Owns the comparison of rows, labels, holds and blobs with what the log says of them, as of one moment; files as such are
`sealed_files`. It changes nothing, needs no key, and never learns whether the log itself is sound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dosimeter.monitor.audit.checks.differences import MOST, Difference, Differences, Row, row_hash
from dosimeter.monitor.audit.checks.logged import Hashes, Logged
from dosimeter.monitor.audit.checks.sealed_files import SealedFiles
from dosimeter.monitor.audit.store.columns import NAMES, Value, row_of
from dosimeter.monitor.audit.store.entries import MANY
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, Segment
from dosimeter.monitor.tlog.merkle import leaf_hash
from dosimeter.monitor.tlog.reader import LogReader, LogUnreadable

_BLOB = "SELECT CAST(body AS BLOB) FROM blob WHERE sha256 = ?"
_ALERT = b'"kind":"alert","position":'
"""In every leaf of that kind; in one of another only inside a list of a record's own."""
_KIND, _ABOUT = NAMES.index("kind"), NAMES.index("about")


@dataclass
class StoreCheck:
    """Give `look` every leaf in order, then call `close`. The store's connection is of no use to others after.

    A sealed file that is, to the bit, what its `seal` entry in the log says was made of its leaves is not read row by
    row again. compared: entries held against their rows; vouched: entries in such files.
    """

    hot: HotStore
    folder: HistoryFolder
    differences: list[Difference] = field(default_factory=list)
    compared: int = 0
    vouched: int = 0
    blobs: int = 0
    size: int = 0  # entries of the store, signed or not

    def __post_init__(self) -> None:
        # Whoever changed a text may have left what is none: that is a difference, and no reason to stop.
        self.hot.db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        self._found = Differences(self.differences)
        self._logged = Logged(self._found)
        self._files = SealedFiles(self.hot, self.folder, self._logged, self._found)
        self._terms: dict[str, Mapping[str, Any]] = {}
        self._unknown: set[str] = set()
        self._leaves: dict[int, Any] = {}  # first -> hash over the log's leaves of that file
        self._beside: set[int] = set()  # entries that were compared although their file is believed
        self._looked = self._told = 0
        self._believed: list[Segment] = []
        self._begun = False

    @property
    def more(self) -> int:
        """Differences that are not listed."""
        return self._found.more

    @property
    def files(self) -> int:
        return self._files.count

    @property
    def stretches(self) -> list[Mapping[str, Any]]:
        """Births, deaths and gaps, as the log has them."""
        return self._logged.stretches

    def _begin(self) -> None:
        """From here on the store is seen as of one moment, after the log's checkpoint was read: all signed is in."""
        if not self._begun:
            self._begun = True
            self.hot.db.execute("BEGIN")
            self._segments = self.hot.segments()
            for segment in self._segments:
                if self._files.is_as_stored(segment):
                    self._believed.append(segment)  # until the log says what was sealed
                    self._leaves[segment.first] = hashlib.sha256()
            self._believing = iter(self._believed)
            self._within = next(self._believing, None)
            self._sealed = self._files.rows(
                [one for one in self._segments if one not in self._believed]
            )
            self._ahead: tuple[int, Row] | None = next(self._sealed, None)

    def look(self, first: int, leaves: Sequence[bytes]) -> None:
        """Leaves first .. first + len(leaves) as the log has them."""
        self._begin()
        past = self._looked = first + len(leaves)
        names = ", ".join(NAMES)
        found: dict[int, tuple[bytes | None, Row]] = {}
        query = f"SELECT idx, CAST(leaf AS BLOB), {names} FROM entry WHERE idx >= ? AND idx < ?"
        for idx, leaf, *row in self.hot.db.execute(query, (first, past)):
            found[idx] = (bytes(leaf), tuple(row))
        for idx in found:
            if self._is_sealed(idx):
                self._found.add(idx, "is sealed and not sealed at once")
        query = f"SELECT idx, {names} FROM sealed_few WHERE idx >= ? AND idx < ?"
        few = {idx: tuple(row) for idx, *row in self.hot.db.execute(query, (first, past))}
        while self._ahead is not None and self._ahead[0] < past:
            idx, row_ = self._ahead
            if idx in found:
                self._found.add(idx, "is sealed and not sealed at once")
            elif (beside := few.pop(idx, None if self._is_due(idx, row_) else row_)) != row_:
                what = "the entry beside the sealed file is not the one in it"
                self._found.add(
                    idx, what, row_hash(row_), "" if beside is None else row_hash(beside)
                )
            found[idx] = (None, row_)
            self._ahead = next(self._sealed, None)
        for idx, row_ in few.items():
            if self._is_sealed(idx):  # its file is believed: held against its leaf
                found.setdefault(idx, (None, row_))
                self._beside.add(idx)
            elif any(one.first <= idx < one.past for one in self._files.missing):
                found.setdefault(idx, (None, row_))  # as much as there is
            else:
                what = "an entry stands beside the sealed files and in none"
                self._found.add(idx, what, "", row_hash(row_))
        for index, leaf in enumerate(leaves, first):
            believed = self._is_believed(index)
            if believed and self._within is not None:
                self._leaves[self._within.first].update(leaf_hash(leaf))
            if believed and index not in found:
                if _ALERT not in leaf:
                    self._read(index, leaf)
            else:
                self._compare(index, leaf, found.get(index))

    def _is_due(self, index: int, row: Row) -> bool:
        """Whether this entry of a sealed file must stand beside it too."""
        if _is_always_beside(row[_KIND], row[_ABOUT]):
            return True
        few = any(s.few and s.first <= index < s.past for s in self._segments)
        return few and row[_KIND] not in MANY

    def _is_believed(self, index: int) -> bool:
        while self._within is not None and index >= self._within.past:
            self._within = next(self._believing, None)
        return self._within is not None and index >= self._within.first

    def _read(self, index: int, leaf: bytes) -> None:
        """Of an entry in a file that is believed. A rare one must stand beside it too, and then was compared."""
        try:
            said = json.loads(leaf)
            self._logged.learn(said)
            few = self._within is not None and self._within.few
            due = few and said["kind"] not in MANY
            if due or _is_always_beside(said["kind"], said.get("about")):
                what = "the entry beside the sealed file is missing"
                self._found.add(index, what, leaf_hash(leaf).hex())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._found.add(
                index, f"the log's entry cannot be read: {error}", leaf_hash(leaf).hex()
            )

    def _compare(self, index: int, leaf: bytes, found: tuple[bytes | None, Row] | None) -> None:
        try:
            said = json.loads(leaf)
            self._logged.learn(said)
            terms = self._terms_of(said)
            expected = None if terms is None else row_of(said, terms)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._found.add(
                index, f"the log's entry cannot be read: {error}", leaf_hash(leaf).hex()
            )
            return
        if found is None:
            if not any(one.first <= index < one.past for one in self._files.missing):
                self._found.add(index, "is not in the store", leaf_hash(leaf).hex())
            return
        stored, row = found
        self.compared += 1
        if stored is not None and stored != leaf:
            what = "the store has another entry than the log"
            self._found.add(index, what, leaf_hash(leaf).hex(), leaf_hash(stored).hex())
        elif expected is not None and row != expected:
            columns = [n for n, a, b in zip(NAMES, expected, row, strict=True) if a != b]
            what = f"stored columns are not what the log says: {', '.join(columns)}"
            self._found.add(index, what, row_hash(expected), row_hash(row))

    def _terms_of(self, said: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """None where they are not there, which is said once."""
        sha = said.get("terms")
        if sha is None:
            return {}
        if sha not in self._terms:
            found = self.hot.db.execute(_BLOB, (bytes.fromhex(sha),)).fetchone()
            body = found[0] if found else b""
            if hashlib.sha256(body).hexdigest() != sha:
                if sha not in self._unknown:
                    self._unknown.add(sha)
                    self._found.add(None, f"the rule's terms are not in the store: blob {sha}", sha)
                return None
            self._terms[sha] = json.loads(body)
        return self._terms[sha]

    def _is_sealed(self, index: int) -> bool:
        return any(one.first <= index < one.past for one in self._believed)

    def close(self) -> None:
        """What can only be said at the end: blobs, sealed files, what lies beyond the log."""
        self._begin()
        for sha, body in self.hot.db.execute(
            "SELECT sha256, CAST(body AS BLOB) FROM blob ORDER BY sha256"
        ):
            self.blobs += 1
            found = hashlib.sha256(body).digest()
            if found != sha:
                named = sha.hex() if isinstance(sha, bytes) else str(sha)
                self._found.add(None, "a blob is not what its hash names", named, found.hex())
        self._doubted()
        self._told = self._looked
        if self._unsigned():
            self._hold()
        expected = 0
        for segment in self._segments:
            if segment.first != expected:
                self._found.add(
                    expected, f"no sealed file has entries {expected} to {segment.first - 1}"
                )
            expected = segment.past
        size = self.size = self.hot.size
        self._outside()
        unsealed = "SELECT count(*), max(idx) FROM entry WHERE idx >= ?"
        rows, most = self.hot.db.execute(unsealed, (expected,)).fetchone()
        if expected + rows != size or (rows and most != size - 1):
            self._found.add(
                None, f"the store says it has {size} entries, and {expected + rows} are here"
            )
        self.hot.db.execute("COMMIT")
        self._unsigned()  # files are as of now: why one went meanwhile is said now, too
        for segment in self._segments:
            self._files.check(segment)

    def _doubted(self) -> None:
        """Files that were believed and that no entry of the log vouches for are read row by row after all."""
        for segment in self._believed:
            read = self._leaves[segment.first].hexdigest()
            if self._logged.hashes.get(segment.first) == Hashes(segment.sha256, read):
                self._files.count_beside(segment)
                rows = sum(segment.first <= at < segment.past for at in self._beside)
                self.vouched += segment.past - segment.first - rows
                continue
            stored = dict(self._files.rows([segment]))
            past = min(segment.past, self._looked)
            with suppress(LogUnreadable):
                for index, leaf in LogReader(self.folder.log).leaves(segment.first, past):
                    row = stored.get(index)
                    if index not in self._beside:
                        self._compare(index, leaf, None if row is None else (None, row))

    def _outside(self) -> None:
        """Rows at positions that the log cannot have, which `look` never comes to: lists would show them."""
        names = ", ".join(NAMES)
        for (idx,) in self.hot.db.execute("SELECT idx FROM entry WHERE idx < 0 LIMIT ?", (MOST,)):
            self._found.add(idx, "is not in the log")
        query = f"SELECT idx, {names} FROM sealed_few WHERE idx < 0 OR idx >= ? ORDER BY idx"
        for idx, *row in self.hot.db.execute(query, (self._looked,)):
            if not any(one.first <= idx < one.past for one in self._segments):
                what = "an entry stands beside the sealed files and in none"
                self._found.add(idx, what, "", row_hash(tuple(row)))

    def _unsigned(self) -> bool:
        """What was accepted and is not signed yet says why files are gone, too. Whether all of it is here."""
        rest = self.hot.leaves(self._told, self.hot.size)
        for _, leaf in rest:
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                self._logged.learn(json.loads(leaf))
        self._told += len(rest)
        return self._told >= self.hot.size

    def _hold(self) -> None:
        """Whoever takes a hold away unseen can have erased what it was put on."""
        stored = self.hot.holds()
        told = {about: by for about, by in self._logged.holds.items() if by}
        kept = {about.hex(): by.hex() for about, by in stored.items()}
        for about in sorted(told.keys() | kept.keys()):
            if told.get(about) != kept.get(about):
                what = f"the hold on {about} is not what its entries say"
                self._found.add(None, what, told.get(about, ""), kept.get(about, ""))


def _is_always_beside(kind: Value, about: Value) -> bool:
    """What reviewers said of alerts is never read from files, whatever release has sealed it."""
    return kind == "label" and about is not None
