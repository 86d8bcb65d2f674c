"""How near the conditions of a rule came to their levels in one stream: what a failed test says beside `nothing fired`.

Owns `Near`. The largest statistic comes from `detectors/shapes.py`, which places levels and shares no code with the
kernel; it never learns how conditions join, so a rule can stay silent although each of them is beyond.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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

    negated: the rule fires only where it is not met.
    """

    condition: Condition
    threshold: int
    came: int | None
    at: str | None
    negated: bool = False

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
        return f"{said}: came to {decimal(self.came)} sd{where}, {verdict}{side} {sd} sd"


def nearness(rule: Rule, program: Program, stream: Stream) -> list[Near]:
    """One for each condition of the rule, in its order. program: of that rule alone."""
    literals = program.rules[0].logic.literals
    found = [
        _near(condition, program.atoms[literal.atom], stream)
        for condition, literal in zip(rule.when.conditions, literals, strict=True)
    ]
    negated = [part.negated for part in rule.when.parts for _ in part.conditions]
    return [replace(one, negated=no) for one, no in zip(found, negated, strict=True)]


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
    at = None
    if not ends_scope(atom):
        per_token = token_statistics(line, condition.scope, shape)
        scored = np.flatnonzero((scopes == int(condition.scope)) & (signed != CODE_UNSCORED))
        at = stream.label(int(scored[int(np.argmax(per_token))]), False)
    return Near(condition, atom.threshold, atom.direction * int(values[0]), at)


def _line(condition: Condition, stream: Stream) -> tuple[Codes, Positions]:
    """The condition's column by position, unscored where none came; and the position of each row."""
    columns = [stream.codes[:, stream.features.index(name)] for name in condition.features]
    mine = columns[0] if condition.score is None else condition.score.codes(columns)
    rows = stream.positions
    codes = np.full(int(rows[-1]) + 1, CODE_UNSCORED, np.int16)
    codes[rows] = mine
    return codes, rows
