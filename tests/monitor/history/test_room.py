"""Who gives way when the disk is nearly full: scores first, and an alert never."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
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
VISITOR = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("SELECT count(*) FROM alert").fetchone()
db.close()
"""


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
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE filling (body BLOB)")
        db.execute("INSERT INTO filling VALUES (zeroblob(?))", (9 * MIB,))
        db.commit()
        used = path.stat().st_size
        quota = -(-10 * used // 9)  # nine tenths of it are used, and not a byte more
        Room(path, quota=quota, disk=lambda path: Disk(GIB, GIB)).for_scores()
        room = Room(path, quota=quota - 2, disk=lambda path: Disk(GIB, GIB))
        with pytest.raises(OSError, match="9 MiB of the 10 of its quota"):
            room.for_scores()
        db.execute("DELETE FROM filling")
        db.commit()
        room.for_scores()
        assert path.stat().st_size == used


def test_to_look_at_the_ledger_takes_no_lock_from_its_writer(
    tmp_path: Path, record_of: RecordOf
) -> None:
    """Who leaves a file that nobody has locked removes its write-ahead log, and with it what is accepted later."""
    path = tmp_path / "ledger.db"
    room = Room(path, quota=GIB, disk=lambda path: Disk(GIB, GIB))
    with Ledger(path) as ledger:
        ledger.append([record_of(1)])
        assert room.status()["ledger_bytes"] > 0
        room.for_scores()
        subprocess.run([sys.executable, "-c", VISITOR, path], check=True)
        ledger.append([record_of(2)])
        with LedgerReader(path) as reader:
            assert reader.count() == 2


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
