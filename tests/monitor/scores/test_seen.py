"""Which requests came: exact, however often and in whatever order they come, and in so much memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.archive_reader import open_archive
from dosimeter.monitor.history.chunk import Ended, Opened, Piece, Record, Rows, Seal
from dosimeter.monitor.scores import seen
from dosimeter.monitor.scores.gather import Gatherer, held_bytes
from dosimeter.monitor.scores.packed import unpack
from dosimeter.monitor.scores.seen import WRITTEN, Seen
from tests.monitor.scores.test_packed import chunk, kept, records

PARTS = 3
REQUESTS = 6


def pieces(key: int) -> list[bytes]:
    """Of a request of 3 records, each of one token."""
    bank, opened, piece, rows, ended, _ = records(kept(1, features=2))
    assert isinstance(opened, Opened)
    assert isinstance(piece, Piece)
    assert isinstance(rows, Rows)
    assert isinstance(ended, Ended)
    found = []
    for part in range(PARTS):
        segments = rows.segments[:1].copy()
        segments["key"], segments["start"], segments["n"] = key, part, 1
        of: list[Record] = [] if part else [bank]
        of += [replace(opened, key=key), replace(piece, key=key, part=part, parts=PARTS)]
        of.append(replace(rows, segments=segments))
        of += [replace(ended, key=key)] if part == PARTS - 1 else []
        found.append(chunk([*of, Seal(1)]))
    return found


POOL = [value for key in range(REQUESTS) for value in pieces(key)]
came = st.lists(st.integers(0, len(POOL) - 1), max_size=80)


def gathered(folder: Path, numbers: Sequence[int], open_bytes: int) -> tuple[Gatherer, list[int]]:
    """What it counted, and the keys of what it wrote."""
    gatherer = Gatherer(ArchiveFolder(folder), open_bytes)
    for number in numbers:
        gatherer.take(POOL[number], "x")
    gatherer.finish()
    assert gatherer.counts["refused"] == 0
    if not gatherer.counts["requests"]:
        return gatherer, []
    parts = open_archive(folder).parts(["feature_0", "feature_1"])
    return gatherer, [key for part in parts for key in part.key.tolist()]


@given(came)
def test_each_request_that_came_whole_is_written_once_and_every_other_counted_once(
    numbers: list[int],
) -> None:
    """Twice, late, out of order, missing: as partitions that are read in turn, repeats and losses make it."""
    there = {key: {n for n in numbers if n // PARTS == key} for key in range(REQUESTS)}
    whole = [key for key, of in there.items() if len(of) == PARTS]
    others = [of for of in there.values() if 0 < len(of) < PARTS]
    with TemporaryDirectory() as folder:
        gatherer, keys = gathered(Path(folder) / "a", numbers, 1 << 30)
    assert sorted(keys) == whole
    counts = gatherer.counts
    assert (counts["requests"], counts["tokens"]) == (len(whole), PARTS * len(whole))
    assert counts["incomplete"] == len(others)
    assert counts["incomplete_tokens"] == sum(map(len, others))
    assert counts["again"] == len(numbers) - len(set(numbers))


@given(came, st.integers(1, 4000))
def test_also_where_requests_are_given_up_to_make_room_and_come_again(
    numbers: list[int], open_bytes: int
) -> None:
    with TemporaryDirectory() as folder:
        gatherer, keys = gathered(Path(folder) / "a", numbers, open_bytes)
    counts, there = gatherer.counts, {n // PARTS for n in numbers}
    assert len(keys) == len(set(keys)) == counts["requests"]
    assert there >= set(keys)
    assert counts["requests"] + counts["incomplete"] == len(there)
    assert 0 <= counts["incomplete_tokens"] <= PARTS * counts["incomplete"]


def test_a_request_that_was_given_up_and_is_sent_again_whole_is_written(tmp_path: Path) -> None:
    held = held_bytes(unpack(POOL[0], "x"), POOL[0])
    gatherer, keys = gathered(tmp_path / "a", [0, 3, 6, 0, 1, 2], 2 * held)
    assert keys == [0]
    assert (gatherer.counts["requests"], gatherer.counts["incomplete"]) == (1, 2)


def test_many_requests_take_no_more_memory_than_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set of their names takes 450 bytes each: here 45 MB."""
    monkeypatch.setattr(seen, "CACHE_KB", 1 << 10)
    many = 100_000
    one = Seen(tmp_path / "a")
    one.put((0, 0, "ab" * 32, "cd" * 32, 1), WRITTEN)
    before = resident()
    for key in range(1, many):
        one.put((key, key, "ab" * 32, "cd" * 32, 1), key)
    assert resident() - before < 16 << 20
    assert [one.get((key, key, "ab" * 32, "cd" * 32, 1)) for key in (0, 1, many - 1, many)] == [
        WRITTEN,
        1,
        many - 1,
        None,
    ]
    one.close()


def resident() -> int:
    """Bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_names_that_a_stranger_chose_are_told_apart_and_leave_no_file(tmp_path: Path) -> None:
    one = Seen(tmp_path / "a")
    names = [
        (1, 2, "a', 'b", ""),
        (1, 2, "a", "b"),
        (1, 2, "\ud800", "\x00"),
        (1, 2, "x" * 10**6, ""),
    ]
    for number, name in enumerate(names):
        one.put(name, number)
    assert [one.get(name) for name in names] == [0, 1, 2, 3]
    assert list((tmp_path / "a").iterdir()) == []
    one.close()


def test_a_disk_that_takes_no_more_is_an_error_of_the_disk(tmp_path: Path) -> None:
    one = Seen(tmp_path / "a")
    one._db.execute("PRAGMA max_page_count = 4")

    def fill() -> None:
        for key in range(10_000):
            one.put((key,), 0)

    with pytest.raises(OSError, match="which requests came cannot be kept: .*full"):  # noqa: RUF043
        fill()
