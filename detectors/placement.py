"""Placing a threshold among benign statistics: `Placement`, or `NotEnough` data to say.

The smallest integer threshold that at most one in N benign units exceeds, counted exactly, so that
ties fall on the quiet side; and whether that can be certified. It is given integers and never learns where
they came from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dosimeter.detectors.binomial import needed, upper_bound
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
    n_units               benign units of its own it was placed on; noun says which
    own                   share of the placement that is the route's own, the rest being the pool's; 1 without a route
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
    own: float = 1.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whether, with 95 % confidence, at most the level's share of benign units exceeds `threshold`.

    threshold  the lowest that can be certified on these units; None where none can
    allowed    units that exceed it · more: benign units still missing for any certificate, 0 with one
    """

    certified: bool
    threshold: int | None
    allowed: int
    bound95: float
    more: int
    sentence: str


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


def place_blended(
    what: str, noun: str, own: Ints, pool: Ints, every: Fraction, base: int, pool_base: int
) -> Placement:
    """A route with too little traffic of its own, shrunk to the pool by how much of it there is.

    The exceeding share that is held down is w of the route's plus 1 - w of the pool's, w being the route's
    expected exceedances over the LEAST_EXPECTED that would let it stand alone. base, pool_base: units of
    which the level speaks, as in `place_share`. Raises NotEnough where the pool cannot carry it either.
    """
    expected = base / every
    if expected >= LEAST_EXPECTED:
        return place_share(what, noun, own, every, base)
    if pool_base / every < LEAST_EXPECTED:
        raise NotEnough(what, noun, pool_base, -(-(LEAST_EXPECTED * every) // 1))
    share = float(expected) / LEAST_EXPECTED if base else 0.0
    values = np.concatenate([own, pool])
    weights = np.concatenate(
        [np.full(len(own), share / max(base, 1)), np.full(len(pool), (1 - share) / pool_base)]
    )
    order = np.argsort(-values, kind="stable")
    values, above = values[order], np.cumsum(weights[order])
    ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)  # ties exceed together
    within = above[ends] <= float(1 / every) * (1 + 1e-12)
    # The threshold is the first value whose own group would be too many: all above it are within.
    place = int(np.argmin(within)) if not within.all() else len(ends) - 1
    threshold = int(values[ends[place]])
    if threshold == NEVER:
        raise NotEnough(f"{what}: a placed threshold", f"{noun} long enough", 0, LEAST_EXPECTED)
    placed = place_fixed(threshold, noun, own, expected)
    warning = (
        f"{len(own)} {noun} of its own: {share:.0%} of the placement, the rest is the pool's; "
        f"alone it needs {-(-(LEAST_EXPECTED * every) // 1)}"
    )
    return replace(placed, warnings=(*placed.warnings, warning), own=share)


def certify(noun: str, values: Ints, every: Fraction) -> Certificate:
    """The lowest threshold at which the one-sided 95 % bound of the exceeding share is within one in `every`."""
    n, share = len(values), float(1 / every)
    least = needed(0, share)
    if n < least or upper_bound(0, n) > share:
        said = f"not certified: label {least - n:,} more {noun}"
        return Certificate(False, None, 0, upper_bound(0, n) if n else 1.0, least - n, said)
    low, high = (
        0,
        int(share * n) + 1,
    )  # upper_bound grows with k, and at k = share * n it is above the share
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if upper_bound(middle, n) <= share else (low, middle)
    place = n - 1 - low
    threshold = int(np.partition(values, place)[place])
    if threshold == NEVER:
        said = f"not certified: too few {noun} are long enough for the window"
        return Certificate(False, None, 0, upper_bound(0, n), 0, said)
    above = int((values > threshold).sum())
    bound = upper_bound(above, n)
    said = f"certified: with 95 % confidence at most {bound:.3g} of benign {noun} are above"
    return Certificate(True, threshold, above, bound, 0, said)
