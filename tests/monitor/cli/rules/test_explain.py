"""`dosimeter rules explain`."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.cli.main import main

GOLDEN = Path(__file__).parents[3] / "golden" / "rules"


def test_all_rules_of_a_file_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "explain", str(GOLDEN / "explain.yaml")]) == 0
    assert capsys.readouterr().out == (GOLDEN / "explain.txt").read_text()


def test_one_rule_is_told_by_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "explain", str(GOLDEN / "explain.yaml"), "unseen"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("unseen (shadow, low)\n")
    assert out in (GOLDEN / "explain.txt").read_text()


def test_a_rule_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "explain", str(GOLDEN / "explain.yaml"), "unsen"]) == 2
    assert "did you mean `unseen`?" in capsys.readouterr().err


def test_rules_that_cannot_be_read_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "explain", str(GOLDEN / "lint.yaml")]) == 4
    assert "[unknown-signal]" in capsys.readouterr().err
