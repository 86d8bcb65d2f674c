"""What was counted once is not counted again, and what comes, is sealed or goes since is in the answer all the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from dosimeter.monitor.audit.queries import remembered
from dosimeter.monitor.audit.queries.beside import Rows, Snapshot
from dosimeter.monitor.audit.queries.named_queries import Asked, query_named
from dosimeter.monitor.audit.queries.query import Queries
from dosimeter.monitor.audit.queries.remembered import Part, Remembered
from dosimeter.monitor.audit.store.sealing import SQL
from tests.monitor.audit.store_scene import BEGIN, DAY, SECOND, id_of, made, some, store_in

ASKED = [
    ("count", {"kind": "alert"}),
    ("count", {"kind": "alert", "tenant": id_of(1)}),
    ("count_by_rule", {"kind": "alert"}),
    ("count_by_severity", {"kind": "alert", "subject": id_of(11)}),
    ("top_rules", {"kind": "alert"}),
    ("totals", {"kind": "alert", "tenant": id_of(1)}),
    ("rules_seen", {"kind": "alert"}),
    ("rules_seen", {}),
    ("per_day", {"kind": "alert"}),
    ("values_per_day", {"kind": "alert", "offset_ns": 7 * 3600 * SECOND, "width": 64}),
]


def test_a_reader_that_asked_before_answers_as_one_that_never_did(tmp_path: Path) -> None:
    """Step by step: nothing sealed, some, more, more that is not, and then the first file's time is over."""
    entries = some(random.Random(4), 120)
    with store_in(tmp_path) as store:
        store.put(entries[:60])
        with Queries(store.folder) as before:

            def equal() -> None:
                with Queries(store.folder) as fresh:
                    for name, given in ASKED:
                        assert before.run(name, **given) == fresh.run(name, **given), name

            equal()
            store.seal_to(20, max_rows=10)
            equal()
            store.seal_to(50, max_rows=10)
            equal()
            store.put(entries[60:])
            equal()
            store.seal_to(110, max_rows=30)
            equal()
            first = store.hot.segments()[0]
            with store.hot.writing() as db:
                db.execute(SQL["core_gone"], (first.first,))
                db.execute(SQL["drop_few"], (first.first, first.past))
            equal()


def test_counts_are_those_of_the_entries(tmp_path: Path) -> None:
    """By hand: three alerts of one rule and one of another, half of them sealed."""
    rules = ["a", "b", "a", "a"]
    with store_in(tmp_path) as store:
        store.put([made(n, rule=rule, terms=b"\1" * 32) for n, rule in enumerate(rules)])
        store.seal_to(2)
        with Queries(store.folder) as queries:
            for _ in range(2):
                assert queries.run("count", kind="alert").rows == [(4,)]
                assert queries.run("count_by_rule", kind="alert").rows == [("a", 3), ("b", 1)]
            store.put([made(9, rule="b", terms=b"\1" * 32)])
            assert queries.run("count_by_rule", kind="alert").rows == [("a", 3), ("b", 2)]


def test_an_alert_that_gets_a_label_is_in_the_counts_of_labels_wherever_it_lies(
    tmp_path: Path,
) -> None:
    alerts = [made(n, rule="ab"[n % 2]) for n in range(6)]
    with store_in(tmp_path) as store:
        store.put(alerts)
        store.seal_to(4)
        with Queries(store.folder) as queries:
            for _ in range(2):
                assert queries.run("labels_by_rule", kind="alert").rows == []
            for n, verdict in ((0, "true"), (1, "false"), (5, "true")):
                about = {"about": alerts[n].id, "verdict": verdict, "actor": "reviewer:1"}
                store.put([made(20 + n, "label", **about)])
            found = queries.run("labels_by_rule", kind="alert").rows
            assert found == [("a", "true", 1, 0), ("b", "false", 1, 0), ("b", "true", 1, 0)]
            assert queries.run("count_by_verdict", kind="alert").rows == [("true", 2), ("false", 1)]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Europe/Berlin"])
def test_days_that_were_counted_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """January to June: the clocks of Berlin change on the way, and each stretch is remembered by itself."""
    read: list[int] = []

    def run(self: Snapshot, asked: Asked, paths: Sequence[str], *, hot: bool = True) -> Rows:
        read.append(len(paths))
        return found(self, asked, paths, hot=hot)

    found = Snapshot.run
    monkeypatch.setattr(Snapshot, "run", run)
    with store_in(tmp_path) as store:
        store.put([made(n, time_ns=BEGIN + 30 * n * DAY, severity="low") for n in range(6)])
        store.seal_to(4, max_rows=2)
        with Queries(store.folder) as queries:
            first = queries.by_day("per_day", ZoneInfo(zone), kind="alert")
            assert max(read) == 2
            read.clear()
            assert queries.by_day("per_day", ZoneInfo(zone), kind="alert") == first
            assert max(read) == 0


def test_what_was_counted_while_a_file_went_is_not_remembered() -> None:
    """One reader counts; another sees the file go before the first is done."""
    asked, remembered = query_named("count").asked({"kind": "alert"}), Remembered()
    assert remembered.of(asked, frozenset(), 40) == Part(0, Rows((), []))
    remembered.of(asked, frozenset({0}), 40)
    remembered.keep(asked, Part(40, Rows(("n",), [(40,)])), frozenset())
    assert remembered.of(asked, frozenset({0}), 40) == Part(0, Rows((), []))


def test_what_was_counted_later_is_of_no_use_to_an_earlier_moment() -> None:
    """One reader has its moment; another counts what was sealed after it."""
    asked, remembered = query_named("count").asked({"kind": "alert"}), Remembered()
    none, later = frozenset[int](), Part(40, Rows(("n",), [(40,)]))
    remembered.keep(asked, later, none)
    assert remembered.of(asked, none, 39) == Part(0, Rows((), []))
    assert remembered.of(asked, none, 40) == later


def test_large_answers_are_kept_only_as_long_as_all_together_have_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remembered, "MOST_ROWS", 3)
    monkeypatch.setattr(remembered, "MOST_ROWS_IN_ALL", 5)
    known, none = Remembered(), frozenset[int]()
    asked = [query_named("count_by_rule").asked({"kind": kind}) for kind in ("a", "b", "c")]
    for one in asked:
        known.of(one, none, 9)
        known.keep(one, Part(9, Rows(("rule", "n"), [("x", 1), ("y", 1)])), none)
    past = [part.past for one in asked if (part := known.of(one, none, 9))]
    assert past == [0, 9, 9]


def test_a_labelled_alert_whose_id_does_not_tell_its_time_is_counted_too(tmp_path: Path) -> None:
    """As only an entry of another release can be; `alert_by_id` finds it as well."""
    odd = made(3, rule="odd", id=b"\x01" * 16)
    said = made(9, "label", about=odd.id, verdict="true", actor="reviewer:1")
    with store_in(tmp_path) as store:
        store.put([odd, said])
        store.seal_to(1)
        with Queries(store.folder) as queries:
            for _ in range(3):  # the first out of the files, the others out of what was learnt
                assert queries.run("count_by_verdict", kind="alert").rows == [("true", 1)]


def test_verdicts_are_counted_equally_before_and_after_their_alerts_are_known(
    tmp_path: Path,
) -> None:
    """Half of it sealed; over all of it, of a tenant, and of a part of the time, in both orders."""
    entries = some(random.Random(8), 150)
    span = {"from_ns": entries[20].values["time_ns"], "to_ns": entries[120].values["time_ns"]}
    with store_in(tmp_path) as store:
        store.put(entries)
        store.seal_to(90, max_rows=30)
        with Queries(store.folder) as knows:
            for _ in range(2):
                assert knows.run("count_by_verdict", kind="alert").rows
            for name in ("count_by_verdict", "labels_by_rule"):
                for given in ({}, {"tenant": id_of(1)}, span, {**span, "disagreed": True}):
                    with Queries(store.folder) as fresh:
                        expected = fresh.run(name, kind="alert", **given)
                    assert knows.run(name, kind="alert", **given) == expected, (name, given)
