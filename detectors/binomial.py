"""Intervals for a share seen k times in n: Clopper-Pearson, exact, from the binomial tail itself, and Wilson's.

Nothing here needs scipy, so that an analyst's light install can place levels.
"""

from __future__ import annotations

import math
from functools import lru_cache


@lru_cache(maxsize=4096, typed=True)  # placing levels and watching drift ask for the same few
def upper_bound(k: int, n: int, confidence: float = 0.95) -> float:
    """One-sided upper Clopper-Pearson bound of a share: the p at which P(X <= k) = 1 - confidence.

    Also the exact bound on the true rate above the (k+1)-th largest of n independent values, so it
    holds for a threshold that was placed on the same values. n = 0 gives 1.
    """
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a share")
    if k == n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(k, n, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def lower_bound(k: int, n: int, confidence: float = 0.95) -> float:
    """One-sided lower Clopper-Pearson bound of a share seen k times in n. n = 0 gives 0."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a share")
    return 1.0 - upper_bound(n - k, n, confidence) if n else 0.0


def needed(k: int, share: float, confidence: float = 0.95) -> int:
    """Smallest n at which k seen in n bounds the true share, above 0, from above by `share`."""
    if not share > 0:
        raise ValueError(f"no number of units shows a share of {share}")
    if share >= 1:
        return k
    low, high = k, max(8, 2 * k)
    while upper_bound(k, high, confidence) > share:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if upper_bound(k, middle, confidence) <= share else (middle, high)
    return high


def _at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) of a binomial; exact sum downwards from k until the terms vanish."""
    if p <= 0.0 or p >= 1.0:
        return 1.0 if p <= 0.0 else 0.0
    log_term = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(p)
        + (n - k) * math.log1p(-p)
    )
    term = total = math.exp(log_term)
    odds = (1 - p) / p
    for i in range(k, 0, -1):  # term(i - 1) = term(i) * i / (n - i + 1) * (1 - p) / p
        term *= i / (n - i + 1) * odds
        total += term
        if term <= total * 1e-17:  # also where all of them are too small for a float
            break
    return total


def wilson(share: float, n: float) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, JASA 22, 1927). n = 0 gives all of it."""
    if n <= 0:
        return 0.0, 1.0
    z = 1.959963984540054
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)
