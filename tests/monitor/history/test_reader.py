"""The read side: filters, prefixes, and that it can never write."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dosimeter.monitor.history.ledger import SQL, Ledger
from dosimeter.monitor.history.reader import LedgerMissing, LedgerReader
from dosimeter.monitor.history.records import LedgerRecord

RecordOf = Callable[..., LedgerRecord]


@pytest.fixture
def reader(tmp_path: Path, record_of: RecordOf) -> Iterator[LedgerReader]:
    """Twelve alerts: every fourth is shadow, numbers above 8 are of another feature and rule."""
    path = tmp_path / "a folder with ? and #" / "ledger.db"
    with Ledger(path) as ledger:
        for n in range(1, 13):
            other = {"feature": "scam", "rule": "scam.writes"} if n > 8 else {}
            ledger.append([record_of(n, deliverable=n % 4 != 0, **other)])
        with LedgerReader(path) as reader:
            yield reader


def numbers(alerts: list) -> list[int]:
    return [int(alert.event_id, 16) for alert in alerts]


def test_since_reads_on_from_a_position_in_order_of_acceptance(reader: LedgerReader) -> None:
    assert numbers(reader.alerts_since(3, limit=4)) == [4, 5, 6, 7]


def test_shadow_alerts_are_not_among_the_deliverable(reader: LedgerReader) -> None:
    assert numbers(reader.deliverable_since(0)) == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert reader.count_deliverable(6) == (9, 4)
    assert reader.count() == 12


def test_a_label_of_a_rule_hides_none_of_its_alerts(tmp_path: Path, record_of: RecordOf) -> None:
    kinds = ("canary", "pause", "capture", "digest", "alert")
    with Ledger(tmp_path / "ledger.db") as ledger, LedgerReader(tmp_path / "ledger.db") as reader:
        ledger.append([record_of(1, kind="capture", rule_labels={"kind": "alert"})])
        for n, kind in enumerate(kinds, 2):
            ledger.append([record_of(n, kind="alert", rule_labels={"kind": kind})])
        assert numbers(reader.search()) == [6, 5, 4, 3, 2]


def test_captures_are_found_by_an_index_among_all_that_rules_decided(
    tmp_path: Path, record_of: RecordOf
) -> None:
    noted = [
        record_of(n, kind=kind, rule=None)
        for n, kind in ((2, "capture"), (3, "pause"), (5, "capture"))
    ]
    with Ledger(tmp_path / "ledger.db") as ledger, LedgerReader(tmp_path / "ledger.db") as reader:
        ledger.append([record_of(1, kind="capture"), *noted[:2], record_of(4), noted[2]])
        assert reader.captures() == [noted[0].core, noted[2].core]
        plan = reader._db.execute(f"EXPLAIN QUERY PLAN {SQL['captures']}").fetchone()[3]
        assert "alert_by_rule" in plan


def test_filters_narrow_and_the_newest_comes_first(reader: LedgerReader) -> None:
    assert numbers(reader.search(limit=2)) == [12, 11]
    assert numbers(reader.search(feature="scam")) == [12, 11, 10, 9]
    assert numbers(reader.search(rule="deception.denies", tenant="tenant-1")) == [7, 4, 1]
    assert numbers(reader.search(decision="shadow")) == [12, 8, 4]
    assert numbers(reader.search(since_ns=1_000_000_011)) == [12, 11]
    assert reader.search(feature="x' OR 1=1 --") == []


def test_a_filter_is_served_by_its_index(reader: LedgerReader) -> None:
    plan = reader._db.execute(
        "EXPLAIN QUERY PLAN SELECT seq FROM alert WHERE tenant = 'a' AND TRUE"
    )
    assert "alert_by_tenant" in plan.fetchone()[3]


def test_a_prefix_finds_every_id_that_begins_with_it(reader: LedgerReader) -> None:
    assert numbers(reader.by_prefix("0" * 31)) == list(range(1, 13))[:10]
    assert numbers(reader.by_prefix("0" * 31 + "B")) == [11]
    assert reader.by_prefix("ff") == []
    assert reader.by_prefix("%") == []


def test_a_reader_cannot_write(reader: LedgerReader) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._db.execute("DELETE FROM alert")


def test_data_version_moves_with_another_connections_commit(
    reader: LedgerReader, record_of: RecordOf
) -> None:
    before = reader.data_version()
    assert reader.data_version() == before
    # The fixture's ledger holds the writer's lock; a plain connection stands in for it.
    writer = sqlite3.connect(reader.path)
    writer.execute("INSERT INTO blob VALUES ('a', 'b')")
    writer.commit()
    writer.close()
    assert reader.data_version() != before


def test_no_file_is_said_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(LedgerMissing, match="dosimeter sidecar"):
        LedgerReader(tmp_path / "ledger.db")
    assert list(tmp_path.iterdir()) == []
