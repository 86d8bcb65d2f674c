"""A rule in English says what the rule says: every number, name and direction of it, and what it passes over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from seeded_faults import D, Z

from dosimeter.rules.language.explain import explain
from dosimeter.rules.language.schema import load_rules, parse_rules

GOLDEN = Path(__file__).parents[2] / "golden" / "rules"


def of(when: str, rest: str = "") -> str:
    text = f"rule: r, when: {when}, status: shadow, severity: low, summary: x{rest}"
    return explain(parse_rules(f"version: 1\nrules: [{{{text}}}]").rules[0])


def test_rules_of_every_kind_are_told_as_in_the_golden_file() -> None:
    """`DOSIMETER_GOLDEN=write pytest tests/rules/language/test_explain.py` refreshes it; review the diff."""
    ruleset = load_rules([GOLDEN / "explain.yaml"])
    rules = sorted((*ruleset.rules, *ruleset.second), key=lambda rule: rule.id)
    text = "\n\n".join(explain(rule) for rule in rules) + "\n"
    golden = GOLDEN / "explain.txt"
    if os.environ.get("DOSIMETER_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


F = "feature: scam, in: answer"


@pytest.mark.parametrize(
    ("when", "sentence"),
    [
        (
            f"{{{F}, above: 1 in 1000 answers}}",
            "in an answer, some token has `scam` above the level that only 1 in 1000 benign answers exceed.",
        ),
        (
            f"{{{F}, below: 1 in 1000 answers, for: 3 tokens}}",
            "in an answer, 3 tokens in a row each have `scam` below the level that only 1 in 1000 "
            "benign answers fall below.",
        ),
        (
            "{feature: scam, in: message, above: z 2.5, at-least: 3 of 8 tokens}",
            "in a user's message, 3 of 8 tokens in a row have `scam` above 2.5 benign standard deviations.",
        ),
        (
            f"{{{F}, above: 20 a day, average: last 4 tokens}}",
            "in an answer, the mean of `scam` over the last 4 tokens of it lies above the level that "
            "20 benign requests a day exceed.",
        ),
    ],
)
def test_each_shape_and_level_has_its_sentence(when: str, sentence: str) -> None:
    assert f"  Fires when, {sentence}" in of(when).splitlines()


@pytest.mark.parametrize(
    ("when", "seen"),
    [
        (f"{{{F}, above: z 2, for: 16 tokens}}", "an answer of fewer than 16 tokens"),
        (f"{{{F}, above: z 2, at-least: 3 of 8 tokens}}", "an answer of fewer than 3 tokens"),
        (f"{{{F}, above: z 2}}", "tokens without a score"),
        (
            f"{{{F}, above: z 2, average: last 4 tokens}}",
            "an answer of which one of the last 4 tokens has no score",
        ),
        (
            f"{{{F}, above: z 2, average: answer, min-tokens: 9}}",
            "an answer with fewer than 9 scored tokens",
        ),
    ],
)
def test_what_a_shape_passes_over_is_told(when: str, seen: str) -> None:
    assert f"    - {seen}" in of(when).splitlines()


def test_what_is_refused_is_no_blind_spot() -> None:
    """Tokens too few for what stands under `not` hide nothing."""
    text = of(f"{{all: [{Z}, {{not: {D[:-1]}, for: 99 tokens}}}}]}}")
    assert "never: in an answer, 99 tokens in a row each have `deception`" in text
    assert "fewer than 99" not in text


def test_the_benign_units_a_level_needs_are_those_of_its_largest() -> None:
    a = f"{{{F}, above: 1 in 500 answers}}"
    b = f"{{{F}, above: 1 in 2000 answers, for: 2 tokens}}"
    assert "Its level needs 20000 benign answers" in of(f"{{any: [{a}, {b}]}}")
    assert "Its level needs" not in of(Z)


def test_a_stage_is_numbered_and_a_part_is_not() -> None:
    assert "    1. in an answer" in of(f"{{sequence: [{Z}, {D}], within: 1 token}}")
    assert "within 1 token:" in of(f"{{sequence: [{Z}, {D}], within: 1 token}}")
    assert "come together, anywhere in the request:" in of(f"{{all: [{Z}, {D}]}}")


def test_a_second_look_is_told_and_what_comes_without_an_answer() -> None:
    text = of(Z, ", confirm: second-look")
    assert "Before a notification goes out `second-look` is asked" in text
    assert "without an answer it goes out" in text


def test_a_grouping_that_nothing_uses_is_told() -> None:
    assert "`group-by` changes nothing here" in of(Z, ", group-by: [user]")
    for used in ("repeat-after: 1h", "limit: 5 per day", "quiet-when: [x]"):
        assert "changes nothing" not in of(Z, f", group-by: [user], {used}")
