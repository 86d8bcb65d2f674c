"""How well scores separate two classes, and what would have done as well by chance.

Arrays in, numbers out: exact AUROC, a bootstrap interval over groups, and the null of random
directions. It never learns what the classes are, nor how the scores came about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.generic]


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
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    counts = np.diff(np.append(first, len(values)))
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
    """AUROC with a percentile bootstrap over whole groups: rows of one are not independent."""
    rng = np.random.default_rng(seed)
    _, of = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(of == g) for g in range(int(of.max()) + 1)]
    found = []
    for _ in range(rounds):
        rows = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        if 0 < positive[rows].sum() < len(rows):  # a draw with one class has no AUROC
            found.append(auroc(scores[rows], positive[rows]))
    value = auroc(scores, positive)
    low, high = np.percentile(found, [2.5, 97.5]) if found else (0.0, 1.0)
    return Interval(value, float(low), float(high))


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
