"""The sealed files of a store: whether each is the one that was sealed, and what it has.

Owns the comparison of files, and of the store's rows about files, with what the log says of them; entry by entry is
`store_check`. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dosimeter.monitor.audit.checks.differences import Differences, Row
from dosimeter.monitor.audit.checks.logged import Logged, Named
from dosimeter.monitor.audit.store.columns import NAMES
from dosimeter.monitor.audit.store.entries import MANY
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, Segment
from dosimeter.monitor.audit.store.sealed_file import hash_of, times_of

_UNREADABLE = (pa.ArrowException, OSError, KeyError, ValueError)


class SealedFiles:
    """missing: those that are not there or cannot be read, as far as `rows` came to them."""

    def __init__(
        self, hot: HotStore, folder: HistoryFolder, logged: Logged, differences: Differences
    ) -> None:
        self._hot, self._folder, self._logged, self._differences = hot, folder, logged, differences
        self._hashes: dict[Path, str] = {}
        self.missing: list[Segment] = []
        self.count = 0

    def path(self, segment: Segment) -> Path | None:
        path = self._folder.core / segment.core
        return path if path.exists() else None

    def is_as_stored(self, segment: Segment) -> bool:
        """Whether it is, to the bit, what the store says of it."""
        path = self.path(segment)
        return path is not None and self._hash(path) == segment.sha256

    def rows(self, segments: Sequence[Segment]) -> Iterator[tuple[int, Row]]:
        """Of these files, each with its position in the log."""
        for segment in segments:
            path = self.path(segment)
            if path is None:
                self.missing.append(segment)
                continue
            try:
                yield from _rows_of(path)
            except _UNREADABLE as error:
                self.missing.append(segment)
                self._differences.add(segment.first, f"core/{segment.core} cannot be read: {error}")

    def check(self, segment: Segment) -> None:
        """What the store says of a file, and the file."""
        self._row(segment)
        path = self.path(segment)
        if path is None:
            if segment.core not in self._logged.gone:
                what = f"core/{segment.core} is gone, and no entry says that its time was over"
                self._differences.add(segment.first, what, segment.sha256)
            return
        self.count += 1
        found = self._hash(path)
        logged = self._logged.hashes.get(segment.first)
        for claimed in {segment.sha256, segment.sha256 if logged is None else logged.core}:
            if found != claimed:
                what = f"core/{segment.core} is not the file that was sealed"
                self._differences.add(segment.first, what, claimed, found)

    def _row(self, segment: Segment) -> None:
        """What the store says of a file beside its hash: by it, questions pass over a file or look into it."""
        first, path = segment.first, self.path(segment)
        made = f"{first:012d}-{segment.past:012d}.parquet"
        whole = Named(made, segment.past, segment.evidence is not None)
        named = self._logged.named.get(first, whole)
        name = named.core
        if (segment.core, segment.past) != (name, named.past):
            what = "the row of a sealed range is not of the file that was sealed"
            self._differences.add(first, what, name, segment.core)
        if segment.gone and name not in self._logged.gone:
            self._differences.add(
                first, f"core/{name} is called over, and no entry says that its time was"
            )
        gone = f"evidence/{name}" in self._logged.gone_evidence
        if named.evidence and segment.evidence is None and not gone:
            self._differences.add(
                first, f"evidence/{name} is not named, and no entry says that its time was over"
            )
        try:
            times = times_of(path) if path is not None else None
        except _UNREADABLE:
            times = None  # that it cannot be read is said elsewhere
        if times is not None and times != (segment.from_ns, segment.to_ns):
            what = f"the store says other times of core/{name} than it has events of"
            self._differences.add(first, what, str(times), str((segment.from_ns, segment.to_ns)))

    def count_beside(self, segment: Segment) -> None:
        """A rare entry whose leaf was not looked at, because it has an alert's look, is missed by number."""
        path = self.path(segment)
        if path is None or not segment.few:
            return
        try:
            kinds = pq.read_table(path, columns=["kind"], use_threads=False)["kind"].to_pylist()
        except _UNREADABLE:
            return
        due = sum(kind not in MANY for kind in kinds)
        query = "SELECT count(*) FROM sealed_few WHERE idx >= ? AND idx < ?"
        (there,) = self._hot.db.execute(query, (segment.first, segment.past)).fetchone()
        if there < due:
            what = f"{due - there} entries beside core/{segment.core} are missing"
            self._differences.add(segment.first, what, str(due), str(there))

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = hash_of(path)
        return self._hashes[path]


def _rows_of(path: Path) -> Iterator[tuple[int, Row]]:
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            columns = [table[name].to_pylist() for name in ("idx", *NAMES)]
            for idx, *row in zip(*columns, strict=True):
                yield idx, tuple(row)
