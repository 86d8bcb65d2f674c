"""How near the conditions of a rule came to their levels in one stream: what a failed test says beside `nothing fired`.

Owns `Near`. The largest statistic comes from `detectors/shapes.py`, which places levels and shares no code with the
kernel; it never learns how conditions join, so a rule can stay silent although each of them is beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from dosimeter.detectors.frames import CODE_UNSCORED, Codes
from dosimeter.detectors.levels import Shape
from dosimeter.detectors.shapes import NEVER, token_statistics, unit_statistics
from dosimeter.detectors.shapes import Stream as Line
from dosimeter.rules.atoms import Atom, ends_scope
from dosimeter.rules.language.condition import Condition
from dosimeter.rules.language.schema import Rule
from dosimeter.rules.program import Program
from dosimeter.rules.testing.runs import decimal
from dosimeter.rules.testing.streams import Positions, Stream


@dataclass(frozen=True, slots=True)
class Near:
    """One condition. came: its statistic at its highest, lowest where the rule asks for below; None: never decided.

    at: the token of that. first: the first at which it was beyond; moments: the positions of all of them.
    negated: the rule fires only where it is not met.
    """

    condition: Condition
    threshold: int
    came: int | None
    at: str | None
    negated: bool = False
    first: str | None = None
    moments: tuple[int, ...] = ()

    @property
    def beyond(self) -> bool:
        side = self.condition.direction
        return self.came is not None and self.came * side > self.threshold * side

    def __str__(self) -> str:
        c = self.condition
        text = c.as_json()
        side = "above" if c.direction == 1 else "below"
        shape = [
            f"{key} {text[key]}" for key in ("for", "at-least", "average", "share") if key in text
        ]
        enough = [f"{key} {text[key]}" for key in ("min-tokens", "coverage") if key in text]
        levels = ", ".join([f"{side} `{c.level.text}`", *shape, *enough])
        said = f"{'not ' if self.negated else ''}`{c.feature}` in {text['in']}, {levels}"
        sd = decimal(self.threshold)
        if self.came is None:
            kind, n = c.shape.kind, c.shape.n
            least = (
                f"{n} scored tokens in a row"
                if kind in ("for", "average")
                else "enough that was scored"
            )
            return f"{said}: never decided, {least} never came"
        where = f" at {self.at}" if self.at else ""
        verdict = "" if self.beyond else "not "
        first = f"first {side} at {self.first}; " if self.first not in (None, self.at) else ""
        return f"{said}: {first}came to {decimal(self.came)} sd{where}, {verdict}{side} {sd} sd"


def nearness(rule: Rule, program: Program, stream: Stream) -> list[Near]:
    """One for each condition of the rule, in its order. program: of that rule alone."""
    literals = program.rules[0].logic.literals
    found = [
        _near(condition, program.atoms[literal.atom], stream)
        for condition, literal in zip(rule.when.conditions, literals, strict=True)
    ]
    negated = [part.negated for part in rule.when.parts for _ in part.conditions]
    return [replace(one, negated=no) for one, no in zip(found, negated, strict=True)]


def apart(rule: Rule, near: Sequence[Near]) -> str | None:
    """How far apart the parts of the rule were true, where that is what kept it from firing. near: of `nearness`."""
    when = rule.when
    if not when.within:
        return None
    left = iter(near)
    parts = [
        (part, sorted({at for _ in part.conditions for at in next(left).moments}))
        for part in when.parts
    ]
    met = [np.array(moments, np.int64) for part, moments in parts if not part.negated]
    if not all(map(len, met)):
        return None
    least = _chain(met) if when.kind == "sequence" else _span(met)
    if least is None:
        return "each was met, but never one after the other in this order"
    if least < when.within:
        return None
    between = "the first and the last" if when.kind == "sequence" else "they"
    return (
        f"each was met, but {between} were at least {least} tokens apart; "
        f"`within: {when.within} tokens` allows {when.within - 1}"
    )


def _chain(met: Sequence[Positions]) -> int | None:
    """Least distance of first and last, one of each in ascending order; None where there is no such order."""
    begins = met[0]  # by the position at which a chain ends, the latest at which one can begin
    for before, now in pairwise(met):
        at = np.searchsorted(before, now, side="left") - 1
        latest = np.maximum.accumulate(begins)
        begins = np.where(at >= 0, latest[np.maximum(at, 0)], -1)
    found = (met[-1] - begins)[begins >= 0]
    return int(found.min()) if len(found) else None


def _span(met: Sequence[Positions]) -> int:
    """Length of the shortest stretch with one of each: it ends at one, and begins at the latest of another."""
    ends = np.unique(np.concatenate(met))
    begins = np.full(len(ends), ends[-1])
    for moments in met:
        at = np.searchsorted(moments, ends, side="right") - 1
        begins = np.minimum(begins, np.where(at >= 0, moments[np.maximum(at, 0)], -1))
    return int((ends - begins)[begins >= 0].min())


def _near(condition: Condition, atom: Atom, stream: Stream) -> Near:
    codes, rows = _line(condition, stream)
    signed = np.where(codes == CODE_UNSCORED, codes, atom.direction * codes).astype(np.int16)
    scopes = np.zeros(len(codes), np.uint8)
    scopes[rows] = stream.scopes
    for row in np.flatnonzero(
        np.diff(rows, prepend=-1) > 1
    ):  # a gap: tokens of what follows, not scored
        start = 0 if row == 0 else rows[row - 1] + 1
        scopes[start : rows[row]] = stream.scopes[row]
    line = Line(signed, np.array([0, len(signed)], np.int64), scopes)
    shape = Shape(condition.shape.kind, atom.n, atom.k, atom.least, atom.coverage)
    values = unit_statistics(line, condition.scope, shape)
    if not len(values) or values[0] == NEVER:
        return Near(condition, atom.threshold, None, None)
    at = first = None
    per_token = token_statistics(line, condition.scope, shape)
    scored = np.flatnonzero((scopes == int(condition.scope)) & (signed != CODE_UNSCORED))
    beyond = scored[per_token > atom.direction * atom.threshold]
    if not ends_scope(atom):
        at = stream.label(int(scored[int(np.argmax(per_token))]), False)
        first = stream.label(int(beyond[0]), False) if len(beyond) else None
    came = atom.direction * int(values[0])
    moments = tuple(beyond.tolist())
    return Near(condition, atom.threshold, came, at, False, first, moments)


def _line(condition: Condition, stream: Stream) -> tuple[Codes, Positions]:
    """The condition's column by position, unscored where none came; and the position of each row."""
    columns = [stream.codes[:, stream.features.index(name)] for name in condition.features]
    mine = columns[0] if condition.score is None else condition.score.codes(columns)
    rows = stream.positions
    codes = np.full(int(rows[-1]) + 1, CODE_UNSCORED, np.int16)
    codes[rows] = mine
    return codes, rows
