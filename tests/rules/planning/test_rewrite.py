"""Levels changed in a file: nothing else of it does, and what cannot be found is an error."""

from __future__ import annotations

import pytest

from dosimeter.detectors.findings import InputError, Place
from dosimeter.detectors.levels import Level
from dosimeter.rules.language.schema import Rule, parse_rules
from dosimeter.rules.planning.rewrite import Edit, rewritten

TEXT = """\
# kept: 1 in 500 answers
version: 1
rules:
  - rule: a   # why
    when: {any: [{feature: scam, in: answer, above: 1 in 500 answers}, {feature: scam, in: answer, \
below: '1  in 1,000  answers'}]}
    status: live
    severity: high
    owner: o
    summary: "above 1 in 500 answers"
  - rule: b
    when:
      feature: deception
      in: answer
      above: "z 2.5"  # sd
    clear:
      below: z 1
      for: 8 tokens
    status: shadow
    severity: low
    summary: s
  - rule: c
    when: {feature: scam, in: answer, above: 20 a day}
    status: draft
    severity: low
    summary: s
"""


def edits(text: str, to: dict[str, str]) -> tuple[list[Edit], dict[str, Rule]]:
    """Each level that reads as a key, changed to its value; and the rules of a text that says so."""
    found: list[Edit] = []
    for rule in parse_rules(text, "r.yaml").rules:
        for c in rule.when.conditions:
            if c.level.text in to:
                place = c.places["above" if c.direction == 1 else "below"]
                found.append((place, c.level, Level.parse(to[c.level.text])))
        if rule.clear is not None and rule.clear.level.text in to:
            level = rule.clear.level
            found.append((rule.clear.places["below"], level, Level.parse(to[level.text])))
    return found, {}


def test_levels_change_and_nothing_else() -> None:
    to = {
        "1 in 500 answers": "1 in 12000 answers",
        "1 in 1,000 answers": "1 in 90 answers",
        "z 2.5": "z 3.07",
        "z 1": "z 1.2",
        "20 a day": "5 a day",
    }
    expected = (
        TEXT.replace("above: 1 in 500 answers}", "above: 1 in 12000 answers}")
        .replace("'1  in 1,000  answers'", "'1 in 90 answers'")
        .replace('"z 2.5"', '"z 3.07"')
        .replace("below: z 1\n", "below: z 1.2\n")
        .replace("20 a day", "5 a day")
    )
    assert rewritten(TEXT, "r.yaml", edits(TEXT, to)[0], {}) == expected


@pytest.mark.parametrize("change", ["\r\n", "\ufeff"])
def test_line_ends_and_marks_stay(change: str) -> None:
    text = TEXT.replace("\n", change) if change == "\r\n" else change + TEXT
    found, _ = edits(text, {"z 2.5": "z 3"})
    assert rewritten(text, "r.yaml", found, {}) == text.replace("z 2.5", "z 3")


def test_the_same_place_twice_is_one_edit() -> None:
    found, _ = edits(TEXT, {"z 2.5": "z 3"})
    assert rewritten(TEXT, "r.yaml", found * 2, {}) == TEXT.replace("z 2.5", "z 3")


def test_a_level_over_two_lines_is_refused_with_its_place() -> None:
    text = TEXT.replace('above: "z 2.5"  # sd', "above: >-\n        z 2.5")
    with pytest.raises(InputError, match=r"r\.yaml:14:14: error: `z 2\.5` cannot be found"):
        rewritten(text, "r.yaml", edits(text, {"z 2.5": "z 3"})[0], {})


def test_an_edit_of_something_else_is_refused() -> None:
    wrong = (Place("r.yaml", 1, 9), Level.parse("1 in 500 answers"), Level.parse("1 in 2 answers"))
    meant = {rule.id: rule for rule in parse_rules(TEXT.replace("z 2.5", "z 9")).rules}
    with pytest.raises(InputError, match="rule `b` would not read as planned"):
        rewritten(TEXT, "r.yaml", [wrong], meant)
