"""Who gives way when the disk is nearly full: scores first, and an alert never."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from score_traffic import bank_of, program_of, traffic

from dosimeter.monitor.history.archive_folder import ArchiveFolder
from dosimeter.monitor.history.chunk import Opened, ProgramText, Rows
from dosimeter.monitor.history.ledger import Ledger, LedgerStalled
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord
from dosimeter.monitor.history.room import Disk, Room
from dosimeter.monitor.history.spool import Spool

GIB, MIB = 1 << 30, 1 << 20
RecordOf = Callable[..., LedgerRecord]


@pytest.mark.parametrize(
    ("free", "total", "gives_way"),
    [
        (GIB, 100 * GIB, False),
        (GIB - 1, 100 * GIB, True),
        (200 * MIB, GIB, False),  # of 1 GiB a tenth is kept, 102.4 MiB
        (100 * MIB, GIB, True),
    ],
)
def test_scores_give_way_while_less_than_the_reserve_is_free(
    tmp_path: Path, free: int, total: int, gives_way: bool
) -> None:
    room = Room(tmp_path / "ledger.db", disk=lambda path: Disk(free, total))
    expected = pytest.raises(OSError, match="are for alerts") if gives_way else nullcontext()
    with expected:
        room.for_scores()


def test_scores_give_way_before_the_ledger_is_at_its_quota(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    room = Room(path, quota=10 * MIB, disk=lambda path: Disk(GIB, GIB))
    path.write_bytes(bytes(9 * MIB))
    room.for_scores()
    path.write_bytes(bytes(9 * MIB + 1))
    with pytest.raises(OSError, match="9 MiB of the 10 of its quota"):
        room.for_scores()


def test_what_is_not_spooled_is_counted_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    full = True

    def room() -> None:
        if full:
            raise OSError("scores give way")

    spool = Spool(ArchiveFolder(tmp_path / "archive"), queue_bytes=4096, room=room)
    text = ProgramText(program_of().canonical)
    fed = 0
    for record in traffic(20).records:
        if isinstance(record, Opened):
            spool.open(bank_of(), text, record)
        elif isinstance(record, Rows):
            spool.rows(record)
            fed += len(record.codes)
    with pytest.raises(OSError, match="give way"):
        spool.write()
    found = spool.status()
    assert found["rows_dropped"] > 0
    assert found["rows"] + found["rows_dropped"] == fed
    full = False
    spool.write()
    assert spool.status()["queue_bytes"] == 0
    spool.stop(0)


def test_a_ledger_at_its_quota_accepts_nothing_and_has_all_it_accepted(
    tmp_path: Path, record_of: RecordOf
) -> None:
    path, accepted = tmp_path / "ledger.db", 0
    with Ledger(path, quota=MIB) as ledger:
        stalled: LedgerStalled | None = None
        while stalled is None:
            try:
                ledger.append([record_of(n) for n in range(accepted, accepted + 100)])
                accepted += 100
            except LedgerStalled as error:
                stalled = error
        assert stalled.reason == "1 MiB are used, and `ledger.quota` is 1"
        with LedgerReader(path) as reader:
            assert reader.count() == accepted > 0
        # What is pruned makes room, with no file written anew.
        while ledger.upkeep.prune(accepted, before_ns=1 << 62):
            pass
        assert ledger.append([record_of(10_000)]).accepted == 1
