"""The score of a rule's tests, and the tests that are offered for what they miss."""

from __future__ import annotations

import pytest
from tested_rules import LONG, cases, rule, trial

from dosimeter.detectors.strict_yaml import load
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.testing.cases import features_of
from dosimeter.rules.testing.mutants import mutants
from dosimeter.rules.testing.mutation import MutationScore, meaning, mutate
from dosimeter.rules.testing.tested_text import to_paste
from dosimeter.rules.testing.trial import Trial
from dosimeter.rules.testing.unit_normal import UnitNormal

FIRES = '{name: fires, stream: [{answer: {scam: "2.05*4"}}], expect: [{at: answer 4}]}'
QUIET = '{name: quiet, stream: [{answer: {scam: "1.95*4 0*1 2.1*3"}}], expect: []}'


def score(one: Rule) -> MutationScore:
    return mutate(trial(one), cases(one), UnitNormal(features_of(one)))


def test_a_step_counts_as_noticed_where_some_test_fails() -> None:
    """By hand, of 7 steps: z 1.9 and 3 tokens fire in `quiet`; z 2.1, 5 tokens, the side and the scope miss `fires`."""
    found = score(rule(LONG, f"[{FIRES}, {QUIET}]"))
    assert (found.killed, found.counted) == (6, 7)
    assert [s.mutant.what for s in found.survivors] == ["`for: 4 tokens` -> `average: 4 tokens`"]
    assert [s.mutant.what for s in score(rule(LONG, f"[{QUIET}]")).survivors] == [
        "`above: z 2` -> `z 2.1`",
        "`in: answer` -> `message`",
        "`for: 4 tokens` -> `5 tokens`",
        "`for: 4 tokens` -> `average: 4 tokens`",
    ]


def test_without_tests_nothing_is_noticed() -> None:
    found = score(rule(LONG))
    assert (found.killed, found.counted, len(found.survivors)) == (0, 7, 7)


def test_steps_that_change_nothing_do_not_count() -> None:
    """`for: 1 token` and an average of one are both one token."""
    one = rule("{feature: scam, in: answer, above: z 2, for: 1 token}")
    own = meaning(trial(one).program)
    same = [m.what for m in mutants(one) if meaning(trial(m.rule).program) == own]
    assert same == ["`for: 1 tokens` -> `average: 1 tokens`"]
    assert score(one).counted == 5


RULES = [
    (LONG, ""),
    ("{feature: scam, in: answer, above: 1 in 1000 answers}", ""),
    ("{feature: scam, in: message, below: 20 a day, average: 8 tokens}", ""),
    ("{feature: scam, in: answer, above: 1 in 50 answers, at-least: 3 of 8 tokens}", ""),
    ("{feature: scam, in: answer, above: 1 in 50 answers, at-least: 1 of 8 tokens}", ""),
    ("{feature: scam, in: answer, above: z 2, average: answer, min-tokens: 20, coverage: 80 %}", ""),
    ("{feature: scam, in: answer, above: z 2, share: 20 % of answer, min-tokens: 30}", ""),
    ("{feature: scam, in: message, above: 1 in 1000 messages, average: last 4 tokens}", ""),
    ("{score: 0.7 * scam + 0.5 * deception, in: answer, above: z 3, for: 6 tokens}", ""),
    (LONG, "clear: {below: z 1, for: 8 tokens}"),
    (LONG, "only: {tenant: [acme, zeta], model: m}\n"
     "unless: [{route: c, reason: why, by: j.doe, until: 2030-01-01}]"),
    ("{all: [{feature: scam, in: answer, above: z 2, at-least: 4 of 8 tokens}, "
     "{feature: deception, in: answer, above: z 2, at-least: 4 of 8 tokens}], within: 64 tokens}", ""),
    ("{all: [{feature: scam, in: answer, above: z 2, average: answer}, "
     "{feature: deception, in: answer, above: z 1, average: answer}]}", ""),
    ("{all: [{feature: scam, in: answer, above: z 2}, {not: {feature: refusal, in: answer, above: z 1}}]}", ""),
    ("{all: [{feature: scam, in: answer, above: z 2, for: 3 tokens}, "
     "{not: {feature: refusal, in: message, below: z 1, for: 2 tokens}}], within: 30 tokens}", ""),
    ("{any: [{feature: scam, in: answer, above: z 2}, {feature: deception, in: message, above: z 3}]}", ""),
    ("{sequence: [{feature: scam, in: message, above: z 2, for: 8 tokens}, "
     "{feature: deception, in: answer, above: z 3, for: 4 tokens}], within: 400 tokens}", ""),
    ("{sequence: [{feature: scam, in: answer, above: z 2}, {feature: scam, in: answer, below: z -2}, "
     "{feature: deception, in: answer, above: z 2}], within: 40 tokens}", ""),
]  # fmt: skip


@pytest.mark.parametrize(("when", "more"), RULES)
def test_the_tests_that_are_offered_notice_every_step(when: str, more: str) -> None:
    """Pasted into the rule as they are printed, they pass, and nothing survives."""
    one = rule(when, more=more)
    found = score(one)
    assert [s.mutant.what for s in found.survivors if s.by is None] == []
    pasted = rule(when, "\n" + to_paste(found.offered), more)
    assert all(trial(pasted).run(test).passed for test in cases(pasted))
    again = score(pasted)
    assert (again.killed, again.counted, again.survivors) == (found.counted, found.counted, ())


def test_a_test_that_is_offered_has_a_name_of_its_own() -> None:
    """Pasting must not make two tests of one name."""
    taken = '{name: "boundary: above: z 2 -> z 1.9", stream: [{answer: {scam: "0*1"}}], expect: []}'
    names = [test.name for test in score(rule(LONG, f"[{taken}]")).offered]
    assert "boundary: above: z 2 -> z 1.9, again" in names
    assert len(set(names)) == len(names)


def test_one_test_is_offered_for_all_the_steps_it_notices() -> None:
    found = score(rule(LONG))
    assert len(found.offered) < len(found.survivors)
    for survivor in found.survivors:
        assert survivor.by is not None
        changed = Trial(survivor.mutant.rule, UnitNormal(("scam",)))
        assert not changed.run(survivor.by).passed


def test_what_is_offered_is_yaml_whatever_the_names_in_it() -> None:
    one = rule(LONG, more='only: {tenant: "a: \\"b\\" #c"}')
    (first, *_) = load(to_paste(score(one).offered), "x.yaml").nodes
    assert first.entries["labels"].value.plain() == {"tenant": 'a: "b" #c'}
