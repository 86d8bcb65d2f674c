"""Alerts by filters: who asked is written first, names become ids, and the answer says what it is worth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.people.access import AccessRefused, Actor
from dosimeter.monitor.audit.people.labels import About, label
from dosimeter.monitor.audit.queries import asking
from dosimeter.monitor.audit.queries.asking import Answer, ask, question, table_of
from dosimeter.monitor.audit.queries.names import UnknownName
from dosimeter.monitor.audit.queries.times import range_of
from dosimeter.monitor.audit.store.appending import Appender
from dosimeter.monitor.audit.store.hot import StoreStalled
from dosimeter.monitor.audit.store.ingest import Ingest
from dosimeter.monitor.feed.items import Batch
from tests.monitor.audit.audit_scene import T0, alert
from tests.monitor.audit.whole_scene import Whole, whole

AUDITOR = Actor("aldo", "auditor")
MARCH = range_of("2026-03-01", "2026-03-01T03:00", "UTC", T0)
NAMES = ("tenant", "user", "conversation", "rule", "feature", "severity", "status", "decision")


@pytest.fixture
def scene(tmp_path: Path) -> Whole:
    return whole(tmp_path / "data")


@pytest.fixture
def history(scene: Whole) -> Iterator[History]:
    with History.open(scene.folder.root) as found:
        yield found


def asked(history: History, limit: int | None = None, **filters: str) -> Answer:
    return ask(history, question(history, filters, MARCH, AUDITOR), AUDITOR, limit=limit)


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({}, [11, 10, 9, 8, 7, 6, 5, 3, 2, 1, 0]),
        ({"tenant": "tenant-1"}, [10, 7, 1]),
        ({"tenant": "tenant-1", "user": "user-7"}, [7]),
        ({"tenant": "tenant-0", "user": "user-7"}, []),  # that user is another tenant's
        ({"tenant": "tenant-2", "conversation": "chat-8"}, [8]),
        ({"rule": "lies-told"}, [11, 8, 5, 2]),
        ({"feature": "scam", "decision": "notified"}, [10, 9, 7, 6, 3, 1, 0]),
        ({"status": "shadow", "severity": "high"}, [11, 8, 5, 2]),
        ({"severity": "low"}, []),
    ],
)
def test_filters_find_what_they_say_newest_first(
    history: History, filters: dict[str, str], numbers: list[int]
) -> None:
    found = asked(history, **filters)
    assert [int(row["id"][12:], 16) for row in found.rows] == numbers
    assert found.total == len(numbers)
    assert found.standing == ("found" if numbers else "in part")  # of an hour 90 %, and a gap


def test_none_is_in_part_unless_all_of_the_time_was_watched(tmp_path: Path) -> None:
    """Without alerts: nothing is missing, the first hour was seen whole, the second at 90 %, the fourth by nobody."""
    until = {"01:00": "none", "02:00": "in part", "04:00": "in part"}
    with History.open(whole(tmp_path / "none", count=0).folder.root) as history:
        for to, standing in until.items():
            within = range_of("2026-03-01", f"2026-03-01T{to}", "UTC", T0)
            one = question(history, {"severity": "low"}, within, AUDITOR)
            assert ask(history, one, AUDITOR, limit=None).standing == standing
        within = range_of("2026-02-01", "2026-02-02", "UTC", T0)
        one = question(history, {}, within, AUDITOR)
        assert ask(history, one, AUDITOR, limit=None).standing == "no data"


def test_a_rule_that_never_was_is_no_answer_of_none(history: History) -> None:
    with pytest.raises(UnknownName, match="rule `lies-tolt`\n  hint: did you mean `lies-told`"):
        asked(history, rule="lies-tolt")


def test_the_last_day_that_history_can_hold_ends_a_range(history: History) -> None:
    within = range_of("2026-03-01", "2262-04-11", "UTC", T0)
    found = ask(history, question(history, {}, within, AUDITOR), AUDITOR, limit=None)
    assert found.total == 11


def test_a_name_that_nobody_has_is_said_and_matches_nothing(history: History) -> None:
    one = question(history, {"tenant": "tenant-9", "user": "user-1"}, MARCH, AUDITOR)
    assert one.unknown == ("tenant", "user")
    assert ask(history, one, AUDITOR, limit=None).rows == []
    assert "tenant-9" not in str(history.rows("access")[0])


def test_a_limit_cuts_the_rows_and_not_the_count(history: History) -> None:
    found = asked(history, limit=3)
    assert (len(found.rows), found.total, found.live, found.shadow) == (3, 11, 1, 1)


def test_all_pages_are_read_each_row_once(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAGE", 3)
    assert [int(row["id"][12:], 16) for row in asked(history).rows] == [
        11, 10, 9, 8, 7, 6, 5, 3, 2, 1, 0,
    ]  # fmt: skip


def test_what_comes_in_after_the_count_pushes_no_older_row_out(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, late = History.rows, Ingest(history.appender, T0)

    def counted(self: History, name: str, **params: Any) -> list[dict[str, Any]]:
        found = rows(self, name, **params)
        if name == "count":  # an event of the range that was under way
            one = alert(4, time_ns=T0 + 30 * 60 * 10**9)
            late.take(Batch((one,), {"at": 2}), T0)
        return found

    monkeypatch.setattr(History, "rows", counted)
    found = asked(history)
    assert [int(row["id"][12:], 16) for row in found.rows] == [4, 11, 10, 9, 8, 7, 6, 5, 3, 2, 1, 0]
    assert found.total == 12


def test_verdicts_filter_by_the_last_word_none_and_disputed(scene: Whole, history: History) -> None:
    ids = scene.ids()
    says: list[tuple[int, str, Any]] = [
        (0, "rita", "true"), (1, "rita", "true"), (1, "raul", "false"), (2, "rita", "true"), (2, "rita", "unsure"),
    ]  # fmt: skip
    for n, (at, name, verdict) in enumerate(says):
        label(
            history.appender,
            About(ids[at]),
            verdict,
            actor=Actor(name, "reviewer"),
            reason_code="seen",
            now_ns=T0 + n,
        )
    assert [row["id"] for row in asked(history, verdict="true").rows] == [ids[0]]
    assert [row["id"] for row in asked(history, verdict="unsure").rows] == [ids[2]]
    assert [row["id"] for row in asked(history, verdict="disputed").rows] == [ids[1]]
    assert asked(history, verdict="none").total == 8


def test_nothing_is_read_where_the_entry_cannot_be_written(
    scene: Whole, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = question(history, {}, MARCH, AUDITOR)

    def stalled(*_: object, **__: object) -> None:
        import sqlite3

        raise StoreStalled(scene.folder.hot, sqlite3.OperationalError("disk full"))

    monkeypatch.setattr(Appender, "append", stalled)
    monkeypatch.setattr(History, "rows", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(AccessRefused, match="disk full"):
        ask(history, one, AUDITOR, limit=None)


def test_an_entry_says_what_was_asked_with_ids_alone(history: History) -> None:
    found = asked(history, tenant="tenant-1", user="user-7", verdict="none")
    (entry,) = [row for row in history.rows("access") if row["id"] == found.entry]
    assert entry["kind"] == "query"
    assert "user-7" not in entry["more"]
    assert f'"from_ns":{MARCH.from_ns}' in entry["more"]
    assert '"verdict":"none"' in entry["more"]


def test_a_reader_of_one_tenant_is_given_nothing_of_others(history: History) -> None:
    reader = Actor("vera", "viewer", frozenset({"tenant-1"}))
    found = ask(history, question(history, {}, MARCH, reader), reader, limit=None)
    assert [int(row["id"][12:], 16) for row in found.rows] == [10, 7, 1]
    assert found.total == 3


def test_rows_for_files_have_the_time_in_words_and_no_empty_texts(history: History) -> None:
    columns, rows = table_of(asked(history, limit=1).rows, MARCH.zone)
    one = dict(zip(columns, rows[0], strict=True))
    assert one["time"] == "2026-03-01 00:11:00.000+00:00"
    assert one["reason"] is None
    assert columns[:4] == ["idx", "id", "time", "kind"]
