"""Counting from where it was counted before finds what counting all of it finds; what it may not rely on shows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.history.counted import EVERY, Counted
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord


def record(number: int, deliverable: bool = True) -> LedgerRecord:
    return LedgerRecord(f"{number:032x}", b"{}", None, deliverable)


def looked(path: Path, counted: Counted, seq: int) -> tuple[int, int]:
    with LedgerReader(path, counted=counted) as reader:
        return reader.count_deliverable(seq)


@given(st.lists(st.tuples(st.lists(st.booleans(), max_size=4), st.integers(0, 20)), max_size=12))
def test_it_counts_what_a_plain_count_finds(
    tmp_path_factory: object, steps: list[tuple[list[bool], int]]
) -> None:
    path = tmp_path_factory.mktemp("counted") / "ledger.db"  # type: ignore[attr-defined]
    counted, written = Counted(), [True]
    with Ledger(path) as ledger:
        ledger.append([record(0)])
        for more, cursor in steps:
            first = len(written)
            ledger.append([record(first + n, one) for n, one in enumerate(more)])
            written += more
            assert looked(path, counted, cursor) == (sum(written), sum(written[cursor:]))


def test_what_is_pruned_stays_counted(tmp_path: Path) -> None:
    path, counted = tmp_path / "ledger.db", Counted()
    with Ledger(path) as ledger:
        ledger.append([record(n) for n in range(6)])
        assert looked(path, counted, 4) == (6, 2)
        with sqlite3.connect(path) as db:
            db.execute("UPDATE meta SET value = '3' WHERE name = 'pruned_through'")
            db.execute("UPDATE meta SET value = '3' WHERE name = 'pruned_deliverable'")
            db.execute("DELETE FROM alert WHERE seq <= 3")
        ledger.append([record(6)])
        assert looked(path, counted, 4) == (7, 3)
        assert looked(path, Counted(), 4) == (7, 3)


def test_what_came_and_was_pruned_between_two_looks_is_counted(tmp_path: Path) -> None:
    path, counted = tmp_path / "ledger.db", Counted()
    with Ledger(path) as ledger:
        ledger.append([record(0)])
        assert looked(path, counted, 0) == (1, 1)
        ledger.append([record(n) for n in range(1, 6)])
        assert ledger.upkeep.prune(5, 1 << 62) == 5
        assert looked(path, counted, 5) == (6, 1)


def test_a_ledger_that_was_put_back_is_counted_anew(tmp_path: Path) -> None:
    path, other, counted = tmp_path / "ledger.db", tmp_path / "other.db", Counted()
    with Ledger(path) as ledger:
        ledger.append([record(0)])
    before = path.read_bytes()
    with Ledger(path) as ledger:
        ledger.append([record(n) for n in range(1, 5)])
        assert looked(path, counted, 0) == (5, 5)
    path.write_bytes(before)
    assert looked(path, counted, 0) == (1, 1)
    with Ledger(path) as ledger:
        ledger.append([record(n, deliverable=n > 8) for n in range(5, 12)])
        assert looked(path, counted, 0) == (4, 4)
    with Ledger(other) as ledger:
        ledger.append([record(n) for n in range(9)])
        assert looked(other, counted, 0) == (9, 9)


def test_a_row_that_somebody_took_out_shows_within_so_many_looks(tmp_path: Path) -> None:
    path, counted = tmp_path / "ledger.db", Counted()
    with Ledger(path) as ledger:
        ledger.append([record(n) for n in range(6)])
        assert looked(path, counted, 0) == (6, 6)
    with sqlite3.connect(path) as db:
        db.execute("DROP TRIGGER alert_is_kept")
        db.execute("DELETE FROM alert WHERE seq = 2")
    totals = [looked(path, counted, 5)[0] for _ in range(EVERY)]
    assert totals[-1] == 5
