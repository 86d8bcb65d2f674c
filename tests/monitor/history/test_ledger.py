"""What `append` promises: all or nothing, once, and still there afterwards."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.monitor.history.ledger import (
    SCHEMA_VERSION,
    Ledger,
    LedgerError,
    LedgerStalled,
    LedgerTooNew,
)
from dosimeter.monitor.history.lock import AlreadyWriting
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import Account, LedgerRecord

RecordOf = Callable[..., LedgerRecord]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_what_was_accepted_is_read_back_byte_for_byte(path: Path, record_of: RecordOf) -> None:
    records = [record_of(n) for n in range(5)]
    with Ledger(path, now_ns=lambda: 77) as ledger:
        committed = ledger.append(records)
        with LedgerReader(path) as reader:
            stored = reader.alerts_since(0)
    assert (committed.accepted, committed.duplicates, committed.last_seq) == (5, 0, 5)
    assert [alert.core for alert in stored] == [record.core for record in records]
    assert {alert.committed_ns for alert in stored} == {77}


def test_a_second_record_with_the_same_id_is_counted_and_changes_nothing(
    path: Path, record_of: RecordOf
) -> None:
    """After a crash the line decides the same things again: the first record stands."""
    with Ledger(path) as ledger:
        ledger.append([record_of(1)])
        again = ledger.append([record_of(1, summary="another telling"), record_of(2)])
        with LedgerReader(path) as reader:
            stored = reader.alerts_since(0)
    assert (again.accepted, again.duplicates) == (1, 1)
    assert [alert.core for alert in stored] == [record_of(1).core, record_of(2).core]


def test_a_group_with_one_broken_record_leaves_nothing_behind(
    path: Path, record_of: RecordOf
) -> None:
    broken = LedgerRecord("f" * 32, b"{not json", None, True)
    with Ledger(path) as ledger:
        with pytest.raises(LedgerError, match="malformed JSON"):
            ledger.append([record_of(1), broken], blobs={"aa": b"text"})
        with LedgerReader(path) as reader:
            assert reader.count() == 0
            assert reader.blob("aa") is None
        assert ledger.append([record_of(1)]).accepted == 1


def test_a_full_disk_is_a_stall_and_the_same_group_fits_afterwards(
    path: Path, record_of: RecordOf
) -> None:
    group = [record_of(n, summary="x" * 2000) for n in range(200)]
    with Ledger(path) as ledger:
        pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
        ledger._db.execute(f"PRAGMA max_page_count = {pages + 5}")  # SQLite's own SQLITE_FULL
        with pytest.raises(LedgerStalled, match="full") as stalled:
            ledger.append(group)
        assert "hint: free disk space" in str(stalled.value)
        ledger._db.execute("PRAGMA max_page_count = 100000")
        assert ledger.append(group).accepted == 200


def test_a_lock_held_by_a_visitor_is_a_stall(
    path: Path, record_of: RecordOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dosimeter.monitor.history.ledger.BUSY_S", 0.0)
    with Ledger(path) as ledger:
        visitor = sqlite3.connect(path, isolation_level=None)
        visitor.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerStalled, match="locked"):
            ledger.append([record_of(1)])
        visitor.execute("ROLLBACK")
        visitor.close()
        assert ledger.append([record_of(1)]).accepted == 1


def test_a_damaged_file_is_not_said_to_be_a_full_disk(path: Path, record_of: RecordOf) -> None:
    with Ledger(path) as ledger:
        ledger.append([record_of(n) for n in range(1000)])
    with path.open("r+b") as file:  # all but the pages that say what there is
        file.seek(20 * 4096)
        file.write(b"\xff" * (path.stat().st_size - 20 * 4096))
    with Ledger(path) as ledger, pytest.raises(LedgerStalled) as stalled:
        ledger.append([record_of(n) for n in range(1000, 1100)])
    assert stalled.value.reason == "database disk image is malformed"
    assert "hint: the file is damaged" in str(stalled.value)


def test_a_copy_as_the_manual_says_is_this_ledger_as_far_as_it_was_and_goes_on(
    path: Path, record_of: RecordOf
) -> None:
    copy = path.with_name("copy.db")
    with Ledger(path) as ledger:
        ledger.append([record_of(1), record_of(2)])
        ledger.upkeep.prune(1, 1 << 62)
        with closing(sqlite3.connect(path)) as shell:
            shell.execute(f"VACUUM INTO '{copy}'")
        ledger.append([record_of(3)])
        with LedgerReader(path) as reader, LedgerReader(copy) as copied:
            assert copied.ledger_id == reader.ledger_id
            assert copied.openings() == reader.openings()
            assert copied.pruned() == reader.pruned()
            assert copied.alerts_since() == reader.alerts_since()[:1]
    with Ledger(copy) as ledger:
        assert ledger.append([record_of(4)]).last_seq == 3


def test_two_writers_on_one_ledger_is_a_clear_error(path: Path) -> None:
    with Ledger(path):
        with pytest.raises(AlreadyWriting) as refused:
            Ledger(path)
        assert str(refused.value).startswith(
            f"{path}: already being written by process `{os.getpid()}`"
        )
    Ledger(path).close()  # released with the first


def test_a_newer_schema_is_refused_by_writer_and_reader_and_the_lock_is_free(path: Path) -> None:
    Ledger(path).close()
    later = sqlite3.connect(path)
    later.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (SCHEMA_VERSION + 1,))
    later.commit()
    later.close()
    for _ in range(2):
        with pytest.raises(LedgerTooNew, match="newer than `2`"):
            Ledger(path)
    with pytest.raises(LedgerTooNew):
        LedgerReader(path)


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("not a database, but long enough to have a header" * 10)
    with pytest.raises(LedgerError, match="not a dosimeter ledger"):
        Ledger(text)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(LedgerError, match="not a dosimeter ledger"):
        Ledger(other)


def test_an_alert_cannot_be_rewritten(path: Path, record_of: RecordOf) -> None:
    with Ledger(path) as ledger:
        ledger.append([record_of(1)])
        with pytest.raises(sqlite3.IntegrityError, match="never rewritten"):
            ledger._db.execute("UPDATE alert SET core = '{}'")


def test_evidence_is_replaced_when_the_rest_has_come_and_orphans_are_counted(
    path: Path, record_of: RecordOf
) -> None:
    first = record_of(1)
    early = LedgerRecord(first.event_id, first.core, b"early", True)
    with Ledger(path) as ledger:
        ledger.append([early])
        late = ledger.append(evidence={early.event_id: b"complete", "e" * 32: b"nobody's"})
        ledger.append([early])  # decided again: the complete evidence stays
        with LedgerReader(path) as reader:
            assert reader.evidence(early.event_id) == b"complete"
            assert reader.evidence("e" * 32) is None
    assert late.orphans == 1


def test_an_account_holds_the_newest_totals_of_its_epoch(path: Path) -> None:
    with Ledger(path, now_ns=lambda: 9) as ledger:
        ledger.append(accounts=[Account("aa", 10, 8, 0, 1, 0, {"prefix_cache": 2})])
        account = Account("aa", 20, 17, 1, 2, 1, {"prefix_cache": 2}, served_by={"usage": 20})
        ledger.append(accounts=[account])
        with LedgerReader(path) as reader:
            assert reader.accounts() == [replace(account, updated_ns=9)]


def test_commits_reach_the_disk_and_not_only_the_page_cache(path: Path) -> None:
    with Ledger(path) as ledger:
        assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


CHILD = """
import os, sys
from pathlib import Path
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.records import LedgerRecord
ledger, first = Ledger(Path(sys.argv[1])), int(sys.argv[2])
for group in range(10**6):
    numbers = [first + 7 * group + i for i in range(1 + group % 7)]
    core = b'{"pad":"' + b"x" * 300 + b'"}'
    ledger.append([LedgerRecord(f"{n:032x}", core, b"e", True) for n in numbers])
    os.write(1, b"".join(b"%d\\n" % n for n in numbers))
"""


@pytest.mark.parts
def test_what_append_returned_for_survives_kill_9_at_any_moment(path: Path) -> None:
    """Accepted is what the child wrote after `append`; each life is ended somewhere else."""
    rng = random.Random(20261120)
    accepted: set[int] = set()
    for life in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(life * 10**7)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        wanted = rng.randrange(1, 150)
        lines = [child.stdout.readline() for _ in range(wanted)]
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read()
        child.wait()
        child.stdout.close()
        written = b"".join(lines) + rest
        accepted |= {int(line) for line in written.split(b"\n")[:-1]}
    with Ledger(path), LedgerReader(path) as reader:  # opening recovers the log
        present = {int(alert.event_id, 16) for alert in reader.alerts_since(0, limit=10**6)}
        assert reader._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(accepted) >= 8
    assert accepted <= present


def test_the_columns_to_search_by_are_read_from_the_record(path: Path, record_of: RecordOf) -> None:
    record = record_of(4)
    with Ledger(path) as ledger:
        ledger.append([record])
        row = ledger._db.execute("SELECT decision, feature, rule, tenant, time_ns FROM alert")
        found = row.fetchone()
    core = json.loads(record.core)
    names = ("decision", "feature", "rule")
    assert found == (*(core[n] for n in names), core["labels"]["tenant"], core["time_ns"])
