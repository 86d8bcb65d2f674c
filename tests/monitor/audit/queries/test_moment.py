"""Several questions about one moment: nothing that happens meanwhile is in some of the answers alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dosimeter.monitor.audit.queries import moment
from dosimeter.monitor.audit.queries.few import Few
from dosimeter.monitor.audit.queries.moment import Moment
from dosimeter.monitor.audit.queries.query import Queries
from dosimeter.monitor.audit.store.sealing import SQL
from tests.monitor.audit.store_scene import Made, Store, id_of, some, store_in

ZONE = ZoneInfo("Europe/Berlin")
TENANT: dict[str, Any] = {"kind": "alert", "tenant": id_of(1)}


def whole(of: Moment) -> list[Any]:
    few = of.newest(7, **TENANT)
    return [
        of.run("top_rules", **TENANT),
        of.run("count_by_verdict", **TENANT),
        of.by_day("per_day", ZONE, **TENANT),
        of.by_day("per_day_by_rule", ZONE, **TENANT),
        of.different("subject", **TENANT),
        of.different("conversation", **TENANT),
        few.run("alerts", limit=7),
    ]


def expected(entries: list[Made], folder: Path) -> list[Any]:
    """Of a history that has these entries and nothing else, none of them sealed."""
    with store_in(folder) as store, Queries(store.folder) as queries:
        store.put(entries)
        people = queries.run("people", **TENANT, from_ns=0).rows[0]
        alerts = queries.run("alerts", **TENANT, limit=7)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(moment, "MOST_FEW", 10**6)
            few = few_of(queries, TENANT)
        assert few is not None
        same = few.run("alerts", limit=7)
        assert [row["id"] for row in same.dicts()] == [row["id"] for row in alerts.dicts()]
        return [
            queries.run("top_rules", **TENANT),
            queries.run("count_by_verdict", **TENANT),
            queries.by_day("per_day", ZONE, **TENANT),
            few.by_day("per_day_by_rule", ZONE),
            people[3],
            people[4],
            same,
        ]


@pytest.mark.parametrize("learnt", [False, True])
@pytest.mark.parametrize("seed", [3, 11])
def test_what_comes_and_is_sealed_meanwhile_is_in_no_answer(
    tmp_path: Path, seed: int, learnt: bool
) -> None:
    """Others ask of the later moment in between, so that what is remembered is newer than the moment that is asked."""
    entries = some(random.Random(seed), 160)
    with store_in(tmp_path / "a") as store, Queries(store.folder) as queries:
        store.put(entries[:100])
        store.seal_to(60, max_rows=20)
        queries.at_one_moment(whole, learnt=learnt)

        def ask(of: Moment) -> list[Any]:
            store.put(entries[100:])
            store.seal_to(140, max_rows=30)
            later = queries.at_one_moment(whole, learnt=learnt)
            assert later == expected(entries, tmp_path / "all")
            return whole(of)

        found = queries.at_one_moment(ask, learnt=learnt)
        assert found == expected(entries[:100], tmp_path / "some")


def test_where_a_file_goes_meanwhile_all_is_asked_of_a_later_moment(tmp_path: Path) -> None:
    entries = some(random.Random(5), 90)
    asked: list[Moment] = []
    with store_in(tmp_path / "a") as store, Queries(store.folder) as queries:
        store.put(entries)
        store.seal_to(60, max_rows=30)

        def ask(of: Moment) -> list[Any]:
            asked.append(of)
            if len(asked) == 1:
                retire_first(store)
            return whole(of)

        found = queries.at_one_moment(ask)
    assert len(asked) == 2
    (rules, _, _, _, users, _, _) = found
    there = [e.values for e in entries[30:] if e.values["kind"] == "alert"]
    ours = [one for one in there if one["tenant"] == id_of(1)]
    assert sum(row["n"] for row in rules.dicts()) == len(ours)
    assert users == len({one["subject"] for one in ours})


def retire_first(store: Store) -> None:
    gone = store.hot.segments()[0]
    with store.hot.writing() as db:
        db.execute(SQL["core_gone"], (gone.first,))
        db.execute(SQL["drop_few"], (gone.first, gone.past))
    (store.folder.core / gone.core).unlink()


def test_the_entries_themselves_are_given_where_they_are_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each user: what is counted of the few in memory is what the queries say of all."""
    entries = some(random.Random(9), 120)
    with store_in(tmp_path) as store, Queries(store.folder) as queries:
        store.put(entries)
        store.seal_to(80, max_rows=30)
        counts = []
        for n in range(10, 15):  # of the last there is nothing
            given: dict[str, Any] = {"kind": "alert", "subject": id_of(n)}
            few = few_of(queries, given)
            assert few is not None
            for name in ("people", "count_by_rule", "count_by_verdict", "count"):
                assert few.run(name) == queries.run(name, **given), name
            assert few.by_day("per_day", ZONE) == queries.by_day("per_day", ZONE, **given)
            rows, there = few.run("alerts").dicts(), queries.run("alerts", **given).dicts()
            assert rows == [{name: row[name] for name in rows[0]} for row in there]
            counts.append(len(rows))
        assert counts[-1] == 0 < min(counts[:-1])
        monkeypatch.setattr(moment, "MOST_FEW", counts[0] - 1)
        given = {"kind": "alert", "subject": id_of(10)}
        assert few_of(queries, given) is None


def few_of(queries: Queries, given: dict[str, Any]) -> Few | None:
    return queries.at_one_moment(lambda of: of.few(**given))
