"""A test for what two rules do differently: short, right, and none where there is no difference."""

from __future__ import annotations

from dataclasses import replace

from tested_rules import LONG, rule, trial

from dosimeter.rules.language.schema import Rule
from dosimeter.rules.testing.boundary import tell_apart
from dosimeter.rules.testing.cases import RuleTest
from dosimeter.rules.testing.runs import write_runs
from dosimeter.rules.testing.streams import written


def apart(one: Rule, other: Rule) -> RuleTest | None:
    return tell_apart(trial(one), trial(other), "name")


def shown(test: RuleTest | None) -> tuple[list[str], list[str]]:
    assert test is not None
    (request,) = test.requests
    runs = [
        f"{scope} {write_runs(codes)}"
        for entry in written(request.stream)
        for scope, features in entry.items()
        if not isinstance(features, int)
        for codes in features.values()
    ]
    return runs, [str(e) for e in test.expect]


def test_equal_rules_are_not_told_apart() -> None:
    assert apart(rule(LONG), rule(LONG)) is None
    assert (
        apart(rule(LONG), rule("{feature: scam, in: answer, above: z 2, at-least: 4 of 4 tokens}"))
        is None
    )


def test_levels_are_told_apart_by_a_value_between_them() -> None:
    """The shortest stream that could: as many tokens as the rule needs, at one value."""
    other = rule("{feature: scam, in: answer, above: z 2.2, for: 4 tokens}")
    assert shown(apart(rule(LONG), other)) == (["answer 2.1*4"], ["answer 4"])
    assert shown(apart(other, rule(LONG))) == (["answer 2.1*4"], [])


def test_lengths_are_told_apart_by_the_shorter_one() -> None:
    five = rule("{feature: scam, in: answer, above: z 2, for: 5 tokens}")
    assert shown(apart(five, rule(LONG))) == (["answer 3*4"], [])


def test_within_is_told_apart_by_a_distance() -> None:
    def of(within: int) -> Rule:
        parts = "{feature: scam, in: message, above: z 2}, {feature: scam, in: answer, above: z 2}"
        return rule(f"{{sequence: [{parts}], within: {within} tokens}}")

    runs, expect = shown(apart(of(20), of(21)))
    assert (runs, expect) == (["message 3*1", "answer 0*19 3*1"], [])


def test_whom_a_rule_is_for_is_told_apart_by_labels() -> None:
    mine = rule(LONG, more="only: {tenant: acme, model: m}")
    test = apart(mine, replace(mine, policy=rule(LONG).policy))
    assert test is not None
    assert (test.requests[0].labels, test.requests[0].model, test.expect) == ({}, "", ())
    stricter = rule("{feature: scam, in: answer, above: z 2.2, for: 4 tokens}")
    same = apart(mine, replace(stricter, policy=mine.policy))
    assert same is not None
    assert (same.requests[0].labels, same.requests[0].model) == ({"tenant": "acme"}, "m")
    back = apart(rule(LONG), mine)
    assert back is not None
    assert [str(e) for e in back.expect] == ["answer 4"]


def test_what_nobody_would_read_is_not_offered() -> None:
    parts = ", ".join(
        f"{{feature: scam, in: {scope}, above: z 2}}" for scope in ("answer", "message")
    )
    one, other = (rule(f"{{all: [{parts}], within: {n} tokens}}") for n in (900_000, 900_001))
    assert apart(one, other) is None
