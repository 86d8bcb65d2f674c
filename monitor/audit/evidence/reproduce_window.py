"""The conditions of a stored alert, said again from the codes around its span alone.

For an alert whose request the archive no longer has. Owns what a window of codes suffices for: it knows the scope of
the tokens from the beginning of the condition's scope, which the record says, up to the deciding one; of those before
it knows nothing. The statistics are worked out from their definitions (`rules/atoms.py`), not by the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np

from dosimeter.detectors.frames import CODE_UNSCORED, SEGMENTS, Codes, Scope, ScoreFrame
from dosimeter.detectors.levels import WHOLE
from dosimeter.monitor.audit.evidence.evidence_body import Body
from dosimeter.rules.atoms import Atom, CompiledRule, Literal
from dosimeter.rules.engine import Condition, Engine, Hit
from dosimeter.rules.policy import EVERYONE
from dosimeter.rules.program import Program

Found = tuple[int, int, int]
"""start, value_sum, value_n"""


class TooShort(Exception):
    """The window does not have what the condition looked at. Says what is missing."""


class NotMet(Exception):
    """By the stored codes the condition is not true there. Says where and why."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The window's codes of one scope, from where it begins, or the window does, up to the deciding token."""

    codes: list[int]
    start: int
    whole: bool  # it begins where the scope does

    @property
    def recent(self) -> list[int]:
        """Without a break up to the end."""
        return list(takewhile(lambda code: code != CODE_UNSCORED, reversed(self.codes)))[::-1]


def hit_in_window(
    claim: Mapping[str, Any], body: Body, program: Program, rule: CompiledRule, exempt: Any
) -> Hit:
    """The hit as the window says it. Raises TooShort, or NotMet where the window contradicts the record."""
    conditions = [_condition(claim, "", body, program, rule)]
    conditions += [
        _condition(one, f"also[{i}].", body, program, rule)
        for i, one in enumerate(claim.get("also", []))
    ]
    decided = conditions[0]
    if len(rule.logic.clauses) > 1:
        raise TooShort("the rule has several conditions, and what they met before is not kept")
    if rule.logic.clear is None:
        _nothing_earlier(decided, body, program, rule)
    return Hit(
        rule=rule.rule,
        key=int(claim["key"], 16),
        position=decided.position,
        decided=decided,
        also=tuple(conditions[1:]),
        program=program.digest,
        compiled=rule,
        exempt=exempt,
    )


def _condition(
    said: Mapping[str, Any], place: str, body: Body, program: Program, rule: CompiledRule
) -> Condition:
    """That of the rule which the record speaks of; of several that are called alike, the one that says the same."""
    alike = _named(said, place, program, rule)
    claimed = said["start"], said["value_sum"], said["value_n"]
    found = [_met(said, literal, program.atoms[literal.atom], body, program) for literal in alike]
    met = [one for one in found if one is not None]
    if not met:
        level = f"`{said['feature']}` is not beyond `{said['level']}` at {said['end'] - 1}"
        raise NotMet(f"{place}position: {level}")
    same = (one for one in met if (one.start, one.value_sum, one.value_n) == claimed)
    return next(same, met[0])


def _named(
    said: Mapping[str, Any], place: str, program: Program, rule: CompiledRule
) -> list[Literal]:
    clauses = rule.logic.clauses
    literals = clauses[said["clause"]].literals if 0 <= said["clause"] < len(clauses) else ()
    found = []
    for literal in literals:
        atom = program.atoms[literal.atom]
        called = (literal.feature, literal.level, atom.scope.name.lower(), atom.shape)
        if called == (said["feature"], said["level"], said["scope"], said["shape"]):
            found.append(literal)
    if not found:
        about = (
            f"no `{said['shape']}` of `{said['feature']}` in `{said['scope']}` at `{said['level']}`"
        )
        raise NotMet(f"{place}feature, scope, shape or level: clause {said['clause']} has {about}")
    thresholds = sorted({program.atoms[one.atom].threshold for one in found})
    if said["threshold_code"] not in thresholds:
        stored = f"stored is `{said['threshold_code']}`"
        raise NotMet(f"{place}threshold_code: {stored}, in the program it is one of {thresholds}")
    return [one for one in found if program.atoms[one.atom].threshold == said["threshold_code"]]


def _met(
    said: Mapping[str, Any], literal: Literal, atom: Atom, body: Body, program: Program
) -> Condition | None:
    end, scored, unscored = said["end"], said["tokens_scored"], said["tokens_unscored"]
    stretch = _stretch(body, _column(body, program, atom), end, scored + unscored)
    found = statistic(atom, stretch, said["start"], scored + unscored)
    if found is None:
        return None
    if stretch.whole:
        there = sum(code != CODE_UNSCORED for code in stretch.codes)
        scored, unscored = there, len(stretch.codes) - there
    return Condition(
        clause=said["clause"],
        literal=literal,
        atom=atom,
        start=found[0],
        end=end,
        value_sum=found[1],
        value_n=found[2],
        tokens_scored=scored,
        tokens_unscored=unscored,
    )


def _column(body: Body, program: Program, atom: Atom) -> Codes:
    """The codes that an atom reads, over the window. Raises TooShort."""
    beyond = atom.column - len(program.columns)
    score = program.computed[beyond] if beyond >= 0 else None
    reads = (program.columns[atom.column],) if score is None else score.features
    missing = [name for name in reads if name not in body.columns]
    if missing:
        raise TooShort(f"the evidence has no codes of `{missing[0]}`")
    held = [body.codes[:, body.columns.index(name)] for name in reads]
    return held[0] if score is None else score.codes(held)


def _stretch(body: Body, codes: Codes, end: int, tokens: int) -> Stretch:
    begins = end - tokens
    if not 0 <= begins < end:
        raise NotMet(f"tokens_scored: a scope of {tokens} tokens cannot end at {end}")
    if not body.first < end <= body.first + len(codes):
        raise TooShort(f"the evidence has no token {end - 1}")
    start = max(begins, body.first)
    part = codes[start - body.first : end - body.first].tolist()
    return Stretch(part, start, start == begins)


def statistic(atom: Atom, stretch: Stretch, said_start: int, tokens: int) -> Found | None:
    """Where and on what values it is true at the end of the stretch; None where it is not. Raises TooShort.

    said_start: of a whole scope, as its first tokens may never have come. tokens: of the scope up to here.
    """
    end, recent = stretch.start + len(stretch.codes), stretch.recent
    if atom.shape in WHOLE:
        if not stretch.whole:
            raise TooShort(f"the evidence begins at token {stretch.start}, within the scope")
        return _of_scope(atom, stretch, said_start, tokens)
    # Further back than the window lies may be more of the same.
    cut = not stretch.whole and len(recent) == len(stretch.codes)
    window = recent[-atom.n :]
    if atom.shape in ("once", "for"):
        run = list(takewhile(lambda code: over(atom, code, 1), reversed(recent)))
        if atom.shape == "once":
            run = run[:1]
        elif cut and len(run) == len(recent):
            raise TooShort(f"the evidence begins at token {stretch.start}, within the span")
        if len(run) < atom.n:
            return None
        return end - len(run), min(run) if atom.direction == 1 else max(run), 1
    if cut and len(window) < atom.n:
        raise TooShort(f"the evidence begins at token {stretch.start}, within the span")
    if atom.shape == "at_least":
        if len(window) < atom.k:
            return None
        value = sorted(window, reverse=atom.direction == 1)[atom.k - 1]
        return (end - len(window), value, 1) if over(atom, value, 1) else None
    least = atom.n if atom.shape == "average" else 1
    if len(window) < least:
        return None
    found = end - len(window), sum(window), len(window)
    return found if over(atom, *found[1:]) else None


def _of_scope(atom: Atom, stretch: Stretch, said_start: int, tokens: int) -> Found | None:
    scored = [code for code in stretch.codes if code != CODE_UNSCORED]
    before = stretch.codes[: max(0, said_start - stretch.start)]
    start = said_start if all(code == CODE_UNSCORED for code in before) else stretch.start
    count = len(scored)
    if count < max(atom.least, 1) or 100 * count < atom.coverage * tokens:
        return None
    if atom.shape == "average_scope":
        return (start, sum(scored), count) if over(atom, sum(scored), count) else None
    beyond = sum(over(atom, code, 1) for code in scored)
    return (start, beyond, count) if 100 * beyond >= atom.k * count else None


def over(atom: Atom, value: int, count: int) -> bool:
    """Strictly beyond the threshold."""
    return atom.direction * value > atom.direction * atom.threshold * count


def _nothing_earlier(decided: Condition, body: Body, program: Program, rule: CompiledRule) -> None:
    """By the engine: more tokens than are kept could only let it fire sooner."""
    begins = decided.end - decided.tokens_scored - decided.tokens_unscored
    start = max(begins, body.first)
    part = body.codes[start - body.first : decided.end - body.first]
    codes = np.full((len(part), len(program.columns)), CODE_UNSCORED, np.int16)
    for index, name in enumerate(program.columns):
        if name in body.columns:
            codes[:, index] = part[:, body.columns.index(name)]
    alone = replace(program, rules=(replace(rule, policy=EVERYONE),), inactive={})
    hits = replayed(alone, [(start, len(part), decided.atom.scope)], codes)
    early = [hit.position for hit in hits if hit.position < decided.position]
    if early:
        raise NotMet(
            f"position: `{rule.rule}` fires at {early[0]} already, not at {decided.position}"
        )


def replayed(
    program: Program,
    runs: list[tuple[int, int, Scope]],
    codes: Codes,
    *,
    key: int = 0,
    labels: Mapping[str, str] | None = None,
    model: str = "",
) -> list[Hit]:
    """One request by the engine of the line. runs: first position, tokens, scope. labels: all of them vouched for."""
    engine = Engine(program, model=model)
    engine.open(key, labels or {}, frozenset(labels or {}))
    segments = np.array([(key, start, n, int(scope)) for start, n, scope in runs], SEGMENTS)
    hits = engine.step(ScoreFrame(segments, codes, 0, 0))
    return hits + engine.close(key, finished=True)
