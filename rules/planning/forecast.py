"""How many reviews a day of unseen requests will bring, from how many a sample brought: expected, and a 95 % interval.

Owns `Forecast` and the distribution behind it. If a level is placed on the very sample, at one of its order
statistics, the share of all traffic beyond it is Beta(k + 1, n - k) distributed for k of n beyond, whatever the scores
are, and a region made of c + k blocks that such cuts leave is Beta(k + c, n + 1 - k - c) (J. W. Tukey, "Non-parametric
estimation II", Annals of Mathematical Statistics 18, 1947); how many of a day's m requests fall there is beta-binomial.
A union of c rules has up to c blocks beside its k, fewer where a cut lies within another rule's region. Where levels
are fixed beforehand the interval of A. R. Thatcher ("Relationships between Bayesian and confidence limits for
predictions", JRSS B 26, 1964) has Beta(k, n + 1 - k) below and Beta(k + 1, n - k) above. So k is taken below and k + c
above. That is exact for one rule; that positions are chosen after a look at the counts is in neither theorem, and held
against unseen traffic by `dosimeter bench budget`. Weighted requests count as sum² / sum of squares of them, to which
the upper side adds the largest weight for each cut (after M. P. Fay, E. J. Feuer, Statistics in Medicine 16, 1997).

All of it takes requests for exchangeable: a day like those of the sample. What is not is for the alarm of `spend.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.binomial import upper_bound

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Forecast:
    """Reviews on one day: how many on average, and from how many to how many with 95 % confidence."""

    expected: float
    low: int
    high: int

    def as_json(self) -> dict[str, float | int]:
        return {"expected": round(self.expected, 3), "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a sample says of one region.

    beyond   sum of the weights of the requests in it, of `total` of all
    squares  sum of their squared weights
    largest  the largest weight of any request
    cuts     places of the sample at which the region was cut
    """

    beyond: float
    total: float
    cuts: int = 1
    squares: float | None = None
    largest: float = 1.0

    def beta(self, cuts: int) -> tuple[float, float]:
        """Parameters of the share of all traffic beyond; (0, 1) is none at all."""
        beyond = self.beyond + cuts * self.largest
        squares = (self.beyond if self.squares is None else self.squares) + cuts * self.largest**2
        if beyond <= 0:
            return 0.0, 1.0
        a = beyond * beyond / squares
        return a, a * ((self.total + self.largest) / beyond - 1)

    def expected(self, per_day: float) -> float:
        beyond = self.beyond + self.cuts
        return min(per_day, per_day * beyond / (self.total + 1))

    def forecast(self, per_day: int, confidence: float = CONFIDENCE) -> Forecast:
        """For a day of so many requests."""
        tail = (1 - confidence) / 2
        low = quantile(per_day, *self.beta(0), tail)
        high = quantile(per_day, *self.beta(max(1, self.cuts)), 1 - tail)
        return Forecast(self.expected(per_day), low, high)

    def bound(self, per_day: float, confidence: float) -> float:
        """At most so many a day on average, with this confidence."""
        a, b = self.beta(max(1, self.cuts))
        if b <= 0:
            return per_day
        above = max(0, math.ceil(a) - 1)
        return per_day * upper_bound(above, above + max(1, math.floor(b)), confidence)


def quantile(trials: int, a: float, b: float, share: float) -> int:
    """The smallest y with P(Y <= y) >= share, Y being beta-binomial. a = 0 is 0 for sure, b <= 0 is all of them."""
    if a <= 0 or trials <= 0:
        return 0
    if b <= 0:
        return trials
    first, chances = _chances(trials, a, b)
    place = int(np.searchsorted(np.cumsum(chances), share * (1 - 1e-12)))
    return min(trials, first + place)


def _chances(trials: int, a: float, b: float) -> tuple[int, npt.NDArray[np.float64]]:
    """The first y that matters, and the chance of it and of those behind it."""
    mean = trials * a / (a + b)
    spread = math.sqrt(mean * b / (a + b) * (a + b + trials) / (a + b + 1))
    first = max(0, math.floor(mean - 15 * spread - 30))
    last = min(trials, math.ceil(mean + 15 * spread + 30))
    y = np.arange(first, last, dtype=np.float64)  # each one's ratio to the next
    ratio = np.log(trials - y) + np.log(a + y) - np.log(y + 1) - np.log(b + trials - y - 1)
    logs = np.concatenate(([0.0], np.cumsum(ratio)))
    chances = np.exp(logs - logs.max())
    return first, chances / chances.sum()
