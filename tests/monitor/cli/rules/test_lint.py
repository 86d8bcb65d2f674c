"""`dosimeter rules lint`: what its options add; the findings themselves are tests/rules/linting/test_lint.py's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dosimeter.monitor.lab
import dosimeter.rules
from dosimeter.monitor.cli.main import main

PACKS = Path(dosimeter.rules.__path__[0]) / "packs"
CALIBRATION = Path(dosimeter.monitor.lab.__path__[0]) / "calibration"
GOLDEN = Path(__file__).parents[3] / "golden" / "rules"


def test_the_shipped_rules_have_nothing_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "lint", str(PACKS)]) == 0
    assert capsys.readouterr().out == "nothing to change\n"


def test_with_a_calibration_each_rule_has_its_alerts_a_day(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1 in 500 of some 10 000 answers is 20, and 98 of 50 000."""
    args = ["rules", "lint", str(PACKS / "lab.yaml"), "--calibration", str(CALIBRATION)]
    assert main([*args, "--per-day", "50000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "nothing to change"
    (deceptive,) = [line for line in lines if line.startswith("deceptive-answer: ")]
    assert deceptive.startswith("deceptive-answer: about 98 alerts a day (95 % interval 60 to 150)")
    assert main([*args, "--per-day", "50000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["findings"] == []
    assert found["traffic"]["rules"]["deceptive-answer"]["answers"] == 20


def test_alerts_a_day_wait_until_the_rules_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["rules", "lint", str(GOLDEN / "lint.yaml"), "--calibration", str(CALIBRATION)]
    assert main(args) == 1
    assert capsys.readouterr().out.endswith("alerts a day: told once there is no error\n")
    assert main([*args, "--json"]) == 1
    assert "traffic" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("wrong", [["--per-day", "5"], ["--per-day", "0", "--calibration", "x"]])
def test_a_number_of_answers_without_traffic_is_a_usage_error(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rules", "lint", str(PACKS), *wrong]) == 2
    assert "--per-day" in capsys.readouterr().err


def test_a_calibration_that_cannot_be_read_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rules", "lint", str(PACKS), "--calibration", str(tmp_path)]) == 4
    assert str(tmp_path) in capsys.readouterr().err
