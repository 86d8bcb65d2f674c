"""All alerts of one user, tenant or conversation: counted as the alerts themselves say, few or many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dosimeter.monitor.audit.erasure.erase import Eraser
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.queries import moment
from dosimeter.monitor.pages.shown import By
from tests.monitor.answers.answers_scene import ALL, Answers, answers

BY: dict[By, str] = {"user": "subject", "tenant": "tenant", "conversation": "conversation"}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Answers]:
    with answers(tmp_path / "data") as scene:
        yield scene


@pytest.mark.parametrize("most", [0, 2_000])
def test_a_case_is_what_its_alerts_say(
    scene: Answers, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """most: 0 counts users and conversations as those are counted that have many."""
    monkeypatch.setattr(moment, "MOST_FEW", most)
    judged = scene.alert(1)
    scene.source.label(judged["id"], "true", "", "", ALL)
    for by, column in BY.items():
        for id_ in sorted({row[column] for row in scene.alerts()}):
            rows = [row for row in scene.alerts() if row[column] == id_]
            case = scene.source.case(by, id_, ALL, "Asia/Tokyo")
            assert case is not None
            assert (case.by, case.id, case.alerts) == (by, id_, len(rows))
            times = [row["time_ns"] for row in rows]
            assert (case.first_ns, case.last_ns) == (min(times), max(times))
            assert case.conversations == len({row["conversation"] for row in rows})
            for found, name in ((case.by_rule, "rule"), (case.by_severity, "severity")):
                each = [row[name] for row in rows]
                assert found == {one: each.count(one) for one in set(each)}
                assert list(found.values()) == sorted(found.values(), reverse=True)
            assert [row.id for row in case.rows] == [row["id"] for row in reversed(rows)]
            assert sum(sum(day.counts.values()) for day in case.days) == len(rows)
            mine = judged["id"] in [row["id"] for row in rows]
            assert case.verdicts == ({"true": 1} if mine else {})
            assert [row.id for row in case.rows if row.verdict == "true"] == [judged["id"]] * mine


def test_of_what_has_no_alerts_there_is_no_case(scene: Answers) -> None:
    for by in BY:
        assert scene.source.case(by, "ab" * 16, ALL, "UTC") is None


@pytest.mark.parametrize("most", [0, 2_000])
def test_who_was_erased_is_counted_as_before_and_has_no_name(
    scene: Answers, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(moment, "MOST_FEW", most)
    row, people = scene.alert(1), scene.rows("people")
    before = {by: scene.source.case(by, row[BY[by]], ALL, "UTC") for by in ("user", "tenant")}
    assert before["user"] is not None
    assert before["user"].name == "user-1"
    eraser = Eraser(scene.history.folder, scene.history.appender)
    eraser.erase("user", "tenant-1", "user-1", actor=Actor("omar", "operator"), reason="ticket 4")
    assert scene.rows("people") == people
    after = {by: scene.source.case(by, row[BY[by]], ALL, "UTC") for by in ("user", "tenant")}
    assert after["user"] == replace(before["user"], name="")
    assert after["tenant"] == before["tenant"]
