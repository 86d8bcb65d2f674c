"""Levels without a calibration: every statistic is taken for one draw of a standard normal.

So the tests of a rule mean the same wherever they run: `z 2` lies at 2 benign sd, `1 in 1000 answers` at 3.09, where
one draw in 1000 lies beyond, whatever the shape and the noun. What really fires so often is a calibration's to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from statistics import NormalDist

from dosimeter.detectors.frames import CODES_PER_SD, Scope
from dosimeter.detectors.levels import Level, LevelError, Shape
from dosimeter.rules.language.expr import Expr

NAME = "unit-normal"
ANSWERS_PER_DAY = 1_000_000
"""What a level `20 a day` counts them of."""


@dataclass(frozen=True, slots=True)
class UnitNormal:
    """`placing.Levels` for these features."""

    features: tuple[str, ...]

    @property
    def packs(self) -> tuple[str, ...]:
        return (NAME,) * len(self.features)

    @property
    def digest(self) -> str:
        return NAME

    def code(self, level: Level, feature: str, scope: Scope, shape: Shape, direction: int) -> int:
        level.check(scope, shape)
        if level.noun == "z":
            return level.z_code()
        every = ANSWERS_PER_DAY / level.value if level.noun == "day" else level.value
        if every <= 1:
            raise LevelError(
                f"level `{level.text}` is every answer",
                f"tests count it of {ANSWERS_PER_DAY} answers a day",
            )
        # The lower tail keeps its digits where the upper one is near 1. A whole code is beyond it where it is beyond
        # the whole code before it.
        lies = floor(-NormalDist().inv_cdf(float(1 / every)) * CODES_PER_SD)
        return direction * lies

    def of_score(self, score: Expr, pack: str) -> UnitNormal:
        """The score is a standard normal too, however its features move together."""
        return UnitNormal((score.text,))
