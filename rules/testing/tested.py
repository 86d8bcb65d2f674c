"""Rules and what their tests say: the check before a rule file is taken, and `dosimeter rules test`.

Owns `Tested`. It never learns how it is shown (`tested_text.py`, `junit.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dosimeter.detectors.reader import Reader
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.placing import Levels
from dosimeter.rules.testing.cases import RuleTest, features_of, read_tests
from dosimeter.rules.testing.mutation import MutationScore, mutate
from dosimeter.rules.testing.nearness import apart, nearness
from dosimeter.rules.testing.trial import Trial, Unplaced, Verdict
from dosimeter.rules.testing.unit_normal import UnitNormal


@dataclass(frozen=True, slots=True)
class Tested:
    """One rule. unplaced: why it cannot run on these levels, so that no test was; mutation: where it was asked for."""

    __test__ = False  # what pytest would make of the name
    rule: Rule
    tests: tuple[RuleTest, ...]
    verdicts: tuple[Verdict, ...]
    trial: Trial | None
    unplaced: str = ""
    mutation: MutationScore | None = None

    @property
    def failed(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)

    @property
    def good(self) -> bool:
        return not self.unplaced and not self.failed


def run_tests(
    rules: Sequence[Rule], levels: Levels | None = None, mutants: bool = False
) -> list[Tested]:
    """One for each rule, in their order. levels: None where tests are to mean the same everywhere (`unit_normal.py`).

    Raises InputError where a test cannot be read. A rule whose tests fail is not changed for mutants.
    """
    reader = Reader()
    read = [(rule, read_tests(rule, reader)) for rule in rules]
    reader.refuse_if_wrong()
    return [
        _tested(rule, tests, levels or UnitNormal(features_of(rule)), mutants)
        for rule, tests in read
    ]


def _tested(rule: Rule, tests: tuple[RuleTest, ...], levels: Levels, mutants: bool) -> Tested:
    try:
        trial = Trial(rule, levels)
    except Unplaced as error:
        return Tested(rule, tests, (), None, str(error).replace("\n  hint: ", "; "))
    verdicts = tuple(trial.run(test) for test in tests)
    done = Tested(rule, tests, verdicts, trial)
    if not mutants or not done.good:
        return done
    return Tested(rule, tests, verdicts, trial, "", mutate(trial, tests, levels))


def explained(tested: Tested, verdict: Verdict) -> list[str]:
    """What a failed test is told beside the places: whom the rule is for, and how near each condition came."""
    if tested.trial is None:
        return []
    wrong = [
        *(one.request for one in verdict.missing),
        *(one.request for one in verdict.unexpected),
    ]
    number = min(wrong, default=1)
    request = verdict.test.requests[number - 1]
    vouched = {name: request.labels[name] for name in request.trusted}
    lines = []
    if not tested.rule.policy.applies(vouched, request.model):
        lines.append("`only` does not let these trusted labels through")
    near = nearness(tested.rule, tested.trial.program, request.stream)
    lines += map(str, near)
    if verdict.missing and (far := apart(tested.rule, near)) is not None:
        lines.append(far)
    return lines
