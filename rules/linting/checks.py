"""What will surprise in one rule that can be read: levels that mislead, parts that can never be, tests that lack.

Owns a check for each and its words. For whom it is and what becomes of its hits is `checks_policy.py`, what rules say
together `checks_among.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import date
from itertools import combinations, product

from dosimeter.detectors.findings import Severity, hint_for, visible
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import WHOLE, WINDOWED
from dosimeter.detectors.reader import Reader
from dosimeter.rules.atoms import RUNNING
from dosimeter.rules.language.condition import Condition
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.language.second import SecondRule
from dosimeter.rules.language.when import Part, strictness
from dosimeter.rules.linting.checks_policy import Written, check_policy
from dosimeter.rules.testing.cases import read_tests

_AT_END = (*WHOLE, "average_last")
_ASKED = {Scope.SYSTEM, Scope.MESSAGE}
_ANSWERED = {Scope.ANSWER, Scope.REASONING}


def check(
    written: Written, features: Collection[str] | None, day: date | None, reader: Reader
) -> None:
    """features: the names that are defined, None: not judged. day: None, no date is judged."""
    rule = written.rule
    if isinstance(rule, Rule):
        for condition in rule.when.conditions:
            _feature(condition, features, reader)
            _scope(condition, reader)
            _level(condition, reader)
        _together(rule, reader)
        _tests(rule, reader)
    _status(rule, reader)
    if rule.status in RUNNING:
        check_policy(written, day, reader)


def implies(one: Condition, other: Condition) -> bool:
    """Whether the other holds wherever the one does: the same, or the same at a looser level."""
    if one.level.noun != other.level.noun or replace(one, level=other.level) != other:
        return False
    return strictness(other.level, one.direction) <= strictness(one.level, one.direction)


def _feature(condition: Condition, features: Collection[str] | None, reader: Reader) -> None:
    for feature in condition.features:
        if features is not None and feature not in features:
            place = condition.places["feature" if condition.score is None else "score"]
            message = f"unknown feature `{visible(feature)}`"
            reader.error(place, message, hint_for(feature, features), "unknown-feature")


def _scope(condition: Condition, reader: Reader) -> None:
    """No tap marks reasoning yet: its tokens count as the answer's."""
    if condition.scope is Scope.REASONING:
        message = "no tap of this release marks `reasoning`: this condition is never met"
        hint = "write `in: answer`, which holds those tokens"
        reader.report("scope-unseen", "warning", condition.places["in"], message, hint)


def _level(condition: Condition, reader: Reader) -> None:
    """A share of tokens is not what an analyst means by `1 in 1000`: long answers have many."""
    if condition.level.noun == "tokens":
        place = condition.places["above" if condition.direction == 1 else "below"]
        noun = "messages" if condition.scope is Scope.MESSAGE else "answers"
        level = condition.level.text
        message = f"level `{level}` counts tokens: every answer has hundreds of chances"
        hint = f"write `1 in N {noun}` for a rate that people can plan with"
        reader.report("level-tokens", "warning", place, message, hint)


def _together(rule: Rule, reader: Reader) -> None:
    """Parts of one rule that contradict or repeat each other."""
    when, at = rule.when, rule.places["when"]
    wanted = [part for part in when.parts if not part.negated]
    for part, refused in product(wanted, [part for part in when.parts if part.negated]):
        if all(any(implies(c, no) for no in refused.conditions) for c in part.conditions):
            message = f"{_named(part)} is asked for, and refused under `not`: this never fires"
            hint = "keep one of the two, or give `not` a stricter level"
            reader.error(at, message, hint, "impossible")
    if when.kind == "all":
        seen: set[Part] = set()
        for part in when.parts:
            if part in seen:
                message = f"{_named(part)} stands twice under `all`"
                reader.report("repeated", "warning", at, message, "remove one")
            seen.add(part)
    for part in when.parts:
        if len(set(part.conditions)) < len(part.conditions):
            message = "the same condition stands twice under `any`"
            reader.report("repeated", "warning", at, message, "remove one")
    _order(rule, reader)
    _taken_back(rule, reader)
    if not when.within:
        return
    shapes = [condition.shape for condition in when.conditions]
    tokens = all(shape.kind not in _AT_END for shape in shapes)
    if when.kind == "sequence" and tokens and when.within < len(when.parts):
        message = f"{len(when.parts)} that come one after the other, within {when.within} tokens"
        hint = f"each takes a token of its own: at least `within: {len(when.parts)} tokens`"
        reader.error(when.places["within"], message, hint, "impossible")
    longest = max((s.n for s in shapes if s.kind in WINDOWED and s.kind not in _AT_END), default=0)
    if longest > when.within:
        message = f"a window of {longest} tokens reaches back further than `within`"
        hint = (
            "`within` counts from the token at which a condition is met, not from where its window "
            f"begins: `within: {longest} tokens` or more says what it seems to"
        )
        reader.report("window-within", "warning", when.places["within"], message, hint)


def _order(rule: Rule, reader: Reader) -> None:
    """Of one request every message stands before what answers it."""
    if rule.when.kind != "sequence":
        return
    scopes = [{condition.scope for condition in part.conditions} for part in rule.when.parts]
    for early, late in combinations(scopes, 2):
        if early <= _ANSWERED and late <= _ASKED:
            first, then = (min(found).name.lower() for found in (early, late))
            message = f"a stage in `{first}` before one in `{then}`: this never fires"
            hint = f"within one request the {then} comes before the {first}: swap the two"
            reader.error(rule.places["when"], message, hint, "impossible")
            return


def _taken_back(rule: Rule, reader: Reader) -> None:
    """A `not` of another feature, which sees the answer up to the token at which the rule fires."""
    if rule.when.kind != "all":
        return
    wanted = [part for part in rule.when.parts if not part.negated]
    read = {name for part in wanted for c in part.conditions for name in c.features}
    refused = [c for part in rule.when.parts if part.negated for c in part.conditions]
    at_end = any(
        all(c.shape.kind in _AT_END and c.scope is Scope.ANSWER for c in part.conditions)
        for part in wanted
    )
    if at_end or not any(c.scope is Scope.ANSWER and not read & {*c.features} for c in refused):
        return
    for part in wanted:
        if any(_at_token(c) for c in part.conditions):
            message = (
                f"{_named(part)} fires at a token: what `not` refuses does not take it back later"
            )
            hint = (
                "to let a warning after it count, decide at the answer's end with "
                "`average: answer` in the first; else leave it"
            )
            reader.report("not-later", "note", rule.places["when"], message, hint)
            return


def _at_token(condition: Condition) -> bool:
    return condition.scope is Scope.ANSWER and condition.shape.kind not in _AT_END


def _named(part: Part) -> str:
    names = " or ".join(f"`{condition.feature}`" for condition in part.conditions)
    return names if len(names) < 80 else f"one of {len(part.conditions)} conditions"


def _status(rule: Rule | SecondRule, reader: Reader) -> None:
    place = rule.places["status"]
    if rule.status not in RUNNING:
        hint = "`shadow` runs it without notifying" if rule.status == "draft" else None
        message = f"rule `{rule.id}` is `{rule.status}`: it does not run"
        reader.report(rule.status, "note", place, message, hint)
    elif rule.status == "live" and rule.severity == "critical" and not rule.runbook:
        message = f"`critical` rule `{rule.id}` without `runbook`"
        hint = "say where the person who is woken finds what to do"
        reader.report("no-runbook", "warning", rule.places["severity"], message, hint)


def _tests(rule: Rule, reader: Reader) -> None:
    """One in which it fires and one in which it does not; whether they come true is for `rules test` to say."""
    before = len(reader.findings)
    tests = read_tests(rule, reader)
    if len(reader.findings) > before or rule.status not in RUNNING:
        return
    severity: Severity = "warning" if rule.status == "live" else "note"
    hint = "write one of each kind, so that the next change of the rule is a change on purpose"
    if rule.tests is None:
        message = f"`{rule.status}` without `tests`"
        reader.report("no-tests", severity, rule.places["status"], message, hint)
        return
    kinds = {"in which it fires": True, "in which it stays quiet": False}
    if missing := [k for k, fires in kinds.items() if fires not in (bool(t.expect) for t in tests)]:
        message = f"no test {' and none '.join(missing)}"
        reader.report("no-tests", severity, rule.tests, message, hint)
