"""Who sees one tenant sees nothing of another, by whatever they ask."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dosimeter.monitor.answers import queue
from dosimeter.monitor.audit.queries.named_queries import QUERIES
from dosimeter.monitor.pages.access import Person, Role
from dosimeter.monitor.pages.source import AccessRefused, NotPossible, QueueFilter, Reader, Source
from tests.monitor.answers.answers_scene import (
    ALL,
    ONE,
    QUIET_NS,
    REVIEWER,
    Answers,
    answers,
    with_quiet_requests,
)

OF_NOBODY = {"lint", "try_tests", "features", "feature", "queries", "log_file", "is_stalled"}
"""They take no reader: rules and features are everybody's, and the log has nothing personal in it."""
TRIED = {
    "overview", "queue", "alert", "evidence", "case", "rules", "rule", "backtest", "audit", "label",
    "record_access", "query",
}  # fmt: skip
OWN = (1, 7, 10)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    data = tmp_path_factory.mktemp("tenants")
    with_quiet_requests(data)
    with answers(data) as found:
        for n in (1, 2, 3):  # of each tenant one
            found.source.label(found.alert(n)["id"], "true", "fiction", f"note {n}", ALL)
        yield found


@pytest.fixture(scope="module")
def foreign(scene: Answers) -> list[dict[str, Any]]:
    return [row for row in scene.alerts() if int(row["key"], 16) % 3 != 1]


@pytest.fixture(scope="module")
def secret(foreign: list[dict[str, Any]]) -> set[str]:
    """Texts of which each would give something of another tenant away."""
    columns = ("id", "tenant", "subject", "conversation")
    return {"tenant-0", "tenant-2", "lies-told"} | {row[c] for row in foreign for c in columns}


def given_away(found: object, secret: set[str]) -> set[str]:
    said = repr(found)
    return {one for one in secret if one in said}


def test_every_question_is_tried_here() -> None:
    asked = {n for n, _ in inspect.getmembers(Source, inspect.isfunction) if not n.startswith("_")}
    assert asked == TRIED | OF_NOBODY
    for name in OF_NOBODY:
        assert "reader" not in inspect.signature(getattr(Source, name)).parameters


def test_the_queue_has_own_rows_and_own_totals(scene: Answers, secret: set[str]) -> None:
    page = scene.source.queue(QueueFilter(), ONE, None, 50)
    ids = [scene.alert(n)["id"] for n in reversed(OWN)]
    assert [row.id for row in page.rows if row.kind == "alert"] == ids
    assert page.total == 3
    assert page.reviewed_today == 1
    for filters in (
        QueueFilter(tenant="tenant-0"),
        QueueFilter(rule="lies-told"),
        QueueFilter(feature="deception"),
        QueueFilter(status="shadow"),
        QueueFilter(tenant="tenant-2", labelled=True),
    ):
        page = scene.source.queue(filters, ONE, None, 50)
        assert [row for row in page.rows if row.kind == "alert"] == []
        assert page.total == 0
        assert not given_away(page, secret)


def test_random_samples_are_of_own_tenants(
    scene: Answers, secret: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # All of them: of ten, in one scene of twenty some tenant had none.
    monkeypatch.setattr(queue, "SAMPLES_A_DAY", 60)
    queue._of_day.cache_clear()
    scene.now_ns, before = QUIET_NS, scene.now_ns
    try:
        everybody = scene.source.queue(QueueFilter(), ALL, None, 50)
        samples = [row for row in everybody.rows if row.kind == "sample"]
        assert {row.tenant for row in samples} == {"tenant-0", "tenant-1", "tenant-2"}
        page = scene.source.queue(QueueFilter(), ONE, None, 50)
        own = [row for row in page.rows if row.kind == "sample"]
        assert own == [row for row in samples if row.tenant == "tenant-1"]
        assert not given_away(page, secret)
        other = next(row.id for row in samples if row.tenant == "tenant-0")
        assert scene.source.alert(other, ALL) is not None
        assert scene.source.alert(other, ONE) is None
        assert scene.source.label(other, "true", "", "", ONE) is None
    finally:
        scene.now_ns = before


def test_an_alert_of_another_tenant_is_not_there(
    scene: Answers, foreign: list[dict[str, Any]]
) -> None:
    for row in foreign:
        assert scene.source.alert(row["id"], ALL) is not None
        assert scene.source.alert(row["id"], ONE) is None
        assert scene.source.alert(row["id"][:12], ONE) is None
        assert scene.source.evidence(row["id"], ONE) is None
        assert scene.source.label(row["id"], "true", "", "", ONE) is None
    assert len(scene.rows("alerts", kind="label", limit=100)) == 3


def test_a_beginning_that_an_alert_of_others_has_too_stands_for_the_own_one(tmp_path: Path) -> None:
    """It was answered as unknown: ids begin with their time, so those of one minute begin alike."""
    with answers(tmp_path / "data") as scene:
        own, other = scene.alert(7)["id"], scene.alert(9)["id"]
        both = bytes.fromhex(own[:12] + other[12:])
        db = scene.history.hot.db
        db.execute("DROP TRIGGER entry_is_immutable")
        change = "UPDATE entry SET id = ?, time_ns = ? WHERE id = ?"
        db.execute(change, (both, scene.alert(7)["time_ns"], bytes.fromhex(other)))
        found = scene.source.alert(own[:8], ONE)
        assert found is not None
        assert found.id == own
        assert scene.source.alert(own[:8], ALL) is None
        assert scene.source.alert(both.hex(), ONE) is None


def test_a_case_of_another_tenant_is_not_there(
    scene: Answers, foreign: list[dict[str, Any]], secret: set[str]
) -> None:
    for row in foreign:
        for by, column in (("user", "subject"), ("tenant", "tenant"), ("conversation", "conversation")):  # fmt: skip
            assert scene.source.case(by, row[column], ALL, "UTC") is not None  # type: ignore[arg-type]
            assert scene.source.case(by, row[column], ONE, "UTC") is None  # type: ignore[arg-type]
    own = scene.source.case("tenant", scene.alert(1)["tenant"], ONE, "UTC")
    assert own is not None
    assert (own.name, own.alerts, own.verdicts) == ("tenant-1", 3, {"judged": 1})
    assert not given_away(own, secret)


def test_sums_are_over_own_rows(scene: Answers, secret: set[str]) -> None:
    overview = scene.source.overview(ONE, "UTC")
    assert overview.unlabelled == 2
    assert sum(n for day in overview.days for n in day.counts.values()) == 3
    assert not given_away(overview, secret)
    found = scene.source.rules(ONE)
    assert not given_away(found, secret)
    (line,) = found.lines
    assert (line.name, line.alerts_7d, line.true, line.judged) == ("scam-written", 3, 0, 1)
    rule = scene.source.rule("scam-written", ONE, "UTC")
    assert rule is not None
    assert (rule.judged, sum(one.alerts for one in rule.versions)) == (1, 3)
    assert not given_away(rule, secret)
    everybody = scene.source.rule("scam-written", ALL, "UTC")
    assert everybody is not None
    assert (everybody.true, sum(one.alerts for one in everybody.versions)) == (2, 7)
    assert scene.source.rule("lies-told", ONE, "UTC") is None


def test_what_cannot_be_cut_to_own_tenants_is_refused(scene: Answers) -> None:
    with pytest.raises(NotPossible, match="over all tenants"):
        scene.source.audit(ONE)
    with pytest.raises(NotPossible, match="over all tenants"):
        scene.source.backtest("scam-written", "version: 1", "UTC", ONE)


@pytest.mark.parametrize("name", QUERIES)
def test_a_named_query_answers_for_own_tenants_or_not_at_all(
    scene: Answers, foreign: list[dict[str, Any]], secret: set[str], name: str
) -> None:
    other = foreign[0]
    given = {
        "prefix": other["id"][:12], "about": other["id"], "subject": other["subject"], "actor": "x",
        "first": "0", "past": "1000", "tenant": other["tenant"], "tenants": other["tenant"],
    }  # fmt: skip
    needed = {n: v for n, v in given.items() if n in QUERIES[name].parameters}
    for parameters in (needed, {n: v for n, v in needed.items() if not n.startswith("tenant")}):
        try:
            found = scene.source.query(name, parameters, ONE, 1000)
        except NotPossible:
            continue
        assert not given_away(found, secret)


def test_a_look_at_another_tenants_alert_does_not_say_whose_it_is(scene: Answers) -> None:
    before = len(scene.accesses())
    scene.source.record_access("view", ONE, f"alert {scene.alert(0)['id']}", "")
    (entry,) = scene.accesses()[before:]
    assert (entry["about"], entry["what"]) == (None, {"page": "alert"})
    with pytest.raises(AccessRefused):
        scene.source.record_access("view", ONE, f"evidence {scene.alert(0)['id']}", "curious")
    assert len(scene.accesses()) == before + 1


def test_a_tenant_of_others_is_answered_as_one_that_never_was(scene: Answers) -> None:
    """Its refusal had told it from a name that is nobody's: a list of customers, for who tries names."""
    said = []
    for name in ("tenant-0", "tenant-9"):
        scene.source.record_access("query", ONE, f"queue?tenant={name}", "")
        page = scene.source.queue(QueueFilter(tenant=name), ONE, None, 50)
        said.append((scene.accesses()[-1]["what"], page))
    assert said[0] == said[1]
    assert said[0][0] == {"page": "queue", "tenant": "unknown"}
    scene.source.record_access("query", ONE, "queue?tenant=tenant-1", "")
    assert scene.accesses()[-1]["what"]["tenant"] == scene.alert(1)["tenant"]


def test_who_sees_all_by_another_role_judges_own_tenants_alone(scene: Answers) -> None:
    both = frozenset({"reviewer", "operator"})
    person = Person("oona", frozenset(map(Role, both)), frozenset({"tenant-1"}), "")
    assert person.reader == Reader("oona", None, both, frozenset({"tenant-1"}))
    own, other = scene.alert(7)["id"], scene.alert(9)["id"]
    assert scene.source.alert(other, person.reader) is not None
    assert scene.source.label(other, "true", "", "", person.reader) is None
    assert scene.rows("labels_of", about=other) == []
    assert scene.source.label(own, "true", "", "", person.reader) is not None
    nobodys = Reader("oona", None, both, frozenset())
    assert scene.source.label(own, "true", "", "", nobodys) is None


def test_who_sees_no_tenant_sees_nothing(scene: Answers, secret: set[str]) -> None:
    nobody = Reader("nora", frozenset(), REVIEWER)
    page = scene.source.queue(QueueFilter(), nobody, None, 50)
    assert (page.rows, page.total) == ((), 0)
    unknown = Reader("nora", frozenset({"tenant-9"}), REVIEWER)
    assert scene.source.queue(QueueFilter(), unknown, None, 50).total == 0
    assert scene.source.rules(nobody).lines == ()
    assert not given_away(scene.source.overview(nobody, "UTC"), secret | {"scam-written"})
