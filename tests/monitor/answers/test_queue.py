"""The queue of a real history: pages without repeats, samples that are marked, filters, what none is worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.monitor.pages import shown, shown_alerts
from dosimeter.monitor.pages.source import NotPossible, QueueFilter, Reader
from tests.monitor.answers.answers_scene import (
    ALL,
    NOW_NS,
    ONE,
    QUIET_NS,
    REVIEWER,
    Answers,
    answers,
    with_quiet_requests,
)
from tests.monitor.audit.audit_scene import HOUR_NS, T0

COUNT = 12 - 1
"""Alerts of the scene: one of them never came."""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Answers]:
    with answers(tmp_path / "data") as found:
        yield found


def pages(scene: Answers, filters: QueueFilter, limit: int) -> Iterator[shown_alerts.QueuePage]:
    after = None
    while True:
        page = scene.source.queue(filters, ALL, after, limit)
        yield page
        if (after := page.next) is None:
            return


@pytest.mark.parametrize("limit", [1, 2, 3, COUNT - 1, COUNT, COUNT + 1])
def test_pages_together_hold_every_row_once_in_order(scene: Answers, limit: int) -> None:
    each = list(pages(scene, QueueFilter(), limit))
    ids = [row.id for page in each for row in page.rows]
    assert ids == [row["id"] for row in reversed(scene.alerts())]
    assert {page.total for page in each} == {COUNT}
    assert all(page.rows for page in each)


@pytest.mark.parametrize("limit", [1, 4])
def test_samples_are_marked_and_on_one_page_each(tmp_path: Path, limit: int) -> None:
    data = tmp_path / "data"
    with_quiet_requests(data)
    with answers(data) as scene:
        scene.now_ns = QUIET_NS
        rows = [row for page in pages(scene, QueueFilter(), limit) for row in page.rows]
        assert [row.time_ns for row in rows] == sorted((r.time_ns for r in rows), reverse=True)
        assert len({row.id for row in rows}) == len(rows)
        samples = [row for row in rows if row.kind == "sample"]
        assert len(samples) == 10
        assert len(rows) == 10 + COUNT
        for row in samples:
            assert (row.rule, row.feature, row.value, row.decision) == ("", "", "", "")
            view = scene.source.alert(row.id, ALL)
            assert view is not None
            assert (view.kind, view.tenant, view.evidence) == ("sample", row.tenant, "none")
        assert len(scene.source.queue(QueueFilter(samples=False), ALL, None, 50).rows) == COUNT
        of_a_rule = scene.source.queue(QueueFilter(rule="scam-written"), ALL, None, 50)
        assert all(row.kind == "alert" for row in of_a_rule.rows)


def test_a_sample_that_was_judged_says_so_and_leaves_the_unjudged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with_quiet_requests(data)
    with answers(data) as scene:
        scene.now_ns = QUIET_NS
        first = next(
            row
            for row in scene.source.queue(QueueFilter(), ALL, None, 50).rows
            if row.kind == "sample"
        )
        assert scene.source.label(first.id, "false", "fiction", "", ALL) is not None
        (row,) = [
            r
            for r in scene.source.queue(QueueFilter(), ALL, None, 50).rows
            if r.id == first.id
        ]  # fmt: skip
        assert (row.verdict, row.reviewer, row.disagreed) == ("false", "rita", False)
        left = scene.source.queue(QueueFilter(labelled=False), ALL, None, 50).rows
        assert first.id not in {r.id for r in left}
        other = Reader("raul", None, REVIEWER)
        scene.source.label(first.id, "true", "", "", other)
        view = scene.source.alert(first.id, ALL)
        assert view is not None
        assert [(one.reviewer, one.verdict) for one in view.labels] == [
            ("rita", "false"),
            ("raul", "true"),
        ]


def test_an_after_that_is_none_is_refused(scene: Answers) -> None:
    for wrong in ("", "1", "1-", "-1", "a-b", "1-2-3", "1" * 50 + "-1"):
        with pytest.raises(NotPossible, match="begin with the first"):
            scene.source.queue(QueueFilter(), ALL, wrong, 5)


def test_filters_find_what_they_say(scene: Answers) -> None:
    def found(filters: QueueFilter) -> list[int]:
        rows = {row["id"]: int(row["key"], 16) for row in scene.alerts()}
        return [rows[row.id] for row in scene.source.queue(filters, ALL, None, 50).rows]

    assert found(QueueFilter(tenant="tenant-1")) == [10, 7, 1]
    assert found(QueueFilter(rule="lies-told")) == [11, 8, 5, 2]
    assert found(QueueFilter(feature="deception", tenant="tenant-1")) == []
    assert found(QueueFilter(status="shadow")) == [11, 8, 5, 2]
    assert found(QueueFilter(decision="notified", tenant="tenant-2")) == []
    minute = 60 * 10**9
    assert found(QueueFilter(from_ns=T0 + 2 * minute, to_ns=T0 + 6 * minute)) == [5, 3, 2]


def test_labels_are_in_the_rows_and_can_be_filtered_by(scene: Answers) -> None:
    raul = Reader("raul", None, REVIEWER)
    two, three = (scene.alert(n)["id"] for n in (2, 3))
    scene.source.label(two, "true", "as-defined", "", ALL)
    scene.source.label(three, "true", "", "", ALL)
    scene.source.label(three, "false", "", "", raul)

    def rows(filters: QueueFilter, reader: Reader = ALL) -> dict[str, shown_alerts.Row]:
        return {row.id: row for row in scene.source.queue(filters, reader, None, 50).rows}

    labelled = rows(QueueFilter(labelled=True))
    assert set(labelled) == {two, three}
    assert (labelled[two].verdict, labelled[two].reviewer) == ("true", "rita")
    assert not labelled[two].disagreed
    assert (labelled[three].verdict, labelled[three].disagreed) == ("false", True)
    assert len(rows(QueueFilter(labelled=False))) == COUNT - 2
    assert set(rows(QueueFilter(mine=True), raul)) == {three}
    assert scene.source.queue(QueueFilter(), ALL, None, 5).reviewed_today == 3


def test_none_comes_with_what_it_is_worth(scene: Answers) -> None:
    """Hours of the scene: 1000 of 1000, 900 of 1000, 500 of 500; before and after, nothing was watching."""
    page = scene.source.queue(
        QueueFilter(severity="low", from_ns=T0, to_ns=T0 + 3 * HOUR_NS), ALL, None, 5
    )
    assert (page.rows, page.total) == ((), 0)
    assert page.coverage == shown.Coverage(2500, 2400, {"dropped": 100}, 0)
    assert page.weak == (shown.Hour(T0 + HOUR_NS, 1000, 900),)
    assert page.worth[:2] == (
        "coverage 96 % of 2,500 tokens; 1 hour under 99 % · gaps: pod-7 seq 5",
        "none found, but 100 of 2,500 tokens not scored; 1 record never came here",
    )
    before = QueueFilter(from_ns=T0 - 50 * HOUR_NS, to_ns=T0 - 40 * HOUR_NS)
    page = scene.source.queue(before, ALL, None, 5)
    assert page.coverage == shown.Coverage(0, 0)
    assert page.worth[0] == "no data in that time"
    said = "    2026-02-26 22:00:00+00:00 to 2026-02-27 08:00:00+00:00  (10.0 h)"
    assert page.worth[-1].startswith(said)


def test_a_rule_or_feature_that_never_was_is_said_where_nothing_matches(scene: Answers) -> None:
    found = scene.source.queue(QueueFilter(feature="decption"), ALL, None, 5)
    assert "no entry and no program of this history has feature `decption`" in found.worth[1]


def test_times_of_the_words_are_in_the_zone_of_the_address(scene: Answers) -> None:
    page = scene.source.queue(
        QueueFilter(from_ns=T0, to_ns=T0 + 3 * HOUR_NS, zone="Asia/Tokyo"), ALL, None, 5
    )
    assert "    2026-03-01 10:00:00+09:00 to 11:00:00+09:00  90 % of 1,000  pod-7" in page.worth


@pytest.mark.parametrize(
    ("filters", "then", "said"),
    [
        (QueueFilter(), "In the last 24 hours", "21.0 h of 24.0 h not known to be watched"),
        (
            QueueFilter(to_ns=NOW_NS + 48 * HOUR_NS),
            "In the last 24 hours",
            "21.0 h of 24.0 h not known to be watched",
        ),
        (
            QueueFilter(to_ns=T0 + HOUR_NS),
            "In the 24 hours before that",
            "23.0 h of 24.0 h not known to be watched",
        ),
        (QueueFilter(from_ns=T0, to_ns=T0 + HOUR_NS), "In that time", "1 record never came here"),
        (QueueFilter(from_ns=NOW_NS + 1), "In that time", "that time has not come yet"),
    ],
)
def test_what_none_is_worth_names_the_time_that_it_is_of(
    scene: Answers, filters: QueueFilter, then: str, said: str
) -> None:
    """A program that asks without a beginning was told of a day, as if that were all the time."""
    page = scene.source.queue(replace(filters, severity="low"), ALL, None, 5)
    assert (page.total, page.then) == (0, then)
    assert said in page.worth[1]


def test_a_tenant_that_nobody_knows_is_said_where_nothing_matches(scene: Answers) -> None:
    within = {"from_ns": T0, "to_ns": T0 + HOUR_NS}
    for name, reader in (("nobody", ALL), ("nobody", ONE), ("tenant-0", ONE)):
        page = scene.source.queue(QueueFilter(tenant=name, **within), reader, None, 5)
        words = "that tenant is not known to history: never seen here, or erased"
        assert page.worth[1] == f"none found, but {words}; 1 record never came here"
    page = scene.source.queue(
        QueueFilter(tenant="tenant-0", severity="low", **within), ALL, None, 5
    )
    assert page.worth[1] == "none found, but 1 record never came here"
