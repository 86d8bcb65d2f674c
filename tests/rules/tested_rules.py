"""Rules with tests, as text, for the tests of what runs them."""

from __future__ import annotations

from dosimeter.detectors.reader import Reader
from dosimeter.rules.language.schema import Rule, parse_rules
from dosimeter.rules.testing.cases import RuleTest, features_of, read_tests
from dosimeter.rules.testing.trial import Trial
from dosimeter.rules.testing.unit_normal import UnitNormal

LONG = "{feature: scam, in: answer, above: z 2, for: 4 tokens}"


def rule(when: str = LONG, tests: str = "[]", more: str = "", name: str = "r") -> Rule:
    """more: other keys of the rule, each on a line of its own."""
    lines = [f"    {line}" for line in more.splitlines()]
    text = "\n".join(
        [
            "version: 1",
            "rules:",
            f"  - rule: {name}",
            f"    when: {when}",
            "    status: draft",
            "    severity: low",
            "    summary: x",
            *lines,
            f"    tests: {tests}",
        ]
    )
    return parse_rules(text).rules[0]


def cases(one: Rule) -> tuple[RuleTest, ...]:
    reader = Reader()
    found = read_tests(one, reader)
    reader.refuse_if_wrong()
    return found


def trial(one: Rule) -> Trial:
    return Trial(one, UnitNormal(features_of(one)))
