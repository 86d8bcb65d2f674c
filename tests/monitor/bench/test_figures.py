"""Figures: what a goal means, and what is printed."""

from __future__ import annotations

import json

import pytest

from dosimeter.monitor.bench.figures import Figure, Result


@pytest.mark.parametrize(
    ("value", "goal", "met"),
    [
        (2.0, "<= 2", True),
        (2.1, "<= 2", False),
        (0, "== 0", True),
        (3, ">= 4", False),
        (None, "<= 2", None),
        (5, None, None),
    ],
)
def test_a_goal_is_met_missed_or_not_measured(
    value: float | None, goal: str | None, met: bool | None
) -> None:
    assert Figure("x", value, "ms", goal).met is met


def test_what_could_not_be_measured_does_not_fail_and_what_was_missed_does() -> None:
    assert Result("x", (Figure("a", None, "ms", "<= 1"), Figure("b", 1, "ms", "<= 1"))).met
    assert not Result("x", (Figure("b", 2, "ms", "<= 1"),)).met


def test_the_json_is_one_object_with_environment_and_figures() -> None:
    found = json.loads(Result("wire", (Figure("held", 12.5, "µs", "<= 25"),)).as_json())
    assert set(found) == {"name", "environment", "figures"}
    expected = {"name": "held", "value": 12.5, "unit": "µs", "goal": "<= 25", "met": True}
    assert found["figures"] == [expected]


def test_the_table_says_what_was_missed() -> None:
    table = Result("wire", (Figure("held", 30.0, "µs", "<= 25"),)).as_table()
    assert table.splitlines()[2].split() == ["held", "30", "µs", "<=", "25", "MISSED"]
