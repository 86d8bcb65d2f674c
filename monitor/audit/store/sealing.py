"""From SQLite into files: when a range of the log is sealed, and the order that makes a crash at any point harmless.

Owns which entries may be sealed (signed, older than the grace, read by every consumer) and the steps: evidence file,
core file, then one transaction that names them and drops the rows. Before it a crash leaves files that nobody names,
removed at the next start; after it everything is sealed. The log is not touched: its leaves stay in its tiles.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dosimeter.monitor.audit.store.columns import NAMES, row_of
from dosimeter.monitor.audit.store.entries import MANY, Entry
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, Segment
from dosimeter.monitor.audit.store.sealed_file import (
    CORE,
    EVIDENCE,
    GROUP,
    VERSION,
    about_of,
    core_batch,
    evidence_batch,
    hash_of,
    synced,
    written,
)
from dosimeter.monitor.history.named_sql import load_sql
from dosimeter.monitor.tlog.merkle import leaf_hash
from dosimeter.rules.alert import record_id

SECOND_NS = 1_000_000_000
GRACE_NS = 3600 * SECOND_NS
"""So long an entry stays where looking it up costs nothing."""
DUE_ROWS = 200_000
DUE_NS = 24 * 3600 * SECOND_NS
MAX_ROWS = 32_768
"""Of one segment: its transaction must be shorter than the others wait for theirs (hot.BUSY_S)."""
SQL = load_sql("dosimeter.monitor.audit.store", "sealing.sql")
_COLUMNS = f"idx, {', '.join(NAMES)}"
_TERMS = NAMES.index("terms")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Files:
    """Of one segment, by their names in `core/` and `evidence/`."""

    core: str
    evidence: str | None
    from_ns: int
    to_ns: int


class Sealer:
    """Use it from the thread that writes history, in the process that holds the lock of the log."""

    def __init__(
        self,
        hot: HotStore,
        folder: HistoryFolder,
        *,
        grace_ns: int = GRACE_NS,
        max_rows: int = MAX_ROWS,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Removes files that no segment names: of a sealing that did not come to its end."""
        self._hot, self._folder, self._now_ns = hot, folder, now_ns
        self._grace_ns, self._max_rows = grace_ns, max_rows
        remove_orphans(hot, folder)
        keep_few(hot, folder)

    def due(self) -> bool:
        """Many rows, or old ones: then `seal` until it gives None."""
        rows, oldest_ns = self._hot.db.execute(SQL["hot_rows"]).fetchone()
        return bool(rows >= DUE_ROWS or (rows > 0 and self._now_ns() - oldest_ns >= DUE_NS))

    def seal(self, log_size: int, slowest: int) -> Segment | None:
        """The next segment; None: nothing may be sealed now. Raises StoreStalled, OSError; nothing was sealed then.

        log_size: entries in a signed checkpoint. slowest: position of the consumer that is furthest behind. Append
        `entry_of` the segment next.
        """
        first = next_first(self._hot)
        past = self._sound(first, self._past(first, min(log_size, slowest, first + self._max_rows)))
        if past <= first:
            return None
        evidence = self._hot.db.execute(SQL["evidence_of"], (first, past, first, past)).fetchall()
        files = self._write(first, past, evidence)
        core_sha256 = hash_of(self._folder.core / files.core)
        segment = Segment(
            first, past, files.from_ns, files.to_ns, files.core, core_sha256, files.evidence
        )
        with self._hot.writing() as db:
            db.execute(SQL["put_segment"], segment_row(segment))
            db.execute(SQL["drop_few"], (first, past))  # nobody can have put any there but a forger
            db.execute(SQL["keep_few"].replace("/* columns */", _COLUMNS), (first, past))
            # Of an alert whose evidence came anew meanwhile, the new one stays.
            db.executemany(SQL["drop_evidence"], [(id_, shut) for id_, _, _, shut in evidence])
            db.execute(SQL["drop_entries"], (first, past))
        return segment

    def _past(self, first: int, limit: int) -> int:
        """The first position that is too young, or missing; at most `limit`."""
        now_ns = self._now_ns()
        span = first, limit, now_ns - self._grace_ns, now_ns
        row = self._hot.db.execute(SQL["first_young"], span).fetchone()
        past = limit if row[0] is None else int(row[0])
        count = self._hot.db.execute(SQL["count"], (first, past)).fetchone()[0]
        return past if count == past - first else first  # nothing is sealed around a hole

    def _sound(self, first: int, past: int) -> int:
        """The first position whose stored columns are not those of its leaf: verification believes a sealed file."""
        terms: dict[bytes | None, Any] = {None: {}}
        for at in range(first, past, GROUP):
            leaves = self._hot.leaves(at, min(at + GROUP, past))
            for (idx, leaf), (_, *row) in zip(leaves, self._group(at, past), strict=True):
                sha = row[_TERMS]
                if sha not in terms:
                    terms[sha] = json.loads(self._hot.blob(sha.hex()) or b"{}")
                try:
                    same = row_of(json.loads(leaf), terms[sha]) == tuple(row)
                except (ValueError, TypeError, AttributeError):
                    same = False
                if not same:
                    log.error("entry %d is not sealed: its row is not what its leaf says", idx)
                    return idx
        return past

    def _write(self, first: int, past: int, evidence: Sequence[Sequence[Any]]) -> Files:
        name = f"{first:012d}-{past:012d}.parquet"
        about: dict[str, Any] = {"version": VERSION, "first": first, "past": past}
        if evidence:
            with written(self._folder.evidence / name, EVIDENCE, about) as writer:
                writer.write_batch(evidence_batch(evidence), GROUP)
            about["evidence_sha256"] = hash_of(self._folder.evidence / name)
        about["sealed_ns"] = self._now_ns()
        about["leaves_sha256"] = self._leaves_hash(first, past)
        low, high = self._hot.db.execute(SQL["times"], (first, past)).fetchone()
        with written(self._folder.core / name, CORE, about) as writer:
            for rows in self._rows(first, past):
                writer.write_batch(core_batch(rows), GROUP)
        return Files(name, name if evidence else None, low, high)

    def _rows(self, first: int, past: int) -> Iterator[list[tuple[Any, ...]]]:
        for at in range(first, past, GROUP):
            yield self._group(at, past)

    def _group(self, at: int, past: int) -> list[tuple[Any, ...]]:
        query = SQL["rows"].replace("/* columns */", _COLUMNS)
        return self._hot.db.execute(query, (at, min(at + GROUP, past))).fetchall()

    def _leaves_hash(self, first: int, past: int) -> str:
        """SHA-256 of the leaves' hashes one after the other: the file says which part of the log it is."""
        hashed = hashlib.sha256()
        for at in range(first, past, GROUP):
            for _, leaf in self._hot.leaves(at, min(at + GROUP, past)):
                hashed.update(leaf_hash(leaf))
        return hashed.hexdigest()

    def entry_of(self, segment: Segment) -> Entry:
        """Says in the log what was sealed. Always the same for one segment, so that it may be appended again."""
        about = about_of(self._folder.core / segment.core)
        time_ns = int(about["sealed_ns"])
        fields = {
            "first": segment.first,
            "past": segment.past,
            "core": segment.core,
            "core_sha256": segment.sha256,
            "leaves_sha256": about["leaves_sha256"],
        }
        if "evidence_sha256" in about:  # as it was sealed: erasure and retention rewrite that file
            fields["evidence_sha256"] = about["evidence_sha256"]
        return Entry("seal", record_id(time_ns, segment.sha256.encode()), time_ns, fields=fields)

    def last_entry(self) -> Entry | None:
        """Of the last segment, to be appended at every start: a crash may have come between sealing and saying so."""
        segments = self._hot.segments()
        if not segments or segments[-1].gone:
            return None
        try:
            return self.entry_of(segments[-1])
        except (OSError, pa.ArrowException, KeyError) as error:
            # Lost or changed since: verification says so.
            log.error("core/%s cannot be read: %s", segments[-1].core, error)
            return None


def next_first(hot: HotStore) -> int:
    """The first position that is not sealed."""
    segments = hot.segments()
    return segments[-1].past if segments else 0


def segment_row(segment: Segment) -> tuple[Any, ...]:
    s = segment
    where = s.first, s.past, s.from_ns, s.to_ns, s.core, s.sha256, s.evidence
    return *where, int(s.gone), int(s.few)


def _over(hot: HotStore) -> set[str]:
    """Files whose time was over, by their names, as entries of retention say."""
    found: set[str] = set()
    for (more,) in hot.db.execute(SQL["retired"]).fetchall():
        said = json.loads(more or "{}")
        each = (*said.get("core", ()), *said.get("evidence_files", ()))
        found.update(str(name).rpartition("/")[2] for name in each)
    return found


def keep_few(hot: HotStore, folder: HistoryFolder) -> None:
    """Beside the files that an earlier release has sealed, too: their entries of rare kinds."""
    put = SQL["put_few"].replace("/* values */", ", ".join("?" * len(CORE.names)))
    for segment in hot.segments():
        if segment.few or segment.gone:
            continue
        try:
            rare = ~pc.field("kind").isin(MANY)
            table = pq.read_table(folder.core / segment.core, filters=rare, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            # Verification says so; lists read the file as before.
            log.error("entries %d on are not kept beside: %s", segment.first, error)
            continue
        rows = zip(*(table[name].to_pylist() for name in CORE.names), strict=True)
        with hot.writing() as db:
            db.executemany(put, rows)
            db.execute(SQL["has_few"], (segment.first,))


def remove_orphans(hot: HotStore, folder: HistoryFolder) -> list[Path]:
    """Files of sealed ranges that the store does not name: of a sealing that did not come to its end, or whose time is
    over, as an entry says. Any other was taken out of the store by somebody else, and is evidence of that."""
    segments = hot.segments()
    past = segments[-1].past if segments else 0
    over = _over(hot)
    named = {folder.core / s.core for s in segments if not s.gone}
    named |= {folder.evidence / s.evidence for s in segments if s.evidence is not None}
    removed = []
    for part in (folder.core, folder.evidence):
        for path in sorted(part.glob("*.parquet*")):
            if path in named:
                continue
            first = path.name.partition("-")[0]
            unfinished = path.suffix == ".tmp" or (first.isdecimal() and int(first) >= past)
            if not unfinished and path.name not in over:
                log.error("%s is in the folder and not in the store: left where it is", path)
                continue
            path.unlink()
            removed.append(path)
        if removed:
            synced(part)
    return removed
