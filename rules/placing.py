"""From what a rule says to the atoms that decide it: columns found, levels placed, equal atoms shared.

Owns `Builder`, and `Levels`, what it asks a calibration for. It never learns how a threshold is estimated:
`detectors/calibrate.py` places every level, or, in the tests of a rule, `unit_normal.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dosimeter.detectors.calibrate import Calibration, NotCalibrated
from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, Scope
from dosimeter.detectors.levels import Level, Shape
from dosimeter.rules.atoms import Atom, Clause, Literal, Logic
from dosimeter.rules.language.condition import Condition
from dosimeter.rules.language.expr import Expr
from dosimeter.rules.language.schema import Rule


class BankColumn(Protocol):
    """What a column of the bank reads: the feature, and the digest of the pack it came from."""

    @property
    def feature(self) -> str: ...
    @property
    def pack(self) -> str: ...


class Levels(Protocol):
    """Where levels lie. A calibration is made one by `Measured`."""

    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def packs(self) -> tuple[str, ...]:
        """Of each feature the digest of its pack."""

    @property
    def digest(self) -> str: ...
    def code(self, level: Level, feature: str, scope: Scope, shape: Shape, direction: int) -> int:
        """The threshold in codes. Raises NotCalibrated, NotEnough or LevelError."""

    def of_score(self, score: Expr, pack: str) -> Levels:
        """With the expression as the one feature, called by its text."""


class Inactive(ValueError):
    """Why a rule may not alert, where no calibration could say so."""


class Builder:
    """The atoms and computed columns of one program, while its rules are placed one by one.

    used      the atoms so far, each once
    computed  expressions, of which the codes stand behind the bank's columns, in this order
    """

    def __init__(
        self, columns: Sequence[BankColumn], calibrations: Sequence[Calibration | Levels]
    ) -> None:
        self._columns = columns
        self._calibrations: dict[tuple[str, str], Levels] = {}
        for given in calibrations:
            calibration = Measured(given) if isinstance(given, Calibration) else given
            for pair in zip(calibration.features, calibration.packs, strict=True):
                kept = self._calibrations.setdefault(pair, calibration)
                if kept.digest != calibration.digest:
                    raise ValueError(f"two calibrations of `{pair[0]}` with pack {pair[1][:12]}")
        self._atoms: dict[Atom, int] = {}
        self._computed: dict[Expr, int] = {}
        self._scored: dict[tuple[int, Expr, str], Levels] = {}

    @property
    def used(self) -> tuple[Atom, ...]:
        return tuple(self._atoms)

    @property
    def computed(self) -> tuple[Expr, ...]:
        return tuple(self._computed)

    def logic(self, rule: Rule) -> Logic:
        """Raises Inactive, NotCalibrated, NotEnough or LevelError, and nothing is kept of the rule then."""
        placed = {
            id(condition): (*self._stream(condition), condition)
            for condition in rule.when.conditions
        }
        thresholds = {
            key: _threshold(stream, condition, condition.level)
            for key, (_, stream, condition) in placed.items()
        }
        clear = None
        if rule.clear is not None:
            ((key, (_, stream, condition)),) = placed.items()
            code = _threshold(stream, condition, rule.clear.level) + condition.direction
            if condition.direction * (code - thresholds[key]) > 1 or abs(code) > CODE_MAX:
                raise Inactive(
                    f"`clear` at `{rule.clear.level.text}` lies beyond the rule's own level"
                )
            clear = Shape("for", rule.clear.n), code, rule.clear.direction
        clauses = tuple(
            Clause(
                tuple(
                    self._literal(c, *placed[id(c)][:2], thresholds[id(c)]) for c in part.conditions
                ),
                part.negated,
            )
            for part in rule.when.parts
        )
        index = None
        if clear is not None:
            shape, code, direction = clear
            index = self._index(self._atom(condition, shape, code, direction))
        return Logic(clauses, rule.when.kind, rule.when.within, index)

    def _literal(self, condition: Condition, pack: str, stream: Levels, threshold: int) -> Literal:
        atom = self._atom(condition, condition.shape, threshold, condition.direction)
        return Literal(
            self._index(atom), condition.feature, pack, stream.digest, condition.level.text
        )

    def _index(self, atom: Atom) -> int:
        return self._atoms.setdefault(atom, len(self._atoms))

    def _atom(self, condition: Condition, shape: Shape, threshold: int, direction: int) -> Atom:
        if condition.score is None:
            column = [c.feature for c in self._columns].index(condition.feature)
        else:
            own = self._computed.setdefault(condition.score, len(self._computed))
            column = len(self._columns) + own
        return Atom(
            column, condition.scope, direction, shape.kind, shape.n, threshold, shape.k,
            shape.least, shape.coverage,
        )  # fmt: skip

    def _stream(self, condition: Condition) -> tuple[str, Levels]:
        """The pack behind a condition's column, and a calibration that holds its codes."""
        found = {self._calibrated(feature) for feature in condition.features}
        if condition.score is None:
            ((pack, calibration),) = found
            return pack, calibration
        if len(found) > 1:
            raise Inactive(
                f"`{condition.feature}` reads features of {len(found)} packs or calibrations; "
                "a score is made of one pack's, calibrated together"
            )
        ((pack, calibration),) = found
        key = id(calibration), condition.score, pack
        if key not in self._scored:
            self._scored[key] = calibration.of_score(condition.score, pack)
        return pack, self._scored[key]

    def _calibrated(self, feature: str) -> tuple[str, Levels]:
        features = [c.feature for c in self._columns]
        if feature not in features:
            raise Inactive(f"no loaded pack scores `{feature}`; scored here: {_listed(features)}")
        pack = self._columns[features.index(feature)].pack
        calibration = self._calibrations.get((feature, pack))
        if calibration is not None:
            return pack, calibration
        others = sorted(p[:12] for f, p in self._calibrations if f == feature)
        if others:
            raise Inactive(
                f"`{feature}` was calibrated with pack {', '.join(others)}, "
                f"loaded is {pack[:12]}: it may not alert; calibrate again"
            )
        raise NotCalibrated(feature, sorted({f for f, _ in self._calibrations}))


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Levels as benign traffic has them."""

    calibration: Calibration

    @property
    def features(self) -> tuple[str, ...]:
        return self.calibration.features

    @property
    def packs(self) -> tuple[str, ...]:
        return self.calibration.packs

    @property
    def digest(self) -> str:
        return self.calibration.digest

    def code(self, level: Level, feature: str, scope: Scope, shape: Shape, direction: int) -> int:
        calibration = self.calibration
        if direction == 1 or level.noun == "z":
            return calibration.place(level, feature, scope, shape).threshold
        # the lower tail is the upper tail of the negated codes
        codes = calibration.stream(feature).codes
        negated = np.where(codes == CODE_UNSCORED, codes, -codes)[:, None]
        packs = (calibration.packs[calibration.features.index(feature)],)
        mirror = replace(calibration, features=(feature,), packs=packs, codes=negated)
        return -mirror.place(level, feature, scope, shape).threshold

    def of_score(self, score: Expr, pack: str) -> Measured:
        """The same requests, with the codes of the expression as the one column."""
        codes = score.codes([self.calibration.stream(f).codes for f in score.features])
        return Measured(
            replace(self.calibration, features=(score.text,), packs=(pack,), codes=codes[:, None])
        )


def _threshold(levels: Levels, condition: Condition, level: Level) -> int:
    """In codes. Raises Inactive where none is beyond it."""
    threshold = levels.code(
        level, condition.feature, condition.scope, condition.shape, condition.direction
    )
    if threshold * condition.direction >= CODE_MAX:
        raise Inactive(
            f"`{level.text}` of `{condition.feature}` lies where codes saturate: nothing is beyond"
        )
    return threshold


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"
