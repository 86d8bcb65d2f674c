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


@pytest.mark.parametrize("wrong", [["--per-day", "5"], ["--per-day", "0", "--calibration", "lab"]])
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


RULE = """version: 1
rules:
  - rule: r
    when: {{feature: scam, in: answer, above: {level}}}
    status: shadow
    severity: low
    summary: x
    tests:
      - {{name: a, stream: [{{answer: {{scam: 9*99}}}}], expect: [{{at: end of answer}}]}}
      - {{name: b, stream: [{{answer: {{scam: 0*99}}}}], expect: []}}
"""


@pytest.mark.parametrize(
    ("level", "code", "said"),
    [
        ("1 in 1000000 answers, average: answer", "inactive", "needs 10000000 benign answers"),
        ("1 in 500 answers, average: answer, min-tokens: 99999", "inactive", "has 99999 scored tokens"),
        ("z 2, for: 4000 tokens", "never", "has 4000 scored tokens in a row"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_fire_on_this_traffic_is_a_warning(
    level: str, code: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RULE.format(level=level))
    assert main(["rules", "lint", str(path)]) == 0
    assert capsys.readouterr().out == "nothing to change\n"
    assert main(["rules", "lint", str(path), "--calibration", str(CALIBRATION), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["code"], finding["severity"]) == (code, "warning")
    assert (finding["line"], finding["column"]) == (4, 11)
    assert said in finding["message"]
    assert "collect 11 more" not in str(finding)


def test_of_a_rule_that_expired_the_calibration_adds_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RULE.format(level="z 2, average: answer") + "    expires: 2026-01-31\n")
    assert main(["rules", "lint", str(path), "--calibration", str(CALIBRATION), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [finding["code"] for finding in findings] == ["expired"]
