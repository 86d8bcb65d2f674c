"""What is shipped: every rule and template is free of findings, passes its tests, and its tests notice changes."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

import dosimeter.rules as rules
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.registry import load_features
from dosimeter.rules.language.schema import load_rules, parse_rules
from dosimeter.rules.language.template import (
    TemplateError,
    fill,
    left_open,
    noun,
    source,
    templates,
)
from dosimeter.rules.linting.lint import lint
from dosimeter.rules.testing.tested import run_tests
from dosimeter.rules.testing.tested_text import as_text, score_of

PACKS = Path(str(rules.__file__)).parent / "packs"
DAY = date(2026, 11, 29)
LEAST = 90
"""Per cent of changes that the tests of what is shipped have to notice."""

WORDS = {
    "NAME": "mine",
    "FEATURE": "scam",
    "OTHER": "deception",
    "OF": "scam-in-answer",
    "SCOPE": "answer",
    "NOUN": noun(Scope.ANSWER),
    "OWNER": "somebody",
    "UNTIL": "2027-03-31",
}


def test_the_shipped_rules_have_no_findings() -> None:
    assert lint([PACKS], load_features()) == []


def test_there_are_a_dozen_of_them_each_with_tests_that_pass_and_notice_changes() -> None:
    tested = run_tests(load_rules([PACKS]).rules, None, True)
    assert len(tested) >= 12
    for one in tested:
        assert one.good, as_text([one])
        assert any(test.expect for test in one.tests), f"{one.rule.id}: no test in which it fires"
        assert any(not test.expect for test in one.tests), f"{one.rule.id}: no test without a hit"
    score = score_of(tested)
    assert score is not None
    assert score >= LEAST, as_text(tested)


@pytest.mark.parametrize("name", templates())
def test_a_template_becomes_a_rule_without_findings_whose_tests_notice_changes(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(fill(source(name), WORDS))
    known = [path, PACKS] if "OF" in left_open(source(name)) else [path]  # it counts shipped ones
    assert [f for f in lint(known, load_features()) if f.severity != "note"] == []
    tested = run_tests(load_rules([path]).rules, None, True)
    assert all(one.good for one in tested), as_text(tested)
    score = score_of(tested)
    assert score is None or score >= LEAST, as_text(tested)


@pytest.mark.parametrize("scope", ["message", "tool", "system"])
def test_a_template_can_be_filled_for_another_scope(scope: str) -> None:
    words = WORDS | {"SCOPE": scope, "NOUN": noun(Scope[scope.upper()])}
    ruleset = parse_rules(fill(source("sustained"), words))
    assert all(one.good for one in run_tests(ruleset.rules, None, False))


def test_a_template_says_first_what_it_is_for() -> None:
    for name, line in templates().items():
        assert line.endswith("."), name
        assert "NAME" in left_open(source(name))


def test_an_unknown_template_and_a_missing_word_are_named() -> None:
    with pytest.raises(
        TemplateError, match="no template `sustaned`\n  hint: did you mean `sustained`"
    ):
        source("sustaned")
    with pytest.raises(TemplateError, match="needs `--other`"):
        fill(source("together"), {k: v for k, v in WORDS.items() if k != "OTHER"})
