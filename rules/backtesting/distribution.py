"""How far stored requests are from a rule's threshold: its first condition's statistic a request, as a histogram.

Of a rule of several conditions that is one of them. A gap in a request is passed over here, where the engine breaks a
window at it. Pure, for drawings alone: what fires is decided by the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODES_PER_SD, Codes, Scope
from dosimeter.detectors.levels import Shape
from dosimeter.detectors.shapes import NEVER, Ints, Stream, unit_statistics, units_of
from dosimeter.rules.atoms import Atom, CompiledRule

REACH_SD, BINS_A_SD = 12, 4
BELOW = REACH_SD * BINS_A_SD
BINS = 2 * BELOW


@dataclass(frozen=True, slots=True)
class Distribution:
    """counts int64 [BINS], weighted: requests by how far their most extreme statistic lies from the threshold, in steps
    of 1 / BINS_A_SD sd. The first BELOW bins hold those that are not beyond it; what lies beyond the ends is in the
    last ones. Where the rule looks below, everything is negated.

    threshold: in sd, from the same side.
    """

    feature: str
    threshold: float
    counts: Ints

    def add(self, counts: Ints) -> Distribution:
        return Distribution(self.feature, self.threshold, self.counts + counts)


def first_condition(rule: CompiledRule, atoms: Sequence[Atom]) -> tuple[str, Atom]:
    """The feature and atom that stand for a rule."""
    clause = next(one for one in rule.logic.clauses if not one.negated)
    literal = clause.literals[0]
    return literal.feature, atoms[literal.atom]


def distribution(
    atom: Atom, feature: str, codes: Codes, runs: Ints, offsets: Ints, one_in: Ints
) -> Distribution:
    """runs, offsets: as a `Part` of the archive has them; codes int16 [T]: of the atom's column."""
    scopes = np.repeat(runs[:, 3], runs[:, 2]).astype(np.uint8)
    signed = codes if atom.direction == 1 else _negated(codes)
    stream = Stream(signed, offsets, scopes)
    shape = Shape(atom.shape, atom.n, atom.k, atom.least, atom.coverage)  # type: ignore[arg-type]
    scope = Scope(atom.scope)
    values, of = unit_statistics(stream, scope, shape), units_of(stream, scope)
    can = values > NEVER
    level = atom.direction * atom.threshold
    bins = BELOW + (values[can] - level - 1) * BINS_A_SD // CODES_PER_SD
    counts = np.bincount(np.clip(bins, 0, BINS - 1), weights=one_in[of[can]], minlength=BINS)
    return Distribution(feature, level / CODES_PER_SD, np.rint(counts).astype(np.int64))


def _negated(codes: Codes) -> npt.NDArray[np.int16]:
    """The code of no score stays what it is: its negative does not fit, and wraps around to it."""
    return np.negative(codes)
