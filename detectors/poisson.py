"""Interval of a rate that is seen through a weighted sample: every event found stands for as many as its weight.

Arrays in, numbers out, without scipy, so that an analyst's light install can do it. Fay and Feuer, Confidence intervals
for directly standardized rates, Statistics in Medicine 16 (1997) 791-801: exact for one weight (Garwood 1936), and
conservative in all their simulations, and in ours, for several.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

_LARGE = 1000.0
"""From this shape on a cubed normal (Wilson and Hilferty 1931) is a gamma within 1 in 10 000."""


def weighted_interval(
    weights: npt.NDArray[np.number], heaviest: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Of the expected sum of the weights of independent events. weights: of those that came, each above 0.

    heaviest: the largest weight that one could have come with, seen or not; no weight is above it.
    """
    total, squares = float(np.sum(weights)), float(np.sum(np.square(weights, dtype=np.float64)))
    if not heaviest > 0 or (len(weights) and float(np.max(weights)) > heaviest):
        raise ValueError(f"an event can weigh {heaviest} at most, and one of these weighs more")
    tail = (1 - confidence) / 2
    low = _gamma(total, squares, tail) if total else 0.0
    return low, _gamma(total + heaviest, squares + heaviest**2, 1 - tail)


def _gamma(mean: float, variance: float, share: float) -> float:
    """Quantile of a gamma distribution."""
    return gamma_quantile(mean * mean / variance, share) * variance / mean


def gamma_quantile(shape: float, share: float) -> float:
    """Below which so large a share of a gamma distribution of scale 1 lies. shape >= 1."""
    ninth = 1 / (9 * shape)
    root = 1 - ninth + NormalDist().inv_cdf(share) * math.sqrt(ninth)
    near = shape * max(root, 0.0) ** 3
    if shape >= _LARGE:
        return near
    low, high = 0.0, 2 * near + 20
    while high - low > 1e-11 * high:
        middle = (low + high) / 2
        if _below(shape, middle) < share:
            low = middle
        else:
            high = middle
    return high


def _below(shape: float, x: float) -> float:
    """P(X <= x): the regularised incomplete gamma function, as a series below its mean, else by Lentz's fraction."""
    if x <= 0:
        return 0.0
    front = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1:
        term = total = 1 / shape
        n = shape
        while term > total * 1e-16:
            n += 1
            term *= x / n
            total += term
        return total * front
    b = x + 1 - shape
    c, d = 1e300, 1 / b
    fraction = d
    for i in range(1, 10_000):
        step = -i * (i - shape)
        b += 2
        d = 1 / (step * d + b)
        c = b + step / c
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return 1 - front * fraction
