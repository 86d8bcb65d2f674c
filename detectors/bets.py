"""Bets that request means still follow those of a calibration: arithmetic of one e-detector.

Three bounded views of a request's mean are bet on, upwards and downwards: its rank among the
calibration's, and whether it reaches their top tenth and top hundredth, where alerts come from. A
bet multiplies `1 + stake * (outcome - bound)`, and on unchanged traffic the outcome is not expected
beyond the bound. What it means that evidence is high is `drift.py`'s subject.

Bounds leave room for what n requests cannot know. The rank's: given the calibration, the expected
rank is 1 less the mean of n mid-distribution values, each no more spread than a uniform (ties only
shrink it), whose moments are those of a strictly sub-Gaussian variable of variance 1/12; so it is
off by more than e with probability exp(-6 n e^2) a side at most (Chernoff). Those of the tops are
Clopper-Pearson's for order statistics, ties again on the quiet side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.binomial import upper_bound
from dosimeter.detectors.placement import LEAST_EXPECTED
from dosimeter.detectors.shapes import Ints

Doubles = npt.NDArray[np.float64]

TOPS = (10, 100)
"""One in so many request means of the calibration is in its top."""
LEAST = LEAST_EXPECTED * max(TOPS)
STAKES = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
"""In sd of a view: the best stake on a shift of d sd is about d, so these serve 0.02 to 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Bets:
    """What is bet on, from the calibration alone. K bets: every view, direction and stake.

    reference  int64 [n]    request means of the calibration, ascending
    view       int64 [K]    0: the rank; else that top
    share      float64 [K]  expected outcome, were the calibration the truth
    bound      float64 [K]  the expected outcome is not beyond it on unchanged traffic
    stake      float64 [K]  above 0 where the bet is on a rise; `1 + stake * (y - bound)` > 0
    """

    reference: Ints
    view: Ints
    share: Doubles
    bound: Doubles
    stake: Doubles

    def outcomes(self, means: Ints) -> Doubles:
        """float64 [U, K] in [0, 1], of int64 [U]."""
        n = len(self.reference)
        below = np.searchsorted(self.reference, means, side="left")
        to = np.searchsorted(self.reference, means, side="right")
        columns: list[npt.NDArray[Any]] = [(below + to) / (2 * n)] * 2
        for top in TOPS:  # a tie with the edge counts on the quiet side of each direction
            columns += [means > self.reference[-1 - n // top], means >= self.reference[-(n // top)]]
        found = np.stack(columns, axis=1).astype(np.float64)
        return np.repeat(found, len(STAKES), axis=1)

    def advance(self, evidence: Doubles, outcome: Doubles, at: int) -> None:
        """One request, number `at` from 1, into evidence [3, ..., K]; outcome [..., K].

        evidence[0]  over all starts up to now, the sum of what a bet begun there has made of 1
        evidence[1]  the same sum, each term times its start; [2]: times the outcomes since it

        Only products and sums, which are equal to the bit whatever the length of the arrays.
        """
        factor = 1.0 + self.stake * (outcome - self.bound)
        begun = evidence[0] + 1.0
        evidence[2] = (evidence[2] + begun * outcome) * factor
        evidence[1] = (evidence[1] + float(at)) * factor
        evidence[0] = begun * factor


def bets_on(means: Ints, miss: float) -> Bets:
    """From at least `LEAST` request means. miss: probability that any bound is wrong, shared alike
    among them."""
    reference = np.sort(means)
    n, each = len(reference), miss / (2 + 2 * len(TOPS))
    room = math.sqrt(-math.log(each) / (6 * n))
    views = [(0, 0.5, 0.5 + room, 1.0, 1 / 12), (0, 0.5, 0.5 - room, -1.0, 1 / 12)]
    for top in TOPS:
        k = n // top
        above, below = upper_bound(k, n, 1 - each), 1 - upper_bound(n - k, n, 1 - each)
        views.append((top, k / n, above, 1.0, above * (1 - above)))
        views.append((top, k / n, below, -1.0, below * (1 - below)))
    rows = []
    for view, share, bound, sign, variance in views:
        most = 0.9 / (bound if sign > 0 else 1 - bound)  # a factor stays above a tenth
        for stake in STAKES:
            rows.append((view, share, bound, sign * min(stake / math.sqrt(variance), most)))
    view_of, shares, bounds, stakes = zip(*rows, strict=True)
    return Bets(reference, np.array(view_of), np.array(shares), np.array(bounds), np.array(stakes))
