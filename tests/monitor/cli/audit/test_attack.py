"""`dosimeter audit attack`: its arguments and exit codes, over a run that was made up."""

from __future__ import annotations

import json

import pytest

from dosimeter.monitor.chaos import audit_all
from dosimeter.monitor.chaos.audit_attack import Manipulation, Where
from dosimeter.monitor.chaos.audit_report import Report
from dosimeter.monitor.chaos.audit_run import Outcome
from dosimeter.monitor.cli.main import main

FLIP = Manipulation("flip", "root", "located", lambda c: Where())


def gives(monkeypatch: pytest.MonkeyPatch, actual: str) -> list[tuple[int, int, int]]:
    asked: list[tuple[int, int, int]] = []

    def run(runs: int, clean: int, *, seed: int, progress: object) -> Report:
        asked.append((runs, clean, seed))
        return Report([Outcome(FLIP, actual, "entry 3")] * runs, clean, (), 9, 0.1)

    monkeypatch.setattr(audit_all, "run", run)
    return asked


def test_goals_met_are_0_and_the_numbers_are_passed_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = gives(monkeypatch, "located")
    assert main(["audit", "attack", "--runs", "3", "--clean", "2", "--seed", "5", "--json"]) == 0
    assert asked == [(3, 2, 5)]
    assert json.loads(capsys.readouterr().out)["figures"][0]["value"] == 3


def test_a_missed_goal_is_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gives(monkeypatch, "nothing found")
    assert main(["audit", "attack", "--runs", "3"]) == 1
    assert "MISSED: nothing found" in capsys.readouterr().out


def test_nothing_to_do_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "attack", "--runs", "0", "--clean", "0"]) == 2
    assert "nothing to do" in capsys.readouterr().err
