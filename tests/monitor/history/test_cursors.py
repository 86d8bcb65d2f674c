"""The dispatcher's file: cursor and counts move together, and belong to one ledger."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dosimeter.monitor.history.cursors import CursorStore, SinkPosition, StoreError
from dosimeter.monitor.history.ledger import Ledger
from dosimeter.monitor.history.reader import LedgerReader
from dosimeter.monitor.history.records import LedgerRecord, Pruned, StoredAlert
from dosimeter.monitor.history.verdicts import Verdict


@pytest.fixture
def store(tmp_path: Path) -> CursorStore:
    return CursorStore(tmp_path / "deliver.db", ledger_id="L")


def test_a_sink_never_seen_stands_at_the_beginning(store: CursorStore) -> None:
    assert store.position("kafka") == SinkPosition()
    store.register(["kafka"])
    assert store.sinks() == ["kafka"]


def test_cursor_counts_and_dead_letters_move_in_one_commit(
    store: CursorStore, stored_of: Callable[..., StoredAlert]
) -> None:
    store.fail("kafka", "away", now_ns=1)
    store.settle("kafka", cursor=3, delivered=2, dead=[(stored_of(2), "too large")], now_ns=2)
    assert store.position("kafka") == SinkPosition(3, 2, 1, 1, 2, None, None)
    (letter,) = store.letters.of("kafka")
    assert (letter.seq, letter.core, letter.error) == (2, stored_of(2).core, "too large")
    with pytest.raises(sqlite3.IntegrityError):  # burying the same alert again
        store.settle("kafka", cursor=9, delivered=5, dead=[(stored_of(2), "again")], now_ns=3)
    assert store.position("kafka").cursor == 3
    assert store.position("kafka").delivered == 2


def test_an_error_shows_until_the_next_success(store: CursorStore) -> None:
    store.fail("otlp", "refused", now_ns=5)
    assert store.position("otlp").last_error == "refused"
    store.settle("otlp", cursor=1, delivered=1, dead=[], now_ns=6)
    assert store.position("otlp").last_error is None
    assert store.position("otlp").retries == 1


def test_cursors_of_another_ledger_are_refused(tmp_path: Path) -> None:
    CursorStore(tmp_path / "d.db", ledger_id="one").close()
    with pytest.raises(StoreError, match="belong to another ledger"):
        CursorStore(tmp_path / "d.db", ledger_id="two")


@pytest.mark.parametrize("made", ["not by SQLite", "by somebody else"])
def test_a_file_that_is_not_ours_is_named(tmp_path: Path, made: str) -> None:
    path = tmp_path / "deliver.db"
    if made == "by somebody else":
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE theirs (x)")
    else:
        path.write_bytes(b"no database, " * 1000)
    with pytest.raises(StoreError, match=r"deliver\.db: cannot be used: .*\n  hint: "):
        CursorStore(path, ledger_id="a")


def test_verdicts_of_pruned_alerts_are_forgotten_and_their_totals_stay(store: CursorStore) -> None:
    said = [Verdict(seq, "c", "no", "", 1.0, 2, 1, 5) for seq in (1, 2, 3)]
    store.verdicts.add(said)
    store.forget(Pruned(through=2, alerts=2, deliverable=1))
    assert [store.verdicts.of(seq) for seq in (1, 2, 3)] == [None, None, said[2]]
    assert store.verdicts.totals()[0].no == 3


def test_conservation_is_counted_on_both_sides(
    tmp_path: Path, record_of: Callable[..., LedgerRecord]
) -> None:
    """Six alerts, of which one is shadow: the sink owes an answer for five."""
    with Ledger(tmp_path / "l.db") as ledger:
        ledger.append([record_of(n, deliverable=n != 2) for n in range(1, 7)])
        with (
            LedgerReader(tmp_path / "l.db") as reader,
            CursorStore(tmp_path / "c.db", ledger_id=reader.ledger_id) as store,
        ):
            store.settle("s", cursor=4, delivered=3, dead=[], now_ns=1)
            count = store.conservation("s", reader)
            assert (count.accepted, count.delivered, count.dead, count.queued) == (5, 3, 0, 2)
            assert count.holds
            store.settle("s", cursor=5, delivered=2, dead=[], now_ns=2)  # one too many
            assert not store.conservation("s", reader).holds
