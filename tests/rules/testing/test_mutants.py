"""The steps by which a rule is changed: each is one, each has its place, and none is forgotten."""

from __future__ import annotations

import pytest
from tested_rules import rule

from dosimeter.detectors.levels import Level
from dosimeter.rules.atoms import SHAPES
from dosimeter.rules.language.schema import parse_rules
from dosimeter.rules.testing.mutants import levels, mutants


def steps(when: str, more: str = "") -> list[str]:
    return [mutant.what for mutant in mutants(rule(when, more=more))]


@pytest.mark.parametrize(
    ("level", "changed"),
    [
        ("1 in 1000 answers", ["1 in 500 answers", "1 in 2000 answers"]),
        ("1 in 3 tokens", ["1 in 2 tokens", "1 in 6 tokens"]),
        ("1 in 2 answers", ["1 in 4 answers"]),
        ("20 a day", ["10 a day", "40 a day"]),
        ("1 a day", ["2 a day"]),
        ("z 1.5", ["z 1.4", "z 1.6"]),
        ("z -4", ["z -4.2", "z -3.8"]),
        ("z 0", ["z -0.1", "z 0.1"]),
        ("z 127.9", ["z 121.5"]),
    ],
)
def test_a_level_goes_one_step_looser_and_stricter(level: str, changed: list[str]) -> None:
    assert [one.text for one in levels(Level.parse(level))] == changed


@pytest.mark.parametrize(
    ("shape", "changed"),
    [
        ("", ["one token -> `2 tokens`"]),
        (", for: 4 tokens", ["`for: 4 tokens` -> `3 tokens`", "`for: 4 tokens` -> `5 tokens`",
                             "`for: 4 tokens` -> `average: 4 tokens`"]),
        (", for: 1 token", ["`for: 1 tokens` -> `2 tokens`", "`for: 1 tokens` -> `average: 1 tokens`"]),
        (", at-least: 2 of 2 tokens",
         ["`at-least: 2 of 2 tokens` -> `2 of 3 tokens`", "`at-least: 2 of 2 tokens` -> `1 of 2 tokens`",
          "`at-least: 2 of 2 tokens` -> `for: 2 tokens`"]),
        (", average: last 4 tokens",
         ["`average: last 4 tokens` -> `last 3 tokens`", "`average: last 4 tokens` -> `last 5 tokens`",
          "`average: last 4 tokens` -> `4 tokens`"]),
        (", average: answer, min-tokens: 10",
         ["`min-tokens: 10` -> `9`", "`min-tokens: 10` -> `11`", "`average: answer` -> one token"]),
        (", share: 100 % of answer, coverage: 1 %",
         ["`share: 100 % of answer` -> `99 % of answer`", "`coverage: 1 %` -> none",
          "`coverage: 1 %` -> `2 %`", "`share: 100 % of answer` -> `average: answer`"]),
    ],
)  # fmt: skip
def test_a_shape_is_changed_by_one_everywhere_it_can_be(shape: str, changed: list[str]) -> None:
    found = steps(f"{{feature: scam, in: answer, above: z 2{shape}}}")
    side, elsewhere = "`above: z 2` -> `below: z 2`", "`in: answer` -> `message`"
    assert sorted(found) == sorted(
        ["`above: z 2` -> `z 1.9`", "`above: z 2` -> `z 2.1`", side, elsewhere, *changed]
    )


def test_a_scope_changes_with_the_noun_of_its_level() -> None:
    """Else the changed rule could not be placed, and the step would not count."""
    (one,) = [
        m for m in mutants(rule("{feature: scam, in: message, above: 1 in 9 messages}"))
        if m.what == "`in: message` -> `answer`"
    ]  # fmt: skip
    (condition,) = one.rule.when.conditions
    assert (condition.scope.name, condition.level.text) == ("ANSWER", "1 in 9 answers")


A, B, C = (f"{{feature: {name}, in: answer, above: z 2}}" for name in "abc")


def joined(when: str) -> set[str]:
    """The steps that are of no single condition."""
    return {what for what in steps(when) if ", of `" not in what}


def test_conditions_under_all_are_left_out_one_by_one() -> None:
    assert joined(f"{{all: [{A}, {{not: {B}}}, {{any: [{A}, {C}]}}], within: 9 tokens}}") == {
        "`within: 9 tokens` -> `8 tokens`",
        "`within: 9 tokens` -> `10 tokens`",
        "condition 1, `a`, left out",
        "condition 2, `not` `b`, left out",
        "condition 3, `a` or `c`, left out",
        "`not` of `b` removed",
        "`a` left out of `any`",
        "`c` left out of `any`",
    }


def test_what_has_to_be_there_is_never_all_left_out() -> None:
    assert "condition 1, `a`, left out" not in joined(f"{{all: [{A}, {{not: {B}}}]}}")


def test_a_sequence_is_swapped_and_loses_its_order() -> None:
    found = joined(f"{{sequence: [{A}, {B}, {C}], within: 9 tokens}}")
    assert {w for w in found if "sequence" in w} == {
        "steps 1 and 2 of `sequence` swapped",
        "steps 2 and 3 of `sequence` swapped",
        "`sequence` -> `all`",
    }


def test_what_stands_beside_when_is_changed_too() -> None:
    found = steps(
        "{feature: scam, in: answer, above: z 2}",
        """clear: {below: z 1, for: 8 tokens}
only: {tenant: acme}
unless: [{route: c, reason: why, by: j.doe, until: 2030-01-01}]""",
    )
    assert found[-7:] == [
        "`below: z 1` of `clear` -> `z 0.9`",
        "`below: z 1` of `clear` -> `z 1.1`",
        "`for: 8 tokens` of `clear` -> `7 tokens`",
        "`for: 8 tokens` of `clear` -> `9 tokens`",
        "`clear` removed",
        "`only` removed",
        '`unless` for "why" removed',
    ]


def test_every_step_says_where_it_is() -> None:
    text = """version: 1
rules:
  - rule: r
    when:
      all:
        - {feature: a, in: answer, above: z 2, for: 4 tokens}
        - {feature: b, in: answer, below: z 1}
      within: 9 tokens
    status: draft
    severity: low
    summary: x
"""
    found = {m.what: m.place for m in mutants(parse_rules(text).rules[0])}
    pointed = {
        "`above: z 2` -> `z 1.9`, of `a`": (6, "z 2, for"),
        "`for: 4 tokens` -> `5 tokens`, of `a`": (6, "4 tokens"),
        "`in: answer` -> `message`, of `b`": (7, "answer, below"),
        "`within: 9 tokens` -> `10 tokens`": (8, "9 tokens"),
        "condition 2, `b`, left out": (6, "- {feature: a"),
    }
    for what, (line, at) in pointed.items():
        written = text.splitlines()[line - 1]
        assert (found[what].line, found[what].column) == (line, written.index(at) + 1)


def test_every_shape_has_steps() -> None:
    """A shape that is added without any would look perfectly tested."""
    said = {
        "once": "", "for": ", for: 4 tokens", "average": ", average: 4 tokens",
        "average_scope": ", average: answer", "at_least": ", at-least: 2 of 4 tokens",
        "average_last": ", average: last 4 tokens", "share": ", share: 20 % of answer",
    }  # fmt: skip
    assert set(said) == set(SHAPES)
    for shape in said.values():
        assert len(steps(f"{{feature: scam, in: answer, above: z 2{shape}}}")) >= 5
