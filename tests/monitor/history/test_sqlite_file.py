"""What all our SQLite files have in common: all or nothing, and no copy of what was deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dosimeter.monitor.history.sqlite_file import empty_log, transaction, write_anew


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    found = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    found.execute("PRAGMA journal_mode = WAL")
    found.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, said TEXT)")
    yield found
    found.close()


def test_what_ends_in_an_error_has_changed_nothing_and_the_next_can_begin(
    db: sqlite3.Connection,
) -> None:
    def half() -> None:
        with transaction(db):
            db.execute("INSERT INTO t VALUES (1, 'first')")
            raise ValueError("half of it")

    with pytest.raises(ValueError, match="half"):
        half()
    with transaction(db):
        db.execute("INSERT INTO t VALUES (2, 'second')")
    assert db.execute("SELECT id FROM t").fetchall() == [(2,)]


def test_written_anew_and_its_log_emptied_a_file_has_no_copy_of_what_was_deleted(
    tmp_path: Path, db: sqlite3.Connection
) -> None:
    with transaction(db):
        db.executemany("INSERT INTO t VALUES (?, ?)", ((n, f"said-{n:03d}") for n in range(500)))
    with transaction(db):
        db.execute("DELETE FROM t WHERE id % 3")
    files = [tmp_path / "a.db", tmp_path / "a.db-wal"]
    assert any(b"said-001" in file.read_bytes() for file in files)  # else nothing is shown here
    write_anew(db)
    assert empty_log(db)
    left = b"".join(file.read_bytes() for file in files)
    assert [n for n in range(500) if b"said-%03d" % n in left] == list(range(0, 500, 3))


def test_a_log_that_somebody_reads_is_emptied_once_he_has_ended(
    tmp_path: Path, db: sqlite3.Connection
) -> None:
    reader = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    db.execute("PRAGMA busy_timeout = 1")
    db.execute("INSERT INTO t VALUES (1, 'first')")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t").fetchall()
    db.execute("INSERT INTO t VALUES (2, 'second')")
    assert not empty_log(db)
    reader.close()
    assert empty_log(db)
    assert (tmp_path / "a.db-wal").stat().st_size == 0
