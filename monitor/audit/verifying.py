"""Whether log and store say the same, entry by entry, while the log is verified in the same pass.

Owns the comparison of every stored row with its leaf, of blobs and sealed files with their hashes, and the words of the
verdict: what is shown, and what is not. It changes nothing, needs no key but the public one, and never learns who asks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dosimeter.monitor.audit.anchored import Anchored
from dosimeter.monitor.audit.columns import NAMES, Value, row_of
from dosimeter.monitor.audit.folder import HistoryFolder
from dosimeter.monitor.audit.hot import HotStore, Segment
from dosimeter.monitor.audit.keeper import signed_ns
from dosimeter.monitor.audit.sealed_file import hash_of
from dosimeter.monitor.audit.times import lasting, shown
from dosimeter.monitor.audit.watched import KINDS, Watched, short, weigh
from dosimeter.monitor.tlog.findings import Verdict
from dosimeter.monitor.tlog.merkle import leaf_hash
from dosimeter.monitor.tlog.note import Checkpoint, Verifier
from dosimeter.monitor.tlog.verify import verify
from dosimeter.monitor.tlog.verify_tree import Progress

_BLOB = "SELECT CAST(body AS BLOB) FROM blob WHERE sha256 = ?"
MOST = 1000
"""Findings that are listed; the rest is counted."""
Row = tuple[Value, ...]
_KIND, _ABOUT = NAMES.index("kind"), NAMES.index("about")


@dataclass(frozen=True, slots=True)
class Difference:
    """log, store: hashes of what each has for this entry, in hex; empty where it has nothing."""

    index: int | None
    what: str
    log: str = ""
    store: str = ""


@dataclass
class StoreCheck:
    """Give `look` every leaf in order, then call `close`. The store's connection is of no use to others after."""

    hot: HotStore
    folder: HistoryFolder
    differences: list[Difference] = field(default_factory=list)
    more: int = 0
    compared: int = 0
    blobs: int = 0
    files: int = 0
    size: int = 0  # entries of the store, signed or not
    stretches: list[Mapping[str, Any]] = field(default_factory=list)  # births, deaths, gaps

    def __post_init__(self) -> None:
        # Whoever changed a text may have left what is none: that is a difference, and no reason to stop.
        self.hot.db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        self._terms: dict[str, Mapping[str, Any]] = {}
        self._unknown: set[str] = set()
        self._gone: set[str] = set()  # files whose time is over, as the log says
        self._sealed_hash: dict[int, str] = {}  # first -> of the core file, as the log says
        self._holds: dict[str, str] = {}  # on whom -> by which entry, as the log says; empty: none
        self._looked = 0
        self._missing: list[Segment] = []  # files that are not there or cannot be read
        self._begun = False

    def _begin(self) -> None:
        """From here on the store is seen as of one moment, after the log's checkpoint was read: all signed is in."""
        if not self._begun:
            self._begun = True
            self.hot.db.execute("BEGIN")
            self._segments = self.hot.segments()
            self._sealed = self._sealed_rows()
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
        query = f"SELECT idx, {names} FROM sealed_label WHERE idx >= ? AND idx < ?"
        labels = {idx: tuple(row) for idx, *row in self.hot.db.execute(query, (first, past))}
        while self._ahead is not None and self._ahead[0] < past:
            idx, row_ = self._ahead
            if idx in found:
                self._add(idx, "is sealed and not sealed at once")
            elif (beside := labels.pop(idx, None if _is_label(row_) else row_)) != row_:
                what = "the label beside the sealed file is not the one in it"
                self._add(idx, what, row_hash(row_), "" if beside is None else row_hash(beside))
            found[idx] = (None, row_)
            self._ahead = next(self._sealed, None)
        for idx, row_ in labels.items():
            self._add(idx, "a label stands beside the sealed files and in none", "", row_hash(row_))
        for index, leaf in enumerate(leaves, first):
            self._compare(index, leaf, found.get(index))

    def _compare(self, index: int, leaf: bytes, found: tuple[bytes | None, Row] | None) -> None:
        try:
            said = json.loads(leaf)
            self._learn(said)
            terms = self._terms_of(said)
            expected = None if terms is None else row_of(said, terms)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._add(index, f"the log's entry cannot be read: {error}", leaf_hash(leaf).hex())
            return
        if found is None:
            if not any(one.first <= index < one.past for one in self._missing):
                self._add(index, "is not in the store", leaf_hash(leaf).hex())
            return
        stored, row = found
        self.compared += 1
        if stored is not None and stored != leaf:
            what = "the store has another entry than the log"
            self._add(index, what, leaf_hash(leaf).hex(), leaf_hash(stored).hex())
        elif expected is not None and row != expected:
            columns = [n for n, a, b in zip(NAMES, expected, row, strict=True) if a != b]
            what = f"stored columns are not what the log says: {', '.join(columns)}"
            self._add(index, what, row_hash(expected), row_hash(row))

    def _learn(self, said: Mapping[str, Any]) -> None:
        kind = said["kind"]
        if kind in KINDS and kind != "coverage":
            self.stretches.append(said)
        elif kind == "retention":
            self._gone.update(str(name) for name in said.get("core", ()))
        elif kind in ("hold", "release"):
            about = str(said.get("about") or said.get("subject"))
            self._holds[about] = str(said["id"]) if kind == "hold" else ""
        elif kind == "seal" and isinstance(said.get("first"), int):
            self._sealed_hash[said["first"]] = str(said.get("core_sha256"))

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
                    self._add(None, f"the rule's terms are not in the store: blob {sha}", sha)
                return None
            self._terms[sha] = json.loads(body)
        return self._terms[sha]

    def _sealed_rows(self) -> Iterator[tuple[int, Row]]:
        for segment in self._segments:
            path = self._path(segment)
            if path is None:
                self._missing.append(segment)
                continue
            try:
                yield from self._rows_of(path)
            except (pa.ArrowException, OSError, KeyError, ValueError) as error:
                self._missing.append(segment)
                self._add(segment.first, f"core/{segment.core} cannot be read: {error}")

    @staticmethod
    def _rows_of(path: Path) -> Iterator[tuple[int, Row]]:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, use_threads=False)
                columns = [table[name].to_pylist() for name in ("idx", *NAMES)]
                for idx, *row in zip(*columns, strict=True):
                    yield idx, tuple(row)

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
                self._add(None, "a blob is not what its hash names", named, found.hex())
        expected = 0
        for segment in self._segments:
            if segment.first != expected:
                self._add(expected, f"no sealed file has entries {expected} to {segment.first - 1}")
            expected = segment.past
            self._file(segment)
        self._hold()
        size = self.size = self.hot.size
        unsealed = "SELECT count(*), max(idx) FROM entry WHERE idx >= ?"
        rows, most = self.hot.db.execute(unsealed, (expected,)).fetchone()
        if expected + rows != size or (rows and most != size - 1):
            self._add(None, f"the store says it has {size} entries, and {expected + rows} are here")
        self.hot.db.execute("COMMIT")

    def _hold(self) -> None:
        """Whoever takes a hold away unseen can have erased what it was put on."""
        rest, stored = self.hot.leaves(self._looked, self.hot.size), self.hot.holds()
        whole = self._looked + len(rest) >= self.hot.size
        for _, leaf in rest:  # accepted, and not signed yet
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                self._learn(json.loads(leaf))
        told = {about: by for about, by in self._holds.items() if by}
        kept = {about.hex(): by.hex() for about, by in stored.items()}
        for about in sorted(told.keys() | kept.keys()) if whole else ():
            if told.get(about) != kept.get(about):
                what = f"the hold on {about} is not what its entries say"
                self._add(None, what, told.get(about, ""), kept.get(about, ""))

    def _path(self, segment: Segment) -> Path | None:
        path = self.folder.core / segment.core
        return path if path.exists() else None

    def _file(self, segment: Segment) -> None:
        path = self._path(segment)
        if path is None:
            if segment.core not in self._gone:
                what = f"core/{segment.core} is gone, and no entry says that its time was over"
                self._add(segment.first, what, segment.sha256)
            return
        self.files += 1
        found = hash_of(path)
        logged = self._sealed_hash.get(segment.first)
        for claimed in {segment.sha256, logged or segment.sha256}:
            if found != claimed:
                what = f"core/{segment.core} is not the file that was sealed"
                self._add(segment.first, what, claimed, found)

    def _add(self, index: int | None, what: str, log: str = "", store: str = "") -> None:
        if len(self.differences) < MOST:
            self.differences.append(Difference(index, what, log, store))
        else:
            self.more += 1


def _is_label(row: Row) -> bool:
    return row[_KIND] == "label" and row[_ABOUT] is not None


def row_hash(row: Row) -> str:
    """Of a row's values, for naming a difference."""
    plain = [v.hex() if isinstance(v, bytes) else v for v in row]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Verified:
    """The whole answer. stored: entries of the store, signed or not; oldest_unanchored_ns: 0 where all are anchored."""

    log: Verdict
    store: StoreCheck | None
    stored: int
    since: Checkpoint | None
    anchors: tuple[Anchored, ...]
    asked_anchors: bool
    oldest_unanchored_ns: int
    gaps: Watched
    now_ns: int

    @property
    def ok(self) -> bool:
        return (
            self.log.checkpoint is not None
            and self.log.ok
            and not any(one.wrong for one in self.anchors)
            and (self.store is None or not self.store.differences)
        )

    @property
    def held(self) -> list[tuple[Anchored, Checkpoint]]:
        """Anchors with the largest of their checkpoints that is a prefix of this log, the one that holds most first."""
        fine = {(c.size, c.root) for c in self.log.anchored}
        each = [
            (one, max(good, key=lambda c: c.size))
            for one in self.anchors
            if (good := [c for c in one.checkpoints if (c.size, c.root) in fine])
        ]
        return sorted(each, key=lambda pair: -pair[1].size)

    @property
    def unanchored(self) -> int:
        held = self.held
        return self.stored - (held[0][1].size if held else 0)


def verify_history(
    folder: HistoryFolder,
    hot: HotStore | None,
    verifier: Verifier,
    *,
    now_ns: int,
    since: Checkpoint | None = None,
    anchors: Sequence[Anchored] | None = None,
    progress: Progress | None = None,
) -> Verified:
    """hot: None where only the log is at hand. anchors: None: nobody asked for them.

    Raises OSError where files that are there cannot be read.
    """
    check = None if hot is None else StoreCheck(hot, folder)
    given = [checkpoint for one in anchors or () for checkpoint in one.checkpoints]
    ingested: list[int] = []
    kept = max((c.size for c in given), default=0)

    def look(first: int, leaves: Sequence[bytes]) -> None:
        if check is not None:
            check.look(first, leaves)
        if not ingested and first + len(leaves) > kept:
            ingested.append(_ingested(leaves[max(0, kept - first)]))

    log = verify(folder.log, verifier, since=since, anchored=given, look=look, progress=progress)
    if check is not None:
        check.close()
    signed = 0 if log.checkpoint is None else log.checkpoint.size
    stored = signed if check is None else check.size
    if hot is not None and not ingested and stored > kept:
        ingested += [_ingested(leaf) for _, leaf in hot.leaves(kept, kept + 1)]
    stretches = () if check is None else check.stretches
    gaps = weigh(stretches, 1, now_ns)
    held = tuple(anchors or ())
    oldest = ingested[0] if ingested else 0
    return Verified(log, check, stored, since, held, anchors is not None, oldest, gaps, now_ns)


def verdict_lines(found: Verified, zone: tzinfo) -> list[str]:
    """The verdict in words: what is shown, what is not, and each finding."""
    newest = found.log.checkpoint
    if newest is None:
        why = "  no checkpoint with a good signature: nothing to check by"
        return ["NOT VERIFIED", why, *_findings(found)]
    word = "NOT VERIFIED" if not found.ok else "VERIFIED" if found.held else "CONSISTENT"
    lines = [word, *_findings(found)]
    if found.ok:
        lines += [f"  {_since(found, zone)}", f"  complete up to {_at(newest, zone)}"]
    store = found.store
    if store is not None:
        lines.append(
            f"  store and log compared: {store.compared:,} of {newest.size:,} entries, "
            f"{store.blobs:,} blobs, {store.files:,} sealed files"
        )
        if found.stored > newest.size:
            behind = found.stored - newest.size
            lines.append(f"  not signed yet: {behind:,} entries at the end of the store")
        lines.append(f"  gaps: {_gaps(found.gaps)}")
    return [*lines, *(f"  {line}" for line in _risk(found, zone))]


def _risk(found: Verified, zone: tzinfo) -> list[str]:
    lines = [f"anchor {one.name}: {one.error}" for one in found.anchors if one.error]
    for one in found.anchors:
        if one.wrong:
            lines.append(
                f"anchor {one.name}: {one.wrong:,} of its notes are not signed by this key"
            )
    held = found.held
    for one, checkpoint in held:
        where = "outside this operator's control" if one.outside else "under the same administrator"
        lines.append(f"anchor {one.name}: holds {_at(checkpoint, zone)}, {where}")
    if not held:
        why = "no anchor answered" if found.asked_anchors else "no anchor was compared (--anchors)"
        lines.append(f"consistent; deletion of the newest entries cannot be excluded: {why}")
    elif found.unanchored:
        age = lasting(max(0, found.now_ns - found.oldest_unanchored_ns) / 1e9)
        lines.append(f"unanchored: {age} ({found.unanchored:,} entries)")
    else:
        lines.append("unanchored: nothing")
    outside = [checkpoint for one, checkpoint in held if one.outside]
    if outside:
        after = _at(outside[0], zone)
        lines.append(
            f"that what came after {after} was cut off, or rewritten by whoever holds the signing key, "
            "cannot be excluded"
        )
        return lines
    none = "no anchor is outside" if found.asked_anchors else "without an anchor outside"
    after = ""
    if found.since is not None and found.log.since_holds:
        after = f" of what came after the checkpoint you gave ({found.since.size:,} entries)"
    is_possible = f"a rewrite{after} by whoever holds the signing key cannot be excluded"
    lines.append(f"{none} this operator's control: {is_possible}")
    if found.since is None:
        lines.append("next time: keep the file log/checkpoint elsewhere, and give it with --since")
    return lines


def _since(found: Verified, zone: tzinfo) -> str:
    if found.since is not None:
        return f"append-only since the checkpoint you gave: {_at(found.since, zone)}"
    oldest = found.log.oldest or found.log.checkpoint
    assert oldest is not None
    return f"append-only since the oldest checkpoint kept here: {_at(oldest, zone)}"


def _at(checkpoint: Checkpoint, zone: tzinfo) -> str:
    at = signed_ns(checkpoint)
    when = "at a time it does not state" if at is None else shown(at, zone)
    return f"entry {checkpoint.size:,} ({when})"


def _gaps(found: Watched) -> str:
    if not found.gaps:
        return "none"
    return short(found).partition("gaps: ")[2]


def _findings(found: Verified) -> list[str]:
    lines = []
    for one in found.log.findings:
        entry = "" if one.first is None else f"entry {one.first}"
        entry += "" if one.last in (None, one.first) else f" to {one.last}"
        lines.append("  " + ": ".join(part for part in ("log", entry, str(one)) if part))
    more = found.log.more
    for difference in found.store.differences if found.store else ():
        entry = "" if difference.index is None else f"entry {difference.index}"
        lines.append("  " + ": ".join(p for p in ("store", entry, difference.what) if p))
        if difference.log or difference.store:
            lines.append(f"    log   {difference.log or '-'}")
            lines.append(f"    store {difference.store or '-'}")
    more += found.store.more if found.store else 0
    return lines + ([f"  and {more:,} more findings"] if more else [])


def as_json(found: Verified) -> dict[str, Any]:
    newest = found.log.checkpoint
    store = found.store
    return {
        "ok": found.ok,
        "anchored": bool(found.held),
        "checkpoint": _checkpoint(newest),
        "since": _checkpoint(found.since),
        "since_holds": found.log.since_holds,
        "intact": found.log.intact,
        "stored": found.stored,
        "compared": None if store is None else store.compared,
        "blobs": None if store is None else store.blobs,
        "sealed_files": None if store is None else store.files,
        "unanchored": found.unanchored,
        "oldest_unanchored_ns": found.oldest_unanchored_ns or None,
        "anchors": [
            {"name": a.name, "outside": a.outside, "checkpoints": len(a.checkpoints), "wrong": a.wrong,
             "newest": _checkpoint(max(a.checkpoints, key=lambda c: c.size, default=None)), "error": a.error}
            for a in found.anchors
        ],
        "gaps": found.gaps.as_json()["gaps"],
        "findings": [
            {"where": "log", "kind": str(f.kind), "what": f.what, "first": f.first, "last": f.last, "path": f.path}
            for f in found.log.findings
        ]
        + [
            {"where": "store", "kind": "difference", "what": d.what, "first": d.index, "last": d.index,
             "log": d.log, "store": d.store}
            for d in (store.differences if store else ())
        ],
        "more": found.log.more + (store.more if store else 0),
    }  # fmt: skip


def _checkpoint(one: Checkpoint | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {"origin": one.origin, "size": one.size, "root": one.root.hex(), "signed_ns": signed_ns(one)}  # fmt: skip


def _ingested(leaf: bytes) -> int:
    try:
        return int(json.loads(leaf)["ingested_ns"])
    except (ValueError, KeyError, TypeError):
        return 0
