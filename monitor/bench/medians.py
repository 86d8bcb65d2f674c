"""The median of rounds, and how far it can be trusted.

It owns the interval only: exact, from the order of the values, whatever their distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def median(values: Sequence[float]) -> float:
    return float(np.median(values))


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The k-th value from either end, k the largest that holds the median with `confidence`.

    The median lies outside when fewer than k of n values fall on one side of it, which are coin tosses. Below
    six values no k does; the ends are what there is then.
    """
    n, ordered = len(values), sorted(values)
    outside, k = 0.0, 1
    while k <= n // 2:
        outside += 2 * math.comb(n, k - 1) / 2**n
        if outside > 1 - confidence:
            break
        k += 1
    k = max(1, k - 1)
    return ordered[k - 1], ordered[n - k]
