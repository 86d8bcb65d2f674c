"""Sealed evidence is found by entry, and rewritten without some of its subjects."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.audit.evidence.evidence_files import drop_subjects, read_evidence
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import Segment
from dosimeter.monitor.audit.store.sealed_file import EVIDENCE, about_of, evidence_batch, written

SECOND_NS = 10**9
Row = tuple[bytes, bytes, int, bytes]


def id_at(second: int, number: int = 0) -> bytes:
    return (second * 1000).to_bytes(6) + number.to_bytes(10)


def row(second: int, subject: bytes, number: int = 0) -> Row:
    return id_at(second, number), subject * 16, 202603, b"%d %d" % (second, number)


def segment(folder: HistoryFolder, first: int, rows: list[Row], group: int = 2) -> Segment:
    """A file with two rows a row group; its events are those of the ids."""
    name = f"{first:012d}.parquet"
    times = [int.from_bytes(one[0][:6]) * 1_000_000 for one in rows] or [0]
    with written(folder.evidence / name, EVIDENCE, {"range": first}) as file:
        for at in range(0, len(rows), group):
            file.write_batch(evidence_batch(sorted(rows)[at : at + group]))
    return Segment(first, first + len(rows), min(times), max(times), name, "", name)


@pytest.fixture
def folder(tmp_path: Path) -> HistoryFolder:
    return HistoryFolder(tmp_path).make()


def test_each_is_found_and_what_is_not_there_is_not(folder: HistoryFolder) -> None:
    rows = [row(second, b"s") for second in range(1, 8)]
    segments = [segment(folder, 0, rows[:4]), segment(folder, 4, rows[4:])]
    for one in rows:
        assert read_evidence(folder, segments, one[0]) == one[1:]
    assert read_evidence(folder, segments, id_at(3, 99)) is None
    assert read_evidence(folder, segments, id_at(100)) is None


def test_what_came_late_is_found_in_another_file_than_its_time_says(folder: HistoryFolder) -> None:
    segments = [segment(folder, 0, [row(1, b"s")])]
    late = segment(folder, 1, [row(2, b"s"), row(50, b"s")])
    segments.append(Segment(1, 3, 50 * SECOND_NS, 60 * SECOND_NS, "", "", late.evidence))
    assert read_evidence(folder, segments, id_at(2)) == row(2, b"s")[1:]


def test_a_file_whose_time_is_over_is_passed_over(folder: HistoryFolder) -> None:
    one = segment(folder, 0, [row(1, b"s")])
    (folder.evidence / str(one.evidence)).unlink()
    gone = Segment(0, 1, 0, 0, "", "", None)
    assert read_evidence(folder, [one, gone], id_at(1)) is None
    assert drop_subjects(folder, one, {b"s" * 16}) == 0
    assert drop_subjects(folder, gone, {b"s" * 16}) == 0
    assert list(folder.evidence.iterdir()) == []


@settings(max_examples=30, deadline=None)
@given(
    subjects=st.lists(st.sampled_from(b"abc"), max_size=9), gone=st.sets(st.sampled_from(b"abcd"))
)
def test_exactly_the_rows_of_these_subjects_go(
    subjects: list[int], gone: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = HistoryFolder(tmp_path_factory.mktemp("evidence")).make()
    rows = [row(n, bytes([subject])) for n, subject in enumerate(subjects)]
    one = segment(folder, 0, rows)
    path = folder.evidence / str(one.evidence)
    before = path.read_bytes()
    dropped = drop_subjects(folder, one, {bytes([subject]) * 16 for subject in gone})
    left = [each for each in rows if each[1][0] not in gone]
    assert dropped == len(rows) - len(left)
    table = pq.read_table(path)
    assert [tuple(each.values()) for each in table.to_pylist()] == left
    assert table.schema.equals(EVIDENCE)
    assert about_of(path) == {"range": "0"}
    assert dropped or path.read_bytes() == before  # left alone
    assert [each.name for each in folder.evidence.iterdir()] == [path.name]
