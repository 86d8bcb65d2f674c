"""What feeds tell becomes entries: one batch, one commit, with the cursor it was read up to.

Owns which item makes which entry, and that nothing makes two: by event id, and by the positions a source has brought
already. It knows nothing of ledgers or Kafka, nor of tiles.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dosimeter.monitor.audit.erasure.known import KnownEntries
from dosimeter.monitor.audit.evidence.evidence_body import (
    Given,
    decode_body,
    encode_bodies,
    encode_body,
)
from dosimeter.monitor.audit.store import box
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.entries import MAX_TIME_NS, Entry, Taken
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import Appended, HotStore
from dosimeter.monitor.audit.store.keys import NameGone
from dosimeter.monitor.audit.store.programs import reads_of, rules_of
from dosimeter.monitor.audit.store.usual import read_record
from dosimeter.monitor.feed.items import (
    Alert,
    Batch,
    Blob,
    Coverage,
    Evidence,
    Item,
    Refused,
)
from dosimeter.monitor.feed.watcher import Finding, Watcher
from dosimeter.monitor.feed.wire import identity
from dosimeter.monitor.history.evidence import EvidenceError, decode_evidence
from dosimeter.monitor.refusals import Refusals
from dosimeter.rules.alert import record_id
from dosimeter.rules.canonical import canonical

FEED = "feed"
WATCHED = "watch:"
"""Before a source's name: under which cursor its watcher's state is stored."""


@dataclass(slots=True)
class Counts:
    """Since the start of this process."""

    items: int = 0
    entries: int = 0
    duplicates: int = 0
    refused: int = 0
    late: int = 0  # evidence that came when its alert was sealed


class Ingest:
    """One feed into one history."""

    def __init__(self, appender: Appender, now_ns: int, feed: str = FEED) -> None:
        """now_ns: from when on we listen. feed: the name its cursor is stored under."""
        self._appender, self._feed = appender, feed
        self._cursor: dict[str, Any] = appender.hot.cursor(feed) or {}
        self.watcher = Watcher(appender.hot.cursors(WATCHED), now_ns=now_ns)
        self.counts = Counts()
        self._now_ns = now_ns
        self._refusals = Refusals(lambda: self._now_ns, "refused")
        self._untold: list[
            Evidence
        ] = []  # of this batch: evidence of what is not among the unsealed

    def take(self, batch: Batch, now_ns: int) -> int:
        """Durable when this returns: how many entries were new. Raises StoreStalled, and then nothing is in.

        After StoreStalled this object is behind no more than its store is: make a new one.
        """
        self._now_ns = now_ns
        self._refusals.tell()
        self._untold.clear()
        fresh = list(self._fresh(batch.items))
        findings = self.watcher.see(batch.items, now_ns)
        fresh = self._new(fresh)
        bodies = {item.sha256: item.body for item in fresh if isinstance(item, Blob)}
        blobs = list(bodies.values())
        entries = [*_found(findings, now_ns), *self._programs(bodies, now_ns)]
        entries += self._entries(fresh, now_ns)
        entries += self._late(now_ns)
        cursors: dict[str, Any] = {
            WATCHED + source: state for source, state in self.watcher.changed().items()
        }
        cursor = self._cursor | dict(
            batch.cursor
        )  # of a topic a batch names only its own partitions
        if batch.items:
            cursors[self._feed] = cursor
        if not (entries or blobs or cursors):
            return 0
        done = self._append(entries, blobs, cursors, now_ns)
        self._cursor = cursor
        self.counts.items += len(batch.items)
        self.counts.entries += done.accepted
        self.counts.duplicates += done.duplicates + len(batch.items) - len(fresh)
        return done.accepted

    def _append(
        self, entries: Sequence[Entry], blobs: Sequence[bytes], cursors: dict[str, Any], now_ns: int
    ) -> Appended:
        """What can be no entry is refused, whoever sent it: it may not keep the others out."""
        try:
            return self._appender.append(entries, blobs=blobs, cursors=cursors)
        except NameGone:  # erased just now: what would complete their evidence is not kept
            left = [e for e in entries if e.subject is None or not self._is_gone(e.subject)]
            return self._appender.append(left, blobs=blobs, cursors=cursors)
        except (ValueError, OverflowError):
            fitting = [self._fitting(one, now_ns) for one in entries]
            return self._appender.append(fitting, blobs=blobs, cursors=cursors)

    def _programs(self, bodies: Mapping[str, bytes], now_ns: int) -> Iterator[Entry]:
        """Since when history knows that something is looked for: what "none" of a rule is worth."""
        for sha256, body in bodies.items():
            if rules_of(body) is not None and self._appender.hot.blob(sha256) is None:
                fields = {"program_sha256": sha256}
                id_ = record_id(now_ns, canonical({"kind": "program", **fields}))
                yield Entry("program", id_, now_ns, fields=fields)

    def _is_gone(self, subject: str) -> bool:
        return self._appender.keys.gone(bytes.fromhex(subject))

    def _fitting(self, entry: Entry, now_ns: int) -> Entry:
        try:
            self._appender.fits(entry)
        except (ValueError, OverflowError) as error:
            where = f"{entry.kind} {entry.id}, position {entry.seq}"
            because = (
                "a text that is not Unicode" if isinstance(error, UnicodeError) else str(error)
            )
            return self._refused(entry.id, entry.source, where, because, now_ns)
        return entry

    def _fresh(self, items: Iterable[Item]) -> Iterator[Item]:
        """An alert that comes again may bring more evidence, and nothing else."""
        for item in items:
            if not isinstance(item, Alert) or not self.watcher.has(item.source, item.seq):
                yield item
            elif item.evidence is not None:
                yield Evidence(item.source, item.event_id, item.evidence)

    def _new(self, items: list[Item]) -> list[Item]:
        """A source that went back gives again what stands here, sealed by now or erased: that makes nothing new."""
        doubtful = [
            bytes.fromhex(item.event_id)
            for item in items
            if isinstance(item, Alert) and self.watcher.repeats(item.source, item.seq)
        ]
        if not doubtful:
            return items
        known = KnownEntries(self._appender.hot, HistoryFolder(self._appender.hot.path.parent))
        there = {one.id.hex() for one in known.by("id", doubtful)}
        return [one for one in items if not (isinstance(one, Alert) and one.event_id in there)]

    def _entries(self, items: Sequence[Item], now_ns: int) -> Iterator[Entry]:
        grown = {item.event_id: item.body for item in items if isinstance(item, Evidence)}
        alerts = [item for item in items if isinstance(item, Alert)]
        bodies = [grown.pop(item.event_id, item.evidence) for item in alerts]
        taken = self._alerts(alerts, bodies, now_ns)
        for item in items:
            if isinstance(item, Alert):
                yield next(taken)
            elif isinstance(item, Evidence) and item.event_id in grown:
                yield from self._grown(item, now_ns)
            elif isinstance(item, Coverage):
                if item.from_ns <= item.to_ns < MAX_TIME_NS:
                    yield _covered(item)
                else:
                    because = "its times are in no order, or in no year that has a name here"
                    epoch = f"coverage of {item.epoch}"
                    yield self._refused(identity(item), item.source, epoch, because, now_ns)
            elif isinstance(item, Refused):
                where = item.source or "", item.where
                yield self._refused(identity(item), *where, item.because, now_ns)

    def _alerts(
        self, items: Sequence[Alert], bodies: Sequence[bytes | None], now_ns: int
    ) -> Iterator[Entry]:
        found: list[Entry | ValueError] = []
        hidden: list[tuple[Entry, int, Given]] = []
        for item, body in zip(items, bodies, strict=True):
            try:
                taken = read_record(item.core, item.source, item.seq)
                if taken.entry.id != item.event_id:
                    raise ValueError(f"it says that it is {taken.entry.id}")
                if (given := _hidden(taken, body)) is not None:
                    taken.entry.names = taken.entry.names or {"request": _request(taken.entry)}
                    hidden.append((taken.entry, len(found), given))
                found.append(taken.entry)
            except ValueError as error:
                found.append(error)
        encoded = encode_bodies([given for _, _, given in hidden])
        for (entry, at, _), one in zip(hidden, encoded, strict=True):
            if isinstance(one, bytes):
                entry.evidence = one
            else:
                found[at] = one
        for item, made in zip(items, found, strict=True):
            if isinstance(made, Entry):
                yield made
            else:
                where = f"record {item.event_id}, position {item.seq}"
                yield self._refused(identity(item), item.source, where, str(made), now_ns)

    def _grown(self, item: Evidence, now_ns: int) -> Iterator[Entry]:
        """An entry of its own where evidence is more than what its alert came with."""
        about = bytes.fromhex(item.event_id)
        kept = self._appender.hot.evidence(about)
        told = self._appender.hot.told(about)
        if told is None:  # refused, or sealed
            self._untold.append(item)
            return
        if kept is None:
            return  # erased
        subject, month, shut = kept
        key = self._appender.keys.key(subject, month)
        if key is None:
            return  # erased
        try:
            before = box.opened(shut, key, about)
            was = decode_body(before)
            words = {"summary": was.summary, "coverage": was.coverage, "labels": dict(was.labels)}
            core = {**words, "position": told.position}
            after = encode_body(core, decode_evidence(item.body), reads_of(told.terms))
        except (EvidenceError, box.CannotOpen) as error:  # what somebody has changed here, too
            where = f"evidence of {item.event_id}"
            yield self._refused(identity(item), item.source, where, str(error), now_ns)
            return
        if after != before:
            yield Entry(
                "evidence",
                # By the key, which erasure destroys: else a guess at what was erased could be tried on the id.
                record_id(told.time_ns, hmac.digest(key, about + after, "sha256")),
                told.time_ns,  # the month of its alert: under the same key
                item.source,
                fields={"about": item.event_id},
                evidence=after,
                evidence_of=item.event_id,
                subject=subject.hex(),
            )

    def _late(self, now_ns: int) -> Iterator[Entry]:
        """What came for alerts that are sealed is not kept: one entry says of which, and that it was not compared."""
        if not self._untold:
            return
        grown = {item.event_id: item for item in self._untold}
        known = KnownEntries(self._appender.hot, HistoryFolder(self._appender.hot.path.parent))
        there = known.by("id", map(bytes.fromhex, grown))
        found = sorted(
            {
                one.id.hex()
                for one in there
                if not (one.subject and self._is_gone(one.subject.hex()))
            }
        )
        if not found:
            return
        self.counts.late += len(found)
        more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        yield self._refused(
            record_id(now_ns, canonical({"late": found})),
            grown[found[0]].source,
            f"evidence of {found[0]}{more}",
            "it came when its alert was sealed: what was sealed stands, and whether this is more was not compared",
            now_ns,
        )

    def _refused(self, id_: str, source: str, where: str, because: str, now_ns: int) -> Entry:
        self.counts.refused += 1
        self._refusals.add(f"{source or 'somebody'}: {where}", because)
        fields = {"where": where[:400], "because": because[:400]}
        return Entry("refused", id_, now_ns, source or "unknown", fields=fields)


def last_signs(hot: HotStore) -> dict[str, int]:
    """When each source that is not dead was last heard to live."""
    states = hot.cursors(WATCHED).items()
    return {source: int(one.get("seen_ns", 0)) for source, one in states if one["alive"]}


def _hidden(taken: Taken, evidence: bytes | None) -> Given | None:
    """What is encrypted: only where there is somebody or something to hide."""
    if not taken.labels and evidence is None:
        return None
    core = {**taken.words, "labels": taken.labels, "position": taken.entry.fields.get("position")}
    if evidence is None:
        return core, None, ()
    return core, decode_evidence(evidence), reads_of(taken.entry.terms or b"{}")


def _request(entry: Entry) -> str:
    """What stands for somebody of whom nothing is known: the request by our own key, else the record."""
    epoch, key = (entry.fields.get(name) for name in ("epoch", "key"))
    return f"{epoch}/{key}" if isinstance(epoch, str) and isinstance(key, str) else entry.id


def _covered(item: Coverage) -> Entry:
    said = asdict(item)
    said |= {"served_by": dict(item.served_by), "unscored": dict(item.unscored)}
    id_ = record_id(item.to_ns, canonical(said))
    source = said.pop("source")
    return Entry("coverage", id_, item.to_ns, source, fields=said)


def _found(findings: Iterable[Finding], now_ns: int) -> Iterator[Entry]:
    for finding in findings:
        said = asdict(finding)
        id_ = record_id(now_ns, canonical({"kind": finding.kind, **said}))
        source = said.pop("source")
        yield Entry(finding.kind, id_, now_ns, source, fields=said)
