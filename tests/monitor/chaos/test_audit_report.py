"""What is printed of an attack: goals, a row a manipulation, and what was missed by name."""

from __future__ import annotations

import json

from dosimeter.monitor.chaos.audit_attack import Manipulation, Where
from dosimeter.monitor.chaos.audit_report import Report
from dosimeter.monitor.chaos.audit_run import Outcome

FLIP = Manipulation("flip", "root", "located", lambda c: Where())
CUT = Manipulation("cut", "root", "not excluded", lambda c: Where())


def report(*outcomes: Outcome, alarms: tuple[str, ...] = ()) -> Report:
    return Report(outcomes, 7, alarms, 100, 1.0)


def test_all_as_stated_beforehand_meets_the_goals() -> None:
    found = report(Outcome(FLIP, "located", "entry 3"), Outcome(CUT, "not excluded", ""))
    assert found.result.met
    assert "2 of 2 verdicts as stated beforehand" in found.as_table()


def test_a_verdict_that_was_not_due_misses_and_is_named() -> None:
    found = report(*[Outcome(FLIP, "located", "")] * 60, Outcome(FLIP, "found", "entries 1 to 9"))
    assert not found.result.met
    assert "60 of 61  MISSED: found" in found.as_table()
    assert json.loads(found.as_json())["missed"][0]["actual"] == "found"


def test_one_alarm_on_an_untouched_history_misses() -> None:
    found = report(Outcome(FLIP, "located", ""), alarms=("history 3: entry 9",))
    assert not found.result.met
    assert "alarm: history 3: entry 9" in found.as_table()
