"""Placing a threshold among benign statistics: `Placement`, or `NotEnough` data to say.

The smallest integer threshold that at most one in N benign units exceeds, counted exactly, so that
ties fall on the quiet side. It is given integers and never learns where they came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dosimeter.detectors.binomial import upper_bound
from dosimeter.detectors.frames import CODE_MAX
from dosimeter.detectors.shapes import NEVER, Ints

LEAST_EXPECTED = 10
"""A level is placed only where at least this many benign units are expected above it."""


class NotEnough(ValueError):
    """Too few benign units for this level. have, need: units; more: what is still missing."""

    def __init__(self, what: str, noun: str, have: int, need: int) -> None:
        self.have, self.need, self.more = have, need, need - have
        super().__init__(
            f"{what} needs {need} benign {noun}, this calibration has {have}\n"
            f"  hint: collect {self.more} more, or choose a looser level"
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """A level on this traffic. The shape fires where its statistic is strictly above `threshold`.

    threshold             whole codes; for means compare `sum > threshold * n`
    n_units               benign units it was placed on; noun says which
    expected_exceedances  of them, by the level; None for `z`, which promises no rate
    exceedances           of them, by count: never above expected_exceedances
    bound95               one-sided 95 % Clopper-Pearson bound on the true rate
    """

    threshold: int
    noun: str
    n_units: int
    expected_exceedances: Fraction | None
    exceedances: int
    bound95: float
    warnings: tuple[str, ...]


def place_share(what: str, noun: str, values: Ints, every: Fraction, base: int) -> Placement:
    """At most one in `every` of `base` units may exceed; values: the statistics of those that can.

    what: the level in words, for messages. base is above len(values) where some requests have no
    token of the scope. Raises NotEnough under 10 expected exceedances, and where the level could
    only be met by letting every unit exceed that is long enough for the window.
    """
    expected = base / every
    if expected < LEAST_EXPECTED:
        raise NotEnough(what, noun, base, -(-(LEAST_EXPECTED * every) // 1))
    allowed = int(expected)
    able = int((values > NEVER).sum())
    if able <= allowed:
        raise NotEnough(f"{what}: a placed threshold", f"{noun} long enough", able, allowed + 1)
    place = len(values) - 1 - allowed
    threshold = int(np.partition(values, place)[place])
    return place_fixed(threshold, noun, values, expected)


def place_fixed(
    threshold: int, noun: str, values: Ints, expected: Fraction | None = None
) -> Placement:
    """A threshold that is already known, with what it does on these units."""
    above = int((values > threshold).sum())
    bound = upper_bound(above, len(values)) if len(values) else 1.0
    full = f"threshold {threshold} is where codes saturate: nothing can exceed it"
    warnings = (full,) if threshold >= CODE_MAX else ()
    return Placement(threshold, noun, len(values), expected, above, bound, warnings)
