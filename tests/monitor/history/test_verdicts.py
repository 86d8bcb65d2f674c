"""What a second look said is stored once, with its costs, and an older file becomes one that can hold it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.monitor.history.cursors import CursorStore, SinkPosition
from dosimeter.monitor.history.ledger import PACKAGE, Ledger
from dosimeter.monitor.history.named_sql import read_sql
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord, StoredAlert
from dosimeter.monitor.history.verdicts import (
    ConfirmerTotals,
    Verdict,
    confirmer_of,
    stored_verdict,
)

YES = Verdict(3, "second-look", "yes", "it is one", 0.25, 120, 1, 7)
NO = replace(YES, seq=5, answer="no", cost=0.5, asked=2)
NOBODY = Verdict(9, "other", "unanswered", "not set up", 0.0, 0, 0, 8)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CursorStore]:
    with CursorStore(tmp_path / "deliver.db", ledger_id="L") as store:
        yield store


def test_verdicts_and_totals_are_read_back(store: CursorStore) -> None:
    store.verdicts.register(["second-look", "unused"])
    store.verdicts.add([YES, NO, NOBODY])
    assert store.verdicts.of(5) == NO
    assert store.verdicts.of(4) is None
    assert store.verdicts.between(3, 8) == {3: "yes", 5: "no"}
    assert store.verdicts.totals() == [
        ConfirmerTotals("other", 0, 0, 0, 1, 0.0, 0),
        ConfirmerTotals("second-look", 3, 1, 1, 0, 0.75, 240),
        ConfirmerTotals("unused", 0, 0, 0, 0, 0.0, 0),
    ]


def test_the_first_verdict_of_an_alert_stands_and_is_counted_once(store: CursorStore) -> None:
    store.verdicts.add([YES])
    store.verdicts.add([replace(YES, answer="no", cost=9.0)])
    assert store.verdicts.of(3) == YES
    assert store.verdicts.totals() == [ConfirmerTotals("second-look", 1, 1, 0, 0, 0.25, 120)]


def test_of_verdicts_that_cannot_all_be_stored_none_is(store: CursorStore) -> None:
    wrong = replace(NO, answer="perhaps")  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        store.verdicts.add([YES, wrong])
    assert (store.verdicts.of(3), store.verdicts.totals()) == (None, [])
    store.verdicts.add([YES])
    assert store.verdicts.of(3) == YES


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, None),
        ({"confirm": "second-look"}, "second-look"),
        ({"confirm": ""}, None),
        ({"confirm": 3}, None),
        ({"rule_labels": {"confirm": "x"}}, None),  # a label of the rule's own
    ],
)
def test_a_record_says_who_is_to_look(
    changes: dict[str, object], name: str | None, stored_of: Callable[..., StoredAlert]
) -> None:
    assert confirmer_of(stored_of(1, **changes)) == name


@pytest.mark.parametrize("core", [b'{"confirm":', b'["confirm":]', b'["\\u0000", "confirm":'])
def test_a_record_that_nobody_can_read_asks_nobody(core: bytes) -> None:
    assert confirmer_of(StoredAlert(1, "0" * 32, core, True, 0)) is None


def test_withheld_is_a_part_of_what_was_accepted(
    tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    with Ledger(tmp_path / "l.db") as ledger:
        ledger.append([record_of(n) for n in range(1, 6)])
        with (
            LedgerReader(tmp_path / "l.db") as reader,
            CursorStore(tmp_path / "c.db", ledger_id=reader.ledger_id) as store,
        ):
            store.settle("s", cursor=3, delivered=1, withheld=2, dead=[], now_ns=1)
            count = store.conservation("s", reader)
            assert (count.delivered, count.withheld, count.queued) == (1, 2, 2)
            assert count.holds
            assert not replace(count, withheld=1).holds


def version_1(path: Path) -> None:
    """The file as the release before verdicts left it, after 7 alerts."""
    db = sqlite3.connect(path)
    db.executescript(read_sql(PACKAGE, "deliver_schema.sql"))
    db.execute("INSERT INTO meta VALUES ('schema_version', '1'), ('ledger_id', 'L')")
    db.execute("INSERT INTO sink VALUES ('kafka', 7, 6, 1, 2, 11, NULL, NULL)")
    db.commit()
    db.close()


def test_a_file_of_version_1_keeps_its_cursors_and_takes_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "deliver.db"
    version_1(path)
    assert stored_verdict(path, 3) is None
    for _ in range(2):  # again, it is as it should be
        with CursorStore(path, ledger_id="L") as store:
            assert store.position("kafka") == SinkPosition(7, 6, 1, 2, 11, None, None, withheld=0)
            store.verdicts.add([YES])
    assert stored_verdict(path, 3) == YES


def test_a_reader_makes_no_file(tmp_path: Path) -> None:
    assert stored_verdict(tmp_path / "deliver.db", 1) is None
    assert not (tmp_path / "deliver.db").exists()
