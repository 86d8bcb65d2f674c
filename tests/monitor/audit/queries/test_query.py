"""Named queries: what each finds, and that it makes no difference which part of history is sealed."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.audit.queries.free_sql import run_sql
from dosimeter.monitor.audit.queries.halves import Halves
from dosimeter.monitor.audit.queries.named_queries import QUERIES, QueryError
from dosimeter.monitor.audit.queries.query import Queries, Rows
from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, Segment
from tests.monitor.audit.store_scene import (
    BEGIN,
    DAY,
    SECOND,
    Made,
    Store,
    id_of,
    made,
    some,
    store_in,
)

HOUR = 3600 * SECOND


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with store_in(tmp_path) as store:
        yield store


def asked(rng: random.Random, name: str, entries: list[Made]) -> dict[str, Any]:
    """Parameters of a query of which each is given now and then."""
    one = rng.choice(entries)
    low = BEGIN + rng.randrange(-400, len(entries)) * HOUR
    values: dict[str, Any] = {
        "prefix": one.id.hex()[: rng.choice((8, 11, 12, 13, 32))],
        "about": rng.choice(entries).values.get("about") or one.id,
        "tenant": id_of(1),
        "tenants": rng.choice(((), (id_of(1),), (id_of(1), id_of(2)))),
        "subject": id_of(10 + rng.randrange(5)),
        "conversation": id_of(20 + rng.randrange(6)),
        "from_ns": low,
        "to_ns": low + rng.randrange(1, 600) * HOUR,
        "before_ns": one.values["time_ns"],
        "before_idx": entries.index(one),
        "first": entries.index(one),
        "past": entries.index(one) + rng.randrange(9),
        "limit": rng.choice((1, 3, 1000)),
        "offset_ns": rng.choice((0, -5 * HOUR, 5 * HOUR + HOUR // 2)),
        "width": rng.choice((1, 64, 256)),
        "kind": rng.choice(("alert", "digest", "label")),
        "source": rng.choice(("box", "a")),
        "rule": rng.choice(("a.one", "ä.drei")),
        "feature": "scam",
        "severity": "high",
        "status": "live",
        "decision": "notified",
        "verdict": rng.choice(("true", "unsure")),
        "actor": rng.choice(("auditor:1", "reviewer:1")),
        "reviewer": "reviewer:1",
        "disagreed": rng.choice((True, False)),
        "labelled": rng.choice((True, False)),
    }
    query, share = QUERIES[name], rng.choice((0.0, 0.2, 0.5))
    chosen = {p: values[p] for p in query.parameters if p in query.required or rng.random() < share}
    if "before_ns" in chosen or "before_idx" in chosen:
        chosen |= {"before_ns": values["before_ns"], "before_idx": values["before_idx"]}
    return chosen


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(0, 30), st.integers(5, 30))
def test_every_query_finds_the_same_whatever_is_sealed(
    seed: int, count: int, sealed: int, max_rows: int
) -> None:
    rng = random.Random(seed)
    entries = some(rng, count)
    with ExitStack() as stack:
        root = Path(stack.enter_context(TemporaryDirectory()))
        stores = [
            (stack.enter_context(store_in(root / name)), past)
            for name, past in (("none", 0), ("some", min(sealed, count)), ("all", count))
        ]
        queries = []
        for store, past in stores:
            store.put(entries)
            store.seal_to(past, max_rows)
            queries.append(stack.enter_context(Queries(store.folder)))
        for name in QUERIES:
            params = asked(rng, name, entries)
            none, mixed, whole = (q.run(name, **params) for q in queries)
            assert mixed == none, (name, params)
            assert whole == none, (name, params)


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 40))
def test_one_reader_follows_what_is_appended_and_sealed_under_it(seed: int, count: int) -> None:
    rng = random.Random(seed)
    entries = some(rng, count)
    with ExitStack() as stack:
        root = Path(stack.enter_context(TemporaryDirectory()))
        store = stack.enter_context(store_in(root / "a"))
        other = stack.enter_context(store_in(root / "b"))
        follows = stack.enter_context(Queries(store.folder))
        plain = stack.enter_context(Queries(other.folder))
        for first in range(0, count, 7):
            for one in (store, other):
                one.put(entries[first : first + 7])
            if rng.random() < 0.6:
                store.seal_to(rng.randrange(first + 7), max_rows=5)
            for query in (
                "alerts",
                "count_by_rule",
                "count_by_verdict",
                "neighbours",
                "labels_by_rule",
            ):
                params = {"first": 0, "past": count} if query == "neighbours" else {}
                assert follows.run(query, **params) == plain.run(query, **params)  # fmt: skip


def alerts_and_labels(store: Store) -> list[Made]:
    """Three alerts, a day apart; the first twice labelled by one, the second by two who differ."""
    rows = [
        made(n, time_ns=BEGIN + n * DAY, rule=rule, severity=severity, tenant=id_of(tenant), value_sum=total,
             value_n=2, feature="scam", subject=id_of(9))
        for n, (rule, severity, tenant, total) in enumerate(
            (("one", "high", 1, 300), ("two", "low", 1, -300), ("one", "high", 2, 301))
        )
    ]  # fmt: skip
    said = ((0, "a", "true"), (0, "a", "false"), (1, "a", "true"), (1, "b", "unsure"))
    rows += [
        made(10 + i, "label", about=rows[on].id, actor=f"reviewer:{who}", verdict=verdict)
        for i, (on, who, verdict) in enumerate(said)
    ]
    store.put(rows)
    return rows


def plain(found: Rows, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in found.dicts()]


@pytest.mark.parametrize("past", [0, 2, 5, 7])
def test_what_queries_find_in_a_table_made_by_hand(store: Store, past: int) -> None:
    one, two, three = alerts_and_labels(store)[:3]
    store.seal_to(past, max_rows=2)
    with Queries(store.folder) as ask:
        rows = plain(ask.run("alerts"), "id", "judged", "judge", "disagreed")
        assert rows == [
            (three.id, None, None, None),
            (two.id, "unsure", "reviewer:b", 1),
            (one.id, "false", "reviewer:a", 0),
        ]
        assert plain(ask.run("alerts", labelled=False), "id") == [(three.id,)]
        assert plain(ask.run("alerts", verdict="false"), "id") == [(one.id,)]
        assert plain(ask.run("alerts", reviewer="reviewer:b"), "id") == [(two.id,)]
        assert plain(ask.run("alerts", disagreed=True), "id") == [(two.id,)]
        assert plain(ask.run("alerts", tenants=(id_of(2),)), "id") == [(three.id,)]
        assert plain(ask.run("alerts", tenants=()), "id") == []
        assert ask.run("top_rules").rows == [
            ("one", 2, 2, BEGIN, BEGIN + 2 * DAY),
            ("two", 1, 1, BEGIN + DAY, BEGIN + DAY),
        ]
        assert ask.run("count_by_severity", to_ns=BEGIN + DAY).rows == [("high", 1)]
        assert ask.run("count_by_verdict").rows == [("false", 1), ("unsure", 1)]
        assert ask.run("labels_by_rule").rows == [("one", "false", 1, 0), ("two", "unsure", 1, 1)]
        days = [20454, 20455, 20456]  # since 1970
        assert ask.run("per_day").rows == [
            (d, s, 1) for d, s in zip(days, ("high", "low", "high"), strict=True)
        ]
        # 300 / 2 = 150 = 2 * 64 + 22; -150 = -3 * 64 + 42; 301 / 2 is 150 too
        assert ask.run("values_per_day").rows == [(20454, 2, 1), (20455, -3, 1), (20456, 2, 1)]
        assert plain(ask.run("labels_of", about=one.id), "verdict") == [("true",), ("false",)]
        assert len(ask.run("entries_about", about=one.id.hex()).rows) == 2
        assert ask.run("totals", subject=id_of(9)).rows == [(3, BEGIN, BEGIN + 2 * DAY, 2, 2)]
        assert plain(ask.run("neighbours", first=1, past=3), "idx") == [(1,), (2,)]  # fmt: skip


def test_the_files_of_another_folder_are_not_read_whatever_this_one_is_called(
    tmp_path: Path,
) -> None:
    """DuckDB takes `*`, `?` and `[` in the path of a file for what stands for others."""
    names = ("axb", "a*b", "a?b", "a[x]b")
    for n, name in enumerate(names):
        with store_in(tmp_path / name) as store:
            store.put([made(n)])
            store.seal_to(1)
    for n, name in enumerate(names):
        folder = HistoryFolder(tmp_path / name)
        with Queries(folder) as ask:
            assert [row["id"] for row in ask.run("alerts").dicts()] == [made(n).id]
        assert run_sql(folder, "SELECT id FROM alerts").rows == [(made(n).id.hex(),)]


@pytest.mark.parametrize("past", [0, 30])
def test_pages_follow_one_another_without_a_row_twice_or_missing(store: Store, past: int) -> None:
    store.put([made(n, time_ns=BEGIN + n // 3 * SECOND) for n in range(30)])
    store.seal_to(past, max_rows=4)
    with Queries(store.folder) as ask:
        seen: list[int] = []
        after: dict[str, int] = {}
        while rows := ask.run("alerts", limit=4, **after).dicts():
            seen += [row["idx"] for row in rows]
            after = {"before_ns": rows[-1]["time_ns"], "before_idx": rows[-1]["idx"]}
        assert seen == list(range(29, -1, -1))


def test_the_newest_are_found_though_old_files_hold_some_of_them(store: Store) -> None:
    """Files 0..9 of two entries; the first entry of file 0 has a clock that runs ahead of all."""
    times = [BEGIN + n * SECOND for n in range(20)]
    times[0] = BEGIN + 99 * SECOND
    store.put([made(n, time_ns=at) for n, at in enumerate(times)])
    store.seal_to(20, max_rows=2)
    with Queries(store.folder) as ask:
        for limit in range(1, 21):
            found = [row["idx"] for row in ask.run("alerts", limit=limit).dicts()]
            assert found == [0, *range(19, 0, -1)][:limit]


def test_an_entry_is_found_by_its_id_and_by_a_beginning_of_it(store: Store) -> None:
    entries = [made(n, time_ns=BEGIN + n * DAY) for n in range(6)]
    entries.append(made(7, time_ns=BEGIN + 3 * DAY))
    store.put(entries)
    store.seal_to(4, max_rows=2)
    with Queries(store.folder) as ask:
        for one in entries:
            assert plain(ask.run("alert_by_id", prefix=one.id.hex()), "id") == [(one.id,)]
        both = {entries[3].id, entries[6].id}
        found = ask.run("alert_by_id", prefix=entries[3].id.hex()[:12].upper())
        assert {row["id"] for row in found.dicts()} == both
        assert ask.run("alert_by_id", prefix="0" * 32).rows == []


def test_an_id_that_does_not_begin_with_its_time_is_found_all_the_same(store: Store) -> None:
    store.put([made(0, id=id_of(5)), made(1)])
    store.seal_to(2)
    with Queries(store.folder) as ask:
        assert plain(ask.run("alert_by_id", prefix=id_of(5).hex()), "idx") == [(0,)]


def test_days_are_those_of_the_zone_also_when_its_clocks_change(store: Store) -> None:
    """Berlin: on 2026-03-29 the clocks go from 2 to 3 at 01:00 UTC; midnight moves from 23:00 to 22:00 UTC."""
    march_29 = BEGIN + 87 * DAY  # 00:00 UTC
    times = [march_29 - HOUR - 1, march_29 - HOUR, march_29 + 22 * HOUR - 1, march_29 + 22 * HOUR]
    store.put([made(n, time_ns=at, severity="low") for n, at in enumerate(times)])
    store.seal_to(2)
    with Queries(store.folder) as ask:
        found = ask.by_day("per_day", ZoneInfo("Europe/Berlin"))
        first = 20454 + 86
        assert found.rows == [(first, "low", 1), (first + 1, "low", 2), (first + 2, "low", 1)]
        assert found.columns == ("day", "severity", "n")
        late = ask.by_day("per_day", ZoneInfo("Europe/Berlin"), from_ns=times[2], to_ns=times[3])
        assert late.rows == [(first + 1, "low", 1)]
        with pytest.raises(QueryError, match="does not count by day"):
            ask.by_day("alerts", ZoneInfo("UTC"))


def test_days_of_an_empty_history_are_none(store: Store) -> None:
    with Queries(store.folder) as ask:
        assert ask.by_day("per_day", ZoneInfo("UTC")) == Rows(("day", "severity", "n"), [])


def test_a_range_of_time_reads_only_files_that_may_hold_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [0, 1, 10, 11, 20, 5, 30, 31]  # of files of two: the third reaches back to 5
    store.put([made(n, time_ns=BEGIN + at * DAY) for n, at in enumerate(times)])
    store.seal_to(8, max_rows=2)
    read: list[list[str]] = []
    real = Halves.paths

    def paths(halves: Halves, segments: Sequence[Segment]) -> list[str]:
        read.append([one.core[:12] for one in segments])
        return real(halves, segments)

    monkeypatch.setattr(Halves, "paths", paths)
    with Queries(store.folder) as ask:
        found = ask.run("count", from_ns=BEGIN + 4 * DAY, to_ns=BEGIN + 12 * DAY)
        assert found.rows == [(3,)]
        assert read == [["000000000002", "000000000004"]]
        assert ask.run("neighbours", first=6, past=7).dicts()[0]["idx"] == 6
        assert read[1:] == [["000000000006"]]  # fmt: skip


def test_a_file_that_is_missing_is_an_error_and_no_shorter_answer(store: Store) -> None:
    store.put([made(n) for n in range(4)])
    segments = store.seal_to(4, max_rows=2)
    (store.folder.core / segments[0].core).unlink()
    with (
        Queries(store.folder) as ask,
        pytest.raises(Exception, match=r"No files found|does not exist|Cannot open"),
    ):
        ask.run("count")  # fmt: skip


def test_several_threads_ask_while_entries_are_appended_and_sealed(store: Store) -> None:
    """Each answer is of one moment: the count is what the positions say."""
    store.put([made(n) for n in range(10)])
    failed: list[object] = []
    with Queries(store.folder) as ask:
        stop = threading.Event()

        def reads() -> None:
            while not stop.is_set():
                try:
                    rows = ask.run("neighbours", first=0, past=10**6).dicts()
                    counted = ask.run("count").rows[0][0]
                    if [row["idx"] for row in rows] != list(range(len(rows))) or counted < len(
                        rows
                    ):
                        failed.append((len(rows), counted))
                except BaseException as error:
                    failed.append(error)

        threads = [threading.Thread(target=reads) for _ in range(3)]
        for thread in threads:
            thread.start()
        for n in range(10, 60, 5):
            store.put([made(k) for k in range(n, n + 5)])
            store.seal_to(n, max_rows=7)
        stop.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert ask.run("count").rows == [(60,)]


def test_a_question_never_writes(store: Store) -> None:
    store.put([made(0)])
    with Queries(store.folder) as ask, pytest.raises(Exception, match="readonly"):
        ask._halves.hot.db.execute("DELETE FROM main.entry")
    with HotStore(store.folder.hot) as hot:
        assert hot.size == 1
