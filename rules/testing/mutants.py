"""Rules that differ from a rule in one step: what its tests should notice.

Owns the steps. Of each condition: level (twice and half the N of `1 in N` and of `N a day`, a tenth of an sd or 5 % of
`z`), every length, count and share by one, scope, side, shape, `min-tokens`, `coverage`; of the rule: `within` and
`clear`, a `not`, a condition left out, the order of a sequence, `only` and `unless`. It never learns what a test says,
nor which steps change anything: `mutation.py` places them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from dosimeter.detectors.findings import Place
from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import MOST_OF, WHOLE, WINDOWED, Level, LevelError, Shape
from dosimeter.rules.atoms import MAX_TOKENS, MAX_WITHIN
from dosimeter.rules.language.condition import Condition
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.language.when import Part, When
from dosimeter.rules.policy import EVERYONES

_OTHER_SCOPE = {Scope.ANSWER: Scope.MESSAGE}  # of every other one: the answer
_NOUNS = {Scope.ANSWER: "answers", Scope.MESSAGE: "messages"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """what: the step, in words; place: of the value that was changed; rule: with it."""

    what: str
    place: Place
    rule: Rule


def mutants(rule: Rule) -> Iterator[Mutant]:
    """All steps of one rule; some may be none in effect, some cannot be placed."""
    for at, part in enumerate(rule.when.parts):
        for index, condition in enumerate(part.conditions):
            for key, changed in _conditions(condition):
                conditions = (*part.conditions[:index], changed, *part.conditions[index + 1 :])
                parts = _with(rule.when.parts, at, replace(part, conditions=conditions))
                what = f"{_said(condition, key)} -> {_said(changed, key, short=True)}"
                if rule.when.single is None:
                    what = f"{what}, of `{condition.feature}`"
                place = condition.places.get(key, rule.places["when"])
                yield Mutant(what, place, _of(rule, replace(rule.when, parts=parts)))
    for what, key, when in _whens(rule.when):
        place = rule.when.places.get(key, rule.places["when"])
        yield Mutant(what, place, _of(rule, when))
    yield from _clears(rule)
    yield from _whose(rule)


def _of(rule: Rule, when: When) -> Rule:
    """A `clear` stays only where it can."""
    return replace(rule, when=when, clear=rule.clear if when.single is not None else None)


def _with(parts: tuple[Part, ...], at: int, part: Part | None) -> tuple[Part, ...]:
    return (*parts[:at], *(() if part is None else (part,)), *parts[at + 1 :])


def _conditions(c: Condition) -> Iterator[tuple[str, Condition]]:
    """(the key that is changed, the condition with it)."""
    side = "above" if c.direction == 1 else "below"
    for level in levels(c.level):
        yield side, replace(c, level=level)
    yield side, replace(c, direction=-c.direction)
    yield "in", _elsewhere(c)
    for key, shape in _shapes(c.shape):
        yield key, replace(c, shape=shape)


def levels(level: Level) -> Iterator[Level]:
    """One step looser and stricter."""
    texts = []
    if level.noun == "z":
        step = max(Fraction(1, 10), abs(level.value) / 20)
        for value in (level.value - step, level.value + step):
            text = f"{round(float(value), 2):g}"
            texts.append(f"z {text}")
    else:
        for value in (level.value / 2, level.value * 2):
            whole = max(1, round(value))
            texts.append(f"{whole} a day" if level.noun == "day" else f"1 in {whole} {level.noun}")
    for text in texts:
        try:
            changed = Level.parse(text)
        except LevelError:  # no looser one, or none that codes can hold
            continue
        if changed.value != level.value:
            yield changed


def _elsewhere(c: Condition) -> Condition:
    scope = _OTHER_SCOPE.get(c.scope, Scope.ANSWER)
    level = c.level
    if level.noun in ("answers", "messages"):
        level = Level.parse(f"1 in {level.value} {_NOUNS[scope]}")
    return replace(c, scope=scope, level=level)


def _shapes(s: Shape) -> Iterator[tuple[str, Shape]]:
    key = {"at_least": "at-least", "share": "share", "for": "for"}.get(s.kind, "average")
    most = MOST_OF if s.kind == "at_least" else MAX_TOKENS
    if s.kind in WINDOWED:
        for n in (s.n - 1, s.n + 1):
            if max(1, s.k) <= n <= most:
                yield key, replace(s, n=n)
    if s.kind in ("at_least", "share"):
        for k in (s.k - 1, s.k + 1):
            if 1 <= k <= (s.n if s.kind == "at_least" else 100):
                yield key, replace(s, k=k)
    if s.kind in WHOLE:
        for least in {max(0, s.least - 1), s.least + 1} - {s.least} if s.least else ():
            yield "min-tokens", replace(s, least=least)
        for coverage in (
            {s.coverage - 1, min(100, s.coverage + 1)} - {s.coverage} if s.coverage else ()
        ):
            yield "coverage", replace(s, coverage=coverage)
    kinds = {
        "once": Shape("for", 2),
        "for": Shape("average", s.n),
        "at_least": Shape("for", s.n),
        "average": Shape("for", s.n),
        "average_last": Shape("average", s.n),
        "average_scope": Shape("once"),
        "share": Shape("average_scope", 1, 1, s.least, s.coverage),
    }
    yield key if s.kind != "once" else "feature", kinds[s.kind]


def _whens(when: When) -> Iterator[tuple[str, str, When]]:
    """(in words, the key that is changed, the rest of it)."""
    for within in (when.within - 1, when.within + 1) if when.within else ():
        if 1 <= within <= MAX_WITHIN:
            what = f"`within: {when.within} tokens` -> `{within} tokens`"
            yield what, "within", replace(when, within=within)
    for at, part in enumerate(when.parts):
        said = " or ".join(f"`{c.feature}`" for c in part.conditions)
        left = _with(when.parts, at, None)
        if any(not p.negated for p in left):
            kind = when.kind if len(left) > 1 else "all"
            of = f"`not` {said}" if part.negated else said
            yield (
                f"condition {at + 1}, {of}, left out",
                when.kind,
                replace(when, parts=left, kind=kind),
            )
        if part.negated:
            parts = _with(when.parts, at, replace(part, negated=False))
            yield f"`not` of {said} removed", when.kind, replace(when, parts=parts)
        for index, condition in enumerate(part.conditions):
            if len(part.conditions) > 1:
                rest = (*part.conditions[:index], *part.conditions[index + 1 :])
                parts = _with(when.parts, at, replace(part, conditions=rest))
                yield (
                    f"`{condition.feature}` left out of `any`",
                    when.kind,
                    replace(when, parts=parts),
                )
    if when.kind == "sequence":
        for at in range(len(when.parts) - 1):
            first, second = when.parts[at : at + 2]
            parts = (*when.parts[:at], second, first, *when.parts[at + 2 :])
            yield (
                f"steps {at + 1} and {at + 2} of `sequence` swapped",
                "sequence",
                replace(when, parts=parts),
            )
        yield "`sequence` -> `all`", "sequence", replace(when, kind="all")


def _clears(rule: Rule) -> Iterator[Mutant]:
    clear = rule.clear
    if clear is None:
        return
    side = "above" if clear.direction == 1 else "below"
    for level in levels(clear.level):
        what = f"`{side}: {clear.level.text}` of `clear` -> `{level.text}`"
        yield Mutant(what, clear.places[side], replace(rule, clear=replace(clear, level=level)))
    for n in (clear.n - 1, clear.n + 1):
        if 1 <= n <= MAX_TOKENS:
            what = f"`for: {clear.n} tokens` of `clear` -> `{n} tokens`"
            yield Mutant(what, clear.places["for"], replace(rule, clear=replace(clear, n=n)))
    yield Mutant("`clear` removed", rule.places["clear"], replace(rule, clear=None))


def _whose(rule: Rule) -> Iterator[Mutant]:
    policy = rule.policy
    if policy.only != EVERYONES:
        changed = replace(rule, policy=replace(policy, only=EVERYONES))
        yield Mutant("`only` removed", rule.places["only"], changed)
    for at, exemption in enumerate(policy.unless):
        rest = (*policy.unless[:at], *policy.unless[at + 1 :])
        what = f'`unless` for "{exemption.reason}" removed'
        yield Mutant(
            what, rule.places["unless"], replace(rule, policy=replace(policy, unless=rest))
        )


def _said(c: Condition, key: str, short: bool = False) -> str:
    """What the condition says under a key."""
    text = c.as_json()
    if key == "feature":  # `once` has no key of its own
        key = next((k for k in ("for", "average") if k in text), "")
    if key in ("min-tokens", "coverage") and key not in text:
        return "none"
    if key not in text:
        flipped = {"above": "below", "below": "above"}.get(key)
        if flipped in text:
            return f"`{flipped}: {text[flipped]}`"
        shown = next((k for k in ("for", "at-least", "average", "share") if k in text), None)
        return f"`{shown}: {text[shown]}`" if shown else "one token"
    return f"`{text[key]}`" if short else f"`{key}: {text[key]}`"
