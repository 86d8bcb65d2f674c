"""The spool: the line never waits, what finds no room is counted, and whose it was is said."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from score_traffic import EPOCH, NOON_NS, Traffic, bank_of, program_of, traffic

from dosimeter.detectors.frames import SEGMENTS
from dosimeter.monitor.history import chunk_writer
from dosimeter.monitor.history import spool as spool_module
from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.assembly import Assembly
from dosimeter.monitor.history.chunk import (
    Bank,
    Ended,
    Fired,
    Lost,
    Opened,
    ProgramText,
    Record,
    Rows,
    Seal,
)
from dosimeter.monitor.history.chunk_reader import Chunk, read_chunk
from dosimeter.monitor.history.chunk_writer import ChunkLimits
from dosimeter.monitor.history.lock import AlreadyWriting
from dosimeter.monitor.history.spool import RESERVE_BYTES, SMALL_BYTES, Spool

TEXT = ProgramText(program_of().canonical)


@pytest.fixture
def folder(tmp_path: Path) -> ArchiveFolder:
    return ArchiveFolder(tmp_path / "archive")


class Clock:
    def __init__(self) -> None:
        self.ns = NOON_NS

    def __call__(self) -> int:
        return self.ns


def feed(spool: Spool, records: list[Record]) -> None:
    """What the line does with them."""
    for record in records:
        if isinstance(record, Opened):
            spool.open(bank_of(), TEXT, record)
        elif isinstance(record, Rows):
            spool.rows(record)
        elif isinstance(record, Fired):
            spool.fired(record)
        elif isinstance(record, Ended):
            spool.end(record)


def chunks(folder: ArchiveFolder) -> list[Chunk]:
    return [read_chunk(file.path) for file in folder.sealed()]


def records_in(folder: ArchiveFolder) -> Iterator[Record]:
    for chunk in chunks(folder):
        yield from chunk.records


def rows_for(key: int, tokens: int = 1, start: int = 0) -> Rows:
    segments = np.array([(key, start, tokens, 3)], SEGMENTS)
    return Rows(EPOCH, NOON_NS, segments, np.zeros((tokens, 2), np.int16))


def opened(key: int) -> Opened:
    return Opened(EPOCH, key, bank_of().digest, TEXT.digest, NOON_NS)


def row_size(tokens: int = 1) -> int:
    return SEGMENTS.itemsize + 4 * tokens + SMALL_BYTES


def test_everything_that_the_line_hands_over_is_in_the_chunks_in_its_order(
    folder: ArchiveFolder,
) -> None:
    made = traffic(40)
    spool = Spool(folder, limits=ChunkLimits(chunk_bytes=4000), time_ns=Clock())
    for at in range(0, len(made.records), 30):
        feed(spool, made.records[at : at + 30])
        spool.write()
    spool.write(last=True)
    found = list(records_in(folder))
    assert len(chunks(folder)) > 3
    assert sum(len(one.codes) for one in found if isinstance(one, Rows)) == made.tokens
    wanted = [one for one in made.records if isinstance(one, Opened | Fired | Ended)]
    assert [one for one in found if isinstance(one, Opened | Fired | Ended)] == wanted


def test_every_chunk_says_itself_what_the_requests_that_begin_in_it_are(
    folder: ArchiveFolder,
) -> None:
    """An older chunk may have given way: nothing of it may be needed to read this one."""
    spool = Spool(folder, limits=ChunkLimits(chunk_bytes=1500), time_ns=Clock())
    for key in range(20):
        spool.open(bank_of(), TEXT, opened(key))
        spool.write()
    spool.write(last=True)
    assert len(chunks(folder)) > 2
    for chunk in chunks(folder):
        known: set[str] = set()
        for record in chunk.records:
            if isinstance(record, Bank | ProgramText):
                assert record.digest not in known  # once a chunk
                known.add(record.digest)
            elif isinstance(record, Opened):
                assert {record.bank, record.program} <= known


def test_a_full_queue_drops_and_counts_and_names_the_requests_that_have_a_hole(
    folder: ArchiveFolder,
) -> None:
    spool = Spool(folder, queue_bytes=4 * row_size(), time_ns=Clock())
    for key in (1, 2, 3):
        spool.open(bank_of(), TEXT, opened(key))
    for position in range(5):  # nobody writes: not all of these find room
        for key in (1, 2):
            spool.rows(rows_for(key, start=position))
    spool.fired(Fired(EPOCH, 1, "r", "notified", "", 4))
    spool.end(Ended(EPOCH, 1, True, NOON_NS, 5))
    taken = spool.rows_taken
    assert 0 < taken < 10
    assert spool.rows_dropped == 10 - taken
    spool.write()
    spool.rows(rows_for(3))
    spool.write(last=True)
    found = list(records_in(folder))
    lost = [one for one in found if isinstance(one, Lost)]
    assert sum(one.rows for one in lost) == spool.rows_dropped
    assert {key for one in lost for key in one.keys} == {1, 2}
    ended = next(i for i, one in enumerate(found) if isinstance(one, Ended))
    assert any(isinstance(one, Lost) and 1 in one.keys for one in found[:ended])
    assert any(isinstance(one, Fired) for one in found)
    written = sum(len(one.codes) for one in found if isinstance(one, Rows))
    assert written == spool.rows_taken
    assert written + spool.rows_dropped == 11


def test_beyond_its_reserve_the_queue_takes_nothing_and_counts_requests_and_hits(
    folder: ArchiveFolder,
) -> None:
    spool = Spool(folder, queue_bytes=0, time_ns=Clock())
    most = RESERVE_BYTES // SMALL_BYTES
    for key in range(most + 3):
        spool.open(bank_of(), TEXT, opened(key))
    spool.fired(Fired(EPOCH, 1, "r", "notified", "", 4))
    spool.end(Ended(EPOCH, 1, True, NOON_NS, 5))
    status = spool.status()
    assert (status["requests"], status["requests_dropped"], status["hits_dropped"]) == (most, 3, 1)


def test_a_disk_that_takes_nothing_makes_the_queue_wait_and_loses_nothing_that_was_taken(
    folder: ArchiveFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = traffic(10)
    spool = Spool(folder, time_ns=Clock())
    feed(spool, made.records[:20])
    spool.write()
    write, calls = os.pwrite, 0

    def full(fd: int, data: memoryview, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls % 2:
            return write(fd, data[: len(data) // 2], offset)  # half a record, then no space
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    feed(spool, made.records[20:])
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            spool.write()
    monkeypatch.undo()
    spool.write(last=True)
    (chunk,) = chunks(folder)
    assert (chunk.torn, chunk.sealed, chunk.rows) == (0, True, made.tokens)
    assert spool.status()["queue_bytes"] == 0


def test_what_a_killed_writer_left_is_ended_and_counted_by_the_next_one(
    folder: ArchiveFolder,
) -> None:
    made = traffic(10)
    spool = Spool(folder, time_ns=Clock())
    feed(spool, made.records)
    spool.write()
    left = folder.unsealed()[0].path.read_bytes()
    spool._lock.close()  # as the kernel does for a process that dies
    folder.unsealed()[0].path.write_bytes(left[:-3])
    following = Spool(folder, time_ns=Clock())
    (chunk,) = chunks(folder)
    assert chunk.torn > 0
    assert not chunk.sealed
    assert folder.sealed()[0].rows == chunk.rows == made.tokens
    following.open(bank_of(), TEXT, opened(99))
    following.write(last=True)
    assert [file.sequence for file in folder.sealed()] == [0, 1]


def test_two_lines_cannot_write_one_spool(folder: ArchiveFolder) -> None:
    Spool(folder)
    with pytest.raises(AlreadyWriting):
        Spool(folder)


def test_chunks_that_nobody_reads_give_way_to_newer_ones_and_are_counted(
    folder: ArchiveFolder,
) -> None:
    limits = ChunkLimits(chunk_bytes=1, total_bytes=3000)
    spool = Spool(folder, limits=limits, time_ns=Clock())
    for position in range(12):
        spool.rows(rows_for(1, tokens=200, start=200 * position))
        spool.write()
    left = folder.sealed()
    assert sum(file.path.stat().st_size for file in left) <= 3000
    assert left[-1].sequence == 11
    status = spool.status()
    assert status["rows_expired"] == status["rows"] - sum(file.rows for file in left)
    assert status["rows_expired"] == 200 * (12 - len(left))
    assert status["chunks_waiting"] == len(left)


def test_a_chunk_ends_when_it_is_old_though_nothing_more_comes(folder: ArchiveFolder) -> None:
    clock = Clock()
    spool = Spool(folder, limits=ChunkLimits(chunk_ns=1000), time_ns=clock)
    spool.rows(rows_for(1))
    spool.write()
    assert not folder.sealed()
    clock.ns += 1000
    spool.write()
    assert [type(one) for one in chunks(folder)[0].records] == [Rows, Seal]


@pytest.mark.parametrize("step", [-86_400_000_000_000, -1])
def test_a_chunk_ends_when_the_clock_is_set_back(folder: ArchiveFolder, step: int) -> None:
    """It would be open for as long as the clock was ahead."""
    clock = Clock()
    spool = Spool(folder, time_ns=clock)
    spool.rows(rows_for(1))
    spool.write()
    clock.ns += step
    spool.write()
    assert len(folder.sealed()) == 1


@pytest.mark.parametrize("place", ["seal", "name", "old"])
def test_a_chunk_that_cannot_be_ended_is_ended_later_and_holds_everything_once(
    folder: ArchiveFolder, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    made = traffic(20)
    spool = Spool(folder, limits=ChunkLimits(chunk_bytes=4000), time_ns=Clock())
    left = [3]

    def failing(call: Callable[..., object], applies: Callable[..., bool]) -> Callable[..., object]:
        def instead(*args: object) -> object:
            if left[0] and applies(*args):
                left[0] -= 1
                raise OSError(28, "No space left on device")
            return call(*args)

        return instead

    if place == "seal":
        short = failing(os.pwrite, lambda _fd, data, _at: b'{"rows": ' in bytes(data)[:20])
        monkeypatch.setattr(os, "pwrite", short)
    elif place == "name":
        named = failing(Path.replace, lambda _path, target: target.suffix == ".chunk")
        monkeypatch.setattr(Path, "replace", named)
    else:
        whole = failing(chunk_writer.file_size, lambda _path: True)
        monkeypatch.setattr(chunk_writer, "file_size", whole)
    for at in range(0, len(made.records), 10):
        feed(spool, made.records[at : at + 10])
        try:
            spool.write()
        except OSError:
            assert place != "old"  # the chunk is whole and has its name
    spool.write(last=True)
    assert left == [0]
    assert len(chunks(folder)) > 2
    assert all(chunk.sealed for chunk in chunks(folder))
    found = list(records_in(folder))
    wanted = [one for one in made.records if isinstance(one, Opened | Fired | Ended)]
    assert [one for one in found if isinstance(one, Opened | Fired | Ended)] == wanted
    assert sum(len(one.codes) for one in found if isinstance(one, Rows)) == made.tokens
    assert [one.rows for one in found if isinstance(one, Seal)] == [c.rows for c in chunks(folder)]


def test_a_chunk_that_could_not_be_begun_leaves_no_gap_in_the_sequences(
    folder: ArchiveFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, time_ns=Clock())
    spool.rows(rows_for(1))
    with monkeypatch.context() as patched:

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        patched.setattr(os, "open", full)
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                spool.write()
    spool.write(last=True)
    assert [file.sequence for file in folder.sealed()] == [0]


def test_a_request_with_a_hole_that_ends_says_nothing_of_the_others(folder: ArchiveFolder) -> None:
    """A loss without names is one of all: it is said only of those that have one."""
    spool = Spool(folder, queue_bytes=4 * row_size(), time_ns=Clock())
    for key in (1, 2):
        spool.open(bank_of(), TEXT, opened(key))
    spool.rows(rows_for(2, tokens=2000))
    spool.end(Ended(EPOCH, 2, True, NOON_NS, 2000))
    spool.write()
    spool.rows(rows_for(1))
    spool.write(last=True)
    lost = [one for one in records_in(folder) if isinstance(one, Lost)]
    assert lost == [Lost(EPOCH, (2,), 2000)]


def test_more_requests_with_a_hole_than_are_named_are_all_though_one_of_them_ends(
    folder: ArchiveFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "MAX_MISSED", 2)
    spool = Spool(folder, queue_bytes=4 * row_size(), time_ns=Clock())
    for position in range(4):
        spool.rows(rows_for(9, start=position))
    for key in (1, 2, 3):
        spool.rows(rows_for(key, tokens=2000))
    for key in (1, 2):
        spool.end(Ended(EPOCH, key, True, NOON_NS, 2000))
    spool.write()
    spool.rows(rows_for(4))
    spool.write(last=True)
    lost = [one for one in records_in(folder) if isinstance(one, Lost)]
    assert lost[-1] == Lost(EPOCH, (), 6000)


def test_no_row_of_another_bank_is_taken_for_one_of_the_bank_before(folder: ArchiveFolder) -> None:
    """Of the same width: the archive cannot see it."""
    other = bank_of(model="other")
    again = Opened(EPOCH, 1, other.digest, TEXT.digest, NOON_NS, whole=False)
    spool = Spool(folder, queue_bytes=8 * row_size(), time_ns=Clock())
    spool.open(bank_of(), TEXT, opened(1))
    spool.rows(rows_for(1, tokens=3))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spool_module, "RESERVE_BYTES", -(8 * row_size()))
        spool.open(other, TEXT, again)
    assert spool.requests_dropped == 1
    spool.rows(rows_for(1, tokens=4, start=3))
    spool.write()
    spool.rows(rows_for(1, tokens=5, start=7))
    spool.end(Ended(EPOCH, 1, True, NOON_NS, 12))
    spool.write(last=True)
    assembly = Assembly()
    before, after = assembly.take(records_in(folder))
    assert (before.bank, len(before.codes)) == (bank_of(), 3)
    assert (after.bank, len(after.codes)) == (other, 9 - spool.rows_dropped)
    assert not after.whole
    assert not assembly.counts["tokens_unknown"]


def test_sequences_go_on_where_everything_was_read(folder: ArchiveFolder) -> None:
    folder.make()
    folder.carry(41).write_bytes(b"")
    spool = Spool(folder, time_ns=Clock())
    spool.rows(rows_for(1))
    spool.write(last=True)
    assert [file.sequence for file in folder.sealed()] == [42]


def test_the_thread_writes_what_is_handed_over_and_ends_the_chunk(folder: ArchiveFolder) -> None:
    made: Traffic = traffic(20)
    spool = Spool(folder).start()
    feed(spool, made.records)
    assert spool.stop(10)
    (chunk,) = chunks(folder)
    assert chunk.sealed
    assert chunk.rows == made.tokens
    assert spool.stalled is None


def test_a_folder_that_is_gone_is_said_in_the_status_and_does_not_end_the_thread(
    folder: ArchiveFolder,
) -> None:
    spool = Spool(folder)
    for path in folder.spool.iterdir():
        path.unlink()
    folder.spool.rmdir()
    spool.start()
    spool.rows(rows_for(1))
    assert not spool.stop(10)
    assert spool.stalled is not None
    assert "chunk-" in spool.stalled
