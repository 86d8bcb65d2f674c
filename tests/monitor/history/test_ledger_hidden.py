"""A writer that died between SQLite's log and the index of that log: what it left was never accepted.

The index is a file that all who have the ledger open share; it is put back here to what it was before the last
commit, as a kill between the two leaves it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path


def opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = wal")
    db.execute("PRAGMA synchronous = full")
    return db


def seen(db: sqlite3.Connection) -> list[int]:
    return [row[0] for row in db.execute("SELECT x FROM t ORDER BY x")]


def half_committed(path: Path) -> sqlite3.Connection:
    """A reader of a ledger whose writer died so with a 2."""
    writer = opened(path)
    writer.execute("CREATE TABLE t (x)")
    writer.execute("INSERT INTO t VALUES (1)")
    reader = opened(path)
    assert seen(reader) == [1]
    index = Path(f"{path}-shm")
    before = index.read_bytes()
    writer.execute("INSERT INTO t VALUES (2)")
    with index.open("r+b") as file:
        file.write(before)
    return reader


def test_no_reader_sees_it_and_the_next_writer_takes_its_place(tmp_path: Path) -> None:
    reader = half_committed(tmp_path / "a.db")
    assert seen(reader) == [1]
    opened(tmp_path / "a.db").execute("INSERT INTO t VALUES (3)")
    assert seen(reader) == [1, 3]


def test_without_a_next_writer_it_comes_to_light_when_all_have_closed(tmp_path: Path) -> None:
    """So `chaos kill` lets a next life of the line accept something before it compares."""
    half_committed(tmp_path / "a.db")
    for name in ("a.db", "a.db-wal"):
        (tmp_path / f"later-{name}").write_bytes((tmp_path / name).read_bytes())
    assert seen(opened(tmp_path / "later-a.db")) == [1, 2]
