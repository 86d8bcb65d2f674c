"""Sealed evidence: looked up by entry, and rewritten without those who were erased.

Owns how ciphertexts are found in the files of `evidence/`, and that a file is replaced at once or not at all. It never
learns a key: what it reads and drops nobody can open here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import Segment
from dosimeter.monitor.audit.store.sealed_file import EVIDENCE, about_of, written

Found = tuple[bytes, int, bytes]
"""Subject, month, ciphertext."""


class Unreadable(Exception):
    """A file of evidence that is not what was sealed, so that nothing can be taken out of it."""


def read_evidence(folder: HistoryFolder, segments: Sequence[Segment], id_: bytes) -> Found | None:
    """Of the entry with this id; of several the one that was sealed last. None: none is sealed.

    Raises Unreadable where it may be in a file that cannot be read.
    """
    unread: Unreadable | None = None
    for segment in reversed(segments):  # what completed an entry was sealed with a later range
        path = _path(folder, segment)
        try:
            if path is not None and (found := _in_file(path, id_)) is not None:
                return found
        except Unreadable as error:
            unread = unread or error
    if unread is not None:
        raise unread
    return None


def drop_subjects(folder: HistoryFolder, segment: Segment, subjects: Collection[bytes]) -> int:
    """Rewrite a file without the rows of these subjects. Returns how many there were; 0: the file was left alone.

    Raises Unreadable, and OSError where it cannot be written.
    """
    path = _path(folder, segment)
    if path is None:
        return 0
    gone = pa.array(sorted(subjects), EVIDENCE.field("subject").type)
    with _reading(path):
        mine = pq.read_table(path, columns=["subject"], use_threads=False)["subject"]
        dropped = int(pc.sum(pc.is_in(mine, value_set=gone)).as_py() or 0)
    if dropped:
        with written(path, EVIDENCE, about_of(path)) as writer:
            for group in _groups(path):
                left = group.filter(pc.invert(pc.is_in(group["subject"], value_set=gone)))
                writer.write_table(left.cast(EVIDENCE))
    return dropped


def _groups(path: Path) -> Iterator[Any]:
    with _reading(path):
        file = pq.ParquetFile(path)
    with file:
        for group in range(file.num_row_groups):
            with _reading(path):
                table = file.read_row_group(group, use_threads=False)
            yield table


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise Unreadable(f"{path}: cannot be read: {error}") from error


def _path(folder: HistoryFolder, segment: Segment) -> Path | None:
    if segment.evidence is None:
        return None
    path = folder.evidence / segment.evidence
    return path if path.exists() else None


def _in_file(path: Path, id_: bytes) -> Found | None:
    with _reading(path), pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group).column(0).statistics
            if about is not None and about.has_min_max and not about.min <= id_ <= about.max:
                continue
            ids = file.read_row_group(group, columns=["id"], use_threads=False)["id"]
            at = int(pc.index(ids, pa.scalar(id_, ids.type)).as_py())
            if at >= 0:
                rows = file.read_row_group(group, use_threads=False).slice(at, 1).to_pylist()
                return rows[0]["subject"], rows[0]["month"], rows[0]["sealed"]
    return None
