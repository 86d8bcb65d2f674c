"""What would have separated the classes without reading the model: words, length, chance.

Each null is a score a row, to be compared with the probe's on the same rows; a probe that does not beat them
has shown nothing. It never learns where texts and activations came from. TF-IDF needs scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.evaluate import Array, Bools, Labels, auroc
from dosimeter.detectors.fit import Doubles, FitError, regression

POLARITY = 0.35
"""Where every method is below it, the labels stand the wrong way round."""


def words(fit_texts: Sequence[str], fit_positive: Bools, texts: Sequence[str]) -> Doubles:
    """Scores [N] of TF-IDF over words and word pairs with logistic regression, fitted on `fit_texts`."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise FitError("nulls need scikit-learn\n  hint: pip install 'dosimeter[fit]'") from None
    table = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[^\w\s]"
    )
    model = LogisticRegression(C=10, max_iter=1000, class_weight="balanced")
    try:
        model.fit(table.fit_transform(fit_texts), fit_positive)
    except ValueError:  # texts without a word
        return np.zeros(len(texts))
    return np.asarray(model.decision_function(table.transform(texts)), dtype=np.float64)


def linear(fit_x: Array, fit_positive: Bools, x: Array, strength: float) -> Doubles:
    """Scores [N] of the same regression on other inputs [N, D], such as the embedding layer."""
    centre, scale = fit_x.mean(axis=0), fit_x.std(axis=0)
    scale[scale == 0] = 1.0
    weights = regression((fit_x - centre) / scale, fit_positive, np.ones(len(fit_x)), strength)
    return np.asarray(((x - centre) / scale) @ weights, dtype=np.float64)


def shuffled_p95(
    scores: Array, positive: Bools, groups: Labels, seed: int, rounds: int = 500
) -> float:
    """95th percentile of |AUROC - .5| + .5 under labels dealt anew, whole groups of one label together."""
    rng = np.random.default_rng(seed)
    keys, of = np.unique(
        np.stack([np.unique(groups, return_inverse=True)[1], positive]), axis=1, return_inverse=True
    )
    labels = keys[1].astype(bool)
    found = []
    for _ in range(rounds):
        dealt = rng.permutation(labels)[of.ravel()]
        if 0 < dealt.sum() < len(dealt):
            found.append(abs(auroc(scores, dealt) - 0.5) + 0.5)
    return float(np.percentile(found, 95)) if found else 1.0


def wrong_way_round(aurocs: Sequence[float]) -> bool:
    """True where several independent methods agree that positives score below negatives."""
    return len(aurocs) >= 2 and max(aurocs) < POLARITY


def sided(value: float) -> float:
    """An AUROC whose sign nobody chose."""
    return max(value, 1 - value)


def of_lengths(lengths: npt.NDArray[np.int64], positive: Bools) -> Doubles:
    """Length as a score, with the sign that separates better."""
    found = lengths.astype(np.float64)
    return found if auroc(found, positive) >= 0.5 else -found
