"""Contrast data to probe: logistic regression, checked against the difference of means.

Arrays in, `Probe` out, with the benign standardisation frozen inside. Whoever captured the
activations, and from what, is not known here; scikit-learn is needed for the regression alone and
imported when it runs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.bank import Probe, fold
from dosimeter.detectors.evaluate import Array, Bools, Labels

Doubles = npt.NDArray[np.float64]


class FitError(ValueError):
    """Data that cannot carry a fit: one class, no spread on benign tokens, other shapes."""


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A probe and what its card should say.

    mean, sd            of the raw score on the benign tokens, before folding
    benign_tokens       how many there were
    agreement           cosine of the regression and the difference of means, in standardised units:
                        near 0 or negative means that the fit rests on something else
    difference_of_means the same read-out along the difference of means, standardised alike
    """

    probe: Probe
    mean: float
    sd: float
    benign_tokens: int
    agreement: float
    difference_of_means: Probe


def folds(groups: Labels, positive: Bools, count: int, seed: int) -> Iterator[tuple[Bools, Bools]]:
    """(train, test) masks [N]; each group is tested once, and those with a positive row are dealt evenly.

    Raises FitError where there are fewer of those than folds.
    """
    r = np.random.default_rng(seed)
    risky = np.unique(groups[positive])
    if len(risky) < count:
        raise FitError(f"{len(risky)} groups with a risky row cannot make {count} folds")
    names = np.concatenate([r.permutation(risky), r.permutation(np.setdiff1d(groups, risky))])
    for first in range(count):
        test = np.isin(groups, names[first::count])
        yield ~test, test


def group_weights(groups: Labels) -> Doubles:
    """float64 [N], mean 1: every group counts alike, however many rows (tokens) it has."""
    _, of, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(len(groups) / (len(counts) * counts[of]), dtype=np.float64)


def fit_probe(
    feature: str,
    layers: Sequence[int],
    x: Array,
    positive: Bools,
    benign: Array,
    *,
    groups: Labels | None = None,
    weights: Doubles | None = None,
    strength: float = 0.1,
) -> Fit:
    """One probe over all given layers.

    x         [N, L, D]  pooled or per token, layers as in `layers`
    positive  bool [N]
    benign    [M, L, D]  benign answer tokens: their scores get mean 0 and sd 1
    groups    [N]        rows of one source (a prompt, a dialogue); None: every row its own
    weights   [N]        what each row counts for beside that; None: all alike
    strength  C of the regression, inverse regularisation

    Raises FitError.
    """
    x64 = np.asarray(x, dtype=np.float64)
    _check(feature, layers, x64, positive, benign)
    weight = group_weights(np.arange(len(x64)) if groups is None else groups)
    if weights is not None:
        weight = weight * weights / np.average(weights, weights=weight)
    centre = np.average(x64, axis=0, weights=weight)
    scale = np.sqrt(np.average((x64 - centre) ** 2, axis=0, weights=weight))
    scale[scale == 0.0] = 1.0  # a dimension that never moves says nothing and must not divide
    flat = ((x64 - centre) / scale).reshape(len(x64), -1)
    direction = regression(flat, positive, weight, strength)
    means = np.average(flat[positive], axis=0, weights=weight[positive]) - np.average(
        flat[~positive], axis=0, weights=weight[~positive]
    )
    lengths = float(np.linalg.norm(direction) * np.linalg.norm(means))
    probe, mean, sd = standardise(feature, layers, direction.reshape(scale.shape) / scale, benign)
    check, _, _ = standardise(feature, layers, means.reshape(scale.shape) / scale, benign)
    return Fit(
        probe=probe,
        mean=mean,
        sd=sd,
        benign_tokens=len(benign),
        agreement=float(direction @ means) / lengths if lengths else 0.0,
        difference_of_means=check,
    )


def regression(flat: Array, positive: Bools, weight: Doubles, strength: float) -> Doubles:
    """Direction [D] of an L2 logistic regression on rows [N, D], classes counting alike."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise FitError("fitting needs scikit-learn\n  hint: pip install 'dosimeter[fit]'") from None
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    with _threads().limit(limits=1):  # fits this small wait for threads longer than they compute
        model.fit(flat, positive, sample_weight=weight)
    return np.asarray(model.coef_[0], dtype=np.float64)


@functools.cache
def _threads() -> Any:
    """Of the libraries that are loaded by the first fit: finding them takes as long as a small fit."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def standardise(
    feature: str, layers: Sequence[int], direction: Doubles, benign: Array
) -> tuple[Probe, float, float]:
    """Fold benign mean 0 and sd 1 into a direction [L, D]; also the raw mean and sd it had."""
    tokens = np.asarray(benign, dtype=np.float64)
    raw = np.tensordot(tokens, direction, axes=([1, 2], [0, 1]))  # [M]
    sd = float(raw.std())
    if not np.isfinite(sd) or sd <= 0.0:
        raise FitError(f"scores of `{feature}` do not vary on the benign tokens (sd {sd})")
    weights, bias = fold(direction, tokens.mean(axis=0), sd)
    return Probe(feature, tuple(layers), weights, bias), float(raw.mean()), sd


def _check(feature: str, layers: Sequence[int], x: Doubles, positive: Bools, benign: Array) -> None:
    if x.ndim != 3 or x.shape[1] != len(layers) or x.shape[1:] != benign.shape[1:]:
        raise FitError(
            f"`{feature}`: x {x.shape} and benign {benign.shape} must be [*, {len(layers)}, D]"
        )
    if positive.shape != (len(x),) or not 0 < positive.sum() < len(x):
        raise FitError(
            f"`{feature}`: {int(positive.sum())} of {len(x)} rows are positive\n"
            "  hint: give rows of both classes"
        )
    if not (np.isfinite(x).all() and np.isfinite(benign).all()):
        raise FitError(f"`{feature}`: activations must be finite")
