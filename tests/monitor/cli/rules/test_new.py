"""`dosimeter rules new`: what it writes, doubts and refuses; templates are tests/rules/test_packs.py's."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.cli.main import main
from dosimeter.rules.language.schema import load_rules
from dosimeter.rules.testing.tested import run_tests
from dosimeter.rules.testing.tested_text import score_of

TWO = ["one-then-other", "together", "without", "either", "blended"]


def new(*words: str) -> int:
    return main(["rules", "new", *words])


@pytest.mark.parametrize("template", TWO)
def test_a_template_of_two_features_refuses_one_twice(
    template: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rules.yaml"
    same = ["--from", template, "--feature", "defection", "--other", "defection"]
    assert new("mine", *same, "--out", str(out)) == 2
    assert "needs two different features\n  hint: " in capsys.readouterr().err
    assert not out.exists()


def test_every_change_of_a_message_and_its_answer_is_noticed(tmp_path: Path) -> None:
    """One feature in two scopes, so that one name is enough."""
    out = tmp_path / "rules.yaml"
    words = ["--from", "message-then-answer", "--feature", "scam", "--out", str(out)]
    assert new("mine", *words) == 0
    tested = run_tests(load_rules([out]).rules, None, True)
    assert all(one.good for one in tested)
    assert score_of(tested) == 100


def test_a_feature_that_nobody_defined_is_doubted_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rules.yaml"
    assert new("mine", "--feature", "defecton", "--out", str(out)) == 0
    said = capsys.readouterr().err
    assert "feature `defecton` is not defined\n  hint: did you mean `defection`?" in said
    (condition,) = load_rules([out]).rule("mine").when.conditions
    assert condition.features == ("defecton",)
    assert new("other", "--feature", "defection") == 0
    assert capsys.readouterr().err == ""


def test_without_a_name_only_the_bare_command_lists_templates(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert new() == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in TWO)
    assert new("--from", "together") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "a new rule needs a name\n  hint: " in shown.err
