"""How well scores separate two classes, and what would have done as well by chance.

Arrays in, numbers out: exact AUROC, bootstrap intervals over groups, exact ones of shares, and the null
of random directions. It never learns what the classes are, nor how the scores came about.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.binomial import lower_bound, upper_bound

Array = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.generic]
LEAST_GROUPS = 10
"""A bootstrap over fewer gives intervals that are far too narrow."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def ranks(values: Array) -> npt.NDArray[np.float64]:
    """Ranks [N] from 1; equal values share their mean rank."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    first = np.concatenate(((0,), cuts))
    counts = np.concatenate((cuts, (len(values),))) - first
    found = np.empty(len(values), dtype=np.float64)
    found[order] = np.repeat(first + (counts + 1) / 2, counts)
    return found


def auroc(scores: Array, positive: Bools) -> float:
    """P(a positive scores above a negative), ties counting half. One class: ValueError."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        raise ValueError(f"{n_positive} positives and {n_negative} negatives: nothing to compare")
    total = float(ranks(scores)[positive].sum()) - n_positive * (n_positive + 1) / 2
    return total / (n_positive * n_negative)


def tpr_at_fpr(scores: Array, positive: Bools, rate: float = 0.01) -> float:
    """Share of positives above the smallest threshold that at most `rate` of negatives exceed."""
    negatives = np.sort(scores[~positive])
    threshold = negatives[len(negatives) - 1 - int(rate * len(negatives))]
    return float((scores[positive] > threshold).mean())


def auroc_interval(
    scores: Array, positive: Bools, groups: Labels, seed: int, rounds: int = 1000
) -> Interval:
    """AUROC with a percentile bootstrap over whole groups: rows of one are not independent.

    Where every draw is alike, as at 1.0, resampling knows no spread; the bound is then that of as many
    independent pairs as the smaller class has groups, each ordered rightly.
    """
    found = [auroc(scores[rows], positive[rows]) for rows in _draws(positive, groups, seed, rounds)]
    value = auroc(scores, positive)
    low, high = np.percentile(found, [2.5, 97.5]) if found else (0.0, 1.0)
    if low == high:
        pairs = min(len(np.unique(groups[positive])), len(np.unique(groups[~positive])))
        low = min(low, lower_bound(math.floor(value * pairs), pairs, 0.975))
    return Interval(value, float(low), float(high))


def paired_difference(
    one: Array, other: Array, positive: Bools, groups: Labels, seed: int, rounds: int = 1000
) -> Interval:
    """AUROC of `one` minus that of `other` on the same rows, both in every bootstrap draw."""
    found = [
        auroc(one[rows], positive[rows]) - auroc(other[rows], positive[rows])
        for rows in _draws(positive, groups, seed, rounds)
    ]
    low, high = np.percentile(found, [2.5, 97.5]) if found else (-1.0, 1.0)
    value = auroc(one, positive) - auroc(other, positive)
    return Interval(value, float(low), float(high))


def tpr_interval(scores: Array, positive: Bools, rate: float) -> Interval | None:
    """TPR at a false-positive rate with its exact interval, given the threshold.

    None where less than one negative is expected beyond it: such a rate was not measured.
    """
    if rate * int((~positive).sum()) < 1:
        return None
    n = int(positive.sum())
    hits = round(tpr_at_fpr(scores, positive, rate) * n)
    return Interval(hits / n, lower_bound(hits, n, 0.975), upper_bound(hits, n, 0.975))


def smallest_difference(value: float, positives: int, negatives: int, power: float = 0.8) -> float:
    """The AUROC difference between two correlated tests (r = 0.5) that rows like these would show.

    Two-sided at 5 %. Standard error after Hanley and McNeil (1982).
    """
    a = min(max(value, 0.5), 0.995)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    spread = a * (1 - a) + (positives - 1) * (q1 - a * a) + (negatives - 1) * (q2 - a * a)
    error = math.sqrt(spread / (positives * negatives))
    normal = NormalDist()
    return (normal.inv_cdf(0.975) + normal.inv_cdf(power)) * error


def roc(scores: Array, positive: Bools, most: int = 200) -> list[tuple[float, float]]:
    """(FPR, TPR) from (0, 0) to (1, 1), thinned to `most` points."""
    order = np.argsort(-scores, kind="stable")
    hits, ordered = positive[order], scores[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # ties move together
    tpr = np.cumsum(hits)[ends] / hits.sum()
    fpr = np.cumsum(~hits)[ends] / (~hits).sum()
    keep = np.unique(np.linspace(0, len(ends) - 1, min(most - 1, len(ends))).round().astype(int))
    return [(0.0, 0.0), *zip(fpr[keep].tolist(), tpr[keep].tolist(), strict=True)]


def _draws(
    positive: Bools, groups: Labels, seed: int, rounds: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of bootstrap draws of whole groups; a draw with one class has no AUROC and is passed over.

    None from too few groups: they say nothing, and the interval is all there can be.
    """
    rng = np.random.default_rng(seed)
    _, of = np.unique(groups, return_inverse=True)
    order = np.argsort(of, kind="stable")
    counts = np.bincount(of)
    starts = np.cumsum(counts) - counts
    if len(counts) < LEAST_GROUPS:
        return
    for _ in range(rounds):
        drawn = rng.integers(0, len(counts), len(counts))
        n = counts[drawn]
        within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        rows = order[np.repeat(starts[drawn], n) + within]
        if 0 < positive[rows].sum() < len(rows):
            yield rows


def random_direction_null(
    x: Array, positive: Bools, seed: int, directions: int = 1000
) -> tuple[float, float]:
    """(mean, 95th percentile) of the AUROC of random directions through x [N, D], sign chosen well.

    In a small model one state can dominate every direction; a probe that does not beat this has
    shown nothing.
    """
    rng = np.random.default_rng(seed)
    flat = np.asarray(x, dtype=np.float32).reshape(len(x), -1)
    drawn = rng.standard_normal((flat.shape[1], directions), dtype=np.float32)
    scores = flat @ drawn  # [N, directions]
    found = np.array([auroc(scores[:, i], positive) for i in range(directions)])
    found = np.abs(found - 0.5) + 0.5
    return float(found.mean()), float(np.percentile(found, 95))
