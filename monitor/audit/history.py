"""One history opened for people: what they may ask, one alert whole, its evidence, and the log behind it.

Owns what belongs together of store, keys, access and log, for the command line and the pages alike. It never learns how
an answer is drawn.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dosimeter.detectors.findings import visible
from dosimeter.monitor.audit.evidence.evidence_body import Body, decode_body
from dosimeter.monitor.audit.evidence.evidence_files import Unreadable, read_evidence
from dosimeter.monitor.audit.evidence.reproduce import claim_of
from dosimeter.monitor.audit.people.access import Access, Actor
from dosimeter.monitor.audit.queries.bounds import MAX
from dosimeter.monitor.audit.queries.query import Queries, Rows
from dosimeter.monitor.audit.queries.watched import KINDS, LATE_NS, Watched, named_until, weigh
from dosimeter.monitor.audit.store import box
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.columns import COLUMNS, NAMES
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, StoreError
from dosimeter.monitor.audit.store.ingest import last_signs
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.audit.store.opening import open_keys
from dosimeter.monitor.audit.store.sealed_file import CORE
from dosimeter.monitor.tlog.reader import LogReader, LogUnreadable
from dosimeter.monitor.tlog.tiles import WIDTH

SHORTEST = 8
"""Characters of an id that may stand for all of it, where no other begins so."""
OF_TERMS = frozenset(column.name for column in COLUMNS if column.of_terms)
_HEX = re.compile(r"[0-9a-f]{8,32}")


class NoSuchEntry(LookupError):
    """Nothing, or more than one entry, begins like that; says which."""


@dataclass(frozen=True, slots=True)
class Found:
    """One entry as people read it.

    entry: the fields of its leaf. terms: what is constant for its rule. record: both together, as a ledger has it,
    without what may lead to a person. blobs: hash -> what is stored under it, as far as it is.
    """

    idx: int
    entry: Mapping[str, Any]
    terms: Mapping[str, Any]
    record: Mapping[str, Any]
    blobs: Mapping[str, bytes]


class History:
    """Several connections; use it from one thread at a time."""

    def __init__(self, folder: HistoryFolder, hot: HotStore, keys: KeyStore) -> None:
        self.folder, self.hot, self.keys = folder, hot, keys
        self.appender = Appender(hot, keys)
        self.access = Access(self.appender, keys)
        self.queries = Queries(folder)
        # width: of the newest bundle a part is there, which grows.
        self._bundle = lru_cache(4)(lambda index, width: self.log.bundle(index))

    @classmethod
    def open(cls, root: Path) -> History:
        """Raises StoreError where there is none, StoreStalled, KeysError."""
        folder = HistoryFolder(root)
        if not folder.hot.exists():
            hint = "start `dosimeter history`, or name its folder with `--history`"
            raise StoreError(f"{folder.hot}: no history here\n  hint: {hint}")
        hot = HotStore(folder.hot)
        try:
            return cls(folder, hot, open_keys(folder, hot))
        except BaseException:
            hot.close()
            raise

    @cached_property
    def log(self) -> LogReader:
        """Raises LogUnreadable where nothing was signed yet."""
        return LogReader(self.folder.log)

    def settle(self) -> bool:
        """Write out and sign what is stored, unless a running history does so itself. Whether it was done here."""
        from dosimeter.monitor.audit.store.keeper import Keeper
        from dosimeter.monitor.history.lock import AlreadyWriting

        try:
            keeper = Keeper(self.folder, self.hot)
        except AlreadyWriting:
            return False
        try:
            keeper.turn(now=True)
        finally:
            keeper.close()
        self.__dict__.pop("log", None)
        return True

    def ids_like(self, beginning: str) -> list[str]:
        """Whole ids that begin so, as hex. Raises NoSuchEntry for what is no beginning of one."""
        return [row["id"] for row in self.like(beginning)]

    def like(self, beginning: str) -> list[dict[str, Any]]:
        """All entries whose id begins so. Raises NoSuchEntry for what is no beginning of one."""
        text = beginning.lower()
        if not _HEX.fullmatch(text):
            hint = f"give at least {SHORTEST} characters of an id, of 0-9 and a-f"
            raise NoSuchEntry(f"`{visible(beginning)[:60]}` is no id\n  hint: {hint}")
        return self.rows("alert_by_id", prefix=text)

    def alert(self, id_: str) -> Found:
        """By its id, or by a beginning of it that no other has. Raises NoSuchEntry."""
        rows = self.like(id_)
        if not rows:
            hint = "`dosimeter audit query` shows the ids"
            raise NoSuchEntry(f"no entry `{id_}`\n  hint: {hint}")
        if len(rows) > 1:
            each = "\n".join(f"  {row['id']}" for row in rows[:20])
            raise NoSuchEntry(f"`{id_}` begins several ids, give more characters:\n{each}")
        return self.whole(rows[0])

    def whole(self, row: Mapping[str, Any]) -> Found:
        """row: of a query that gives all columns, as `rows` returns it."""
        idx = int(row["idx"])
        entry = self._leaf(idx) or _leaf_of(row)
        terms: dict[str, Any] = {}
        blobs: dict[str, bytes] = {}
        if "terms" in entry and (body := self.hot.blob(entry["terms"])) is not None:
            blobs[entry["terms"]] = body
            terms = json.loads(body)
        for name in ("rule_sha256", "program_sha256"):
            sha = str({**entry, **terms}.get(name, ""))
            if len(sha) == 64 and (body := self.hot.blob(sha)) is not None:
                blobs[sha] = body
        return Found(idx, entry, terms, claim_of(entry, terms), blobs)

    def leaf(self, idx: int) -> bytes:
        """From the store, or where it is sealed from the log. Raises LogUnreadable, IndexError."""
        found = [leaf for _, leaf in self.hot.leaves(idx, idx + 1)]
        if found:
            return found[0]
        if idx >= self.log.size:
            self.log.refresh()
        index, within = divmod(idx, WIDTH)
        return self._bundle(index, min(WIDTH, self.log.size - index * WIDTH))[within]

    def _leaf(self, idx: int) -> dict[str, Any] | None:
        """None where neither has it."""
        try:
            leaf: dict[str, Any] = json.loads(self.leaf(idx))
        except (LogUnreadable, IndexError):
            return None
        return leaf

    def rows(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """Of a named query; ids and hashes as hex."""
        return dicts(self.queries.run(name, **params))

    def watched(self, from_ns: int, to_ns: int, *, now_ns: int | None = None) -> Watched:
        """How far that range of time was watched. now_ns: None: by this machine's clock."""
        signs = last_signs(self.hot)  # first: what comes in meanwhile makes no life longer
        each = self.seen(from_ns, to_ns)
        entries = [row for row in each if row["kind"] in KINDS]
        now_ns = time.time_ns() if now_ns is None else now_ns
        return weigh(entries, from_ns, to_ns, now_ns=now_ns, signs=signs)

    def seen(self, from_ns: int, to_ns: int) -> list[dict[str, Any]]:
        """The entries by which that time is weighed, and what was refused until then, in the order of the log."""
        rows = self.rows("coverage", from_ns=from_ns, to_ns=min(to_ns + LATE_NS, MAX))
        coverage = [_fields(row | {"kind": "coverage"}) for row in rows]
        until_ns = min(named_until(coverage, from_ns, to_ns), MAX)
        lives = [_fields(row) for row in self.rows("gaps", to_ns=until_ns)]
        if any(one["kind"] == "gap" and one["time_ns"] >= from_ns for one in lives):
            later = self.rows("gaps", from_ns=until_ns)  # what was missing may have come since
            lives += [_fields(row) for row in later if row["kind"] in ("gap-closed", "went-back")]
        return sorted([*coverage, *lives], key=lambda one: int(one["idx"]))

    def about(self, ids: Collection[str]) -> list[int]:
        """Positions of what was done with any of these entries: labels, holds, views, later evidence."""
        wanted = {bytes.fromhex(id_) for id_ in ids}
        db = self.hot.db
        db.execute("BEGIN")
        try:
            segments = [one for one in self.hot.segments() if not one.gone]
            there = db.execute("SELECT idx, about FROM entry WHERE about IS NOT NULL").fetchall()
        finally:
            db.execute("COMMIT")
        found = {idx for idx, about in there if about in wanted}
        values = pa.array(sorted(wanted), CORE.field("about").type)
        for segment in segments if wanted else ():
            only = pc.field("about").isin(values)
            path = self.folder.core / segment.core
            table = pq.read_table(path, columns=["idx"], filters=only, use_threads=False)
            found.update(table["idx"].to_pylist())
        return sorted(found)

    def name_of(self, id_: str | None) -> str | None:
        """What a random id stands for; None once that was erased."""
        found = None if id_ is None else self.keys.name(bytes.fromhex(id_))
        return None if found is None else found[1]

    def evidence(self, found: Found, actor: Actor, reason: str | None) -> Body | str:
        """The plaintext, after the entry of this access is durable; else why there is none.

        Raises AccessRefused, CannotOpen, EvidenceError.
        """
        id_ = str(found.entry["id"])
        what = {n: found.entry[n] for n in ("tenant", "subject") if n in found.entry}
        self.access.ask(actor, "view", what, reason, about=id_)
        body = self.plaintext(found)
        return body if isinstance(body, str) else decode_body(body)

    def plaintext(self, found: Found) -> bytes | str:
        """The encoded evidence, or why there is none. Asks nobody: for those who have asked.

        Raises CannotOpen, also where it is gone and nobody was erased nor its time over.
        """
        id_ = bytes.fromhex(str(found.entry["id"]))
        commitment = self._commitment(found)
        if commitment is None:
            return "none stored"
        try:
            shut = self.hot.evidence(id_) or read_evidence(self.folder, self.hot.segments(), id_)
        except Unreadable as error:
            raise box.CannotOpen(str(error)) from error
        if shut is None:
            if (lost := self._lost_file(found)) is not None:
                raise box.CannotOpen(
                    f"{lost} is gone, and no entry says why: it had evidence of {id_.hex()}"
                )
            return "gone: erased, or its time is over"
        subject, month, sealed = shut
        key = self.keys.key(subject, month)
        if key is None:
            if not self.keys.gone(subject) and month >= int(self.hot.meta("keys_before") or 0):
                raise box.CannotOpen(
                    f"the key of evidence of {id_.hex()} is gone, and nobody was erased"
                )
            return "gone: the key of its subject was destroyed"
        return box.opened(sealed, key, id_, commitment)

    def _lost_file(self, found: Found) -> Path | None:
        """Where evidence of this entry was sealed, if that file is not there and it was not taken out before."""
        whose = found.entry.get("subject") or found.entry.get("tenant")
        if whose is None or self.keys.gone(bytes.fromhex(str(whose))):
            return None
        for one in self.hot.segments():
            if one.first <= found.idx < one.past and one.evidence is not None:
                path = self.folder.evidence / one.evidence
                return None if path.exists() else path
        return None

    def _commitment(self, found: Found) -> str | None:
        """The last: evidence may have been completed after the alert."""
        at = int(found.entry["time_ns"])  # theirs is that of the alert
        span = {"from_ns": at, "to_ns": at + 1}
        about = self.rows("entries_about", about=found.entry["id"], kind="evidence", **span)
        later = [row["evidence"] for row in about if row["evidence"]]
        commitment = later[-1] if later else found.entry.get("evidence")
        return None if commitment is None else str(commitment)

    def close(self) -> None:
        self.queries.close()
        self.keys.close()
        self.hot.close()

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of the leaf, as far as a row has them."""
    more: dict[str, Any] = json.loads(row["more"]) if row["more"] else {}
    return more | {n: v for n, v in row.items() if v is not None}


def _leaf_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """As far as a row has it: the model is a name there."""
    entry = {n: v for n, v in row.items() if v is not None and n in NAMES and n != "more"}
    entry |= json.loads(row["more"]) if row.get("more") else {}
    if "terms" in entry:
        entry = {n: v for n, v in entry.items() if n not in OF_TERMS}
    for column, field in (("span_start", "start"), ("span_end", "end")):
        if column in entry:
            entry[field] = entry.pop(column)
    return entry


def dicts(found: Rows) -> list[dict[str, Any]]:
    """Rows by the names of their columns; bytes as hex."""
    return [
        {n: v.hex() if isinstance(v, bytes) else v for n, v in zip(found.columns, row, strict=True)}
        for row in found.rows
    ]
