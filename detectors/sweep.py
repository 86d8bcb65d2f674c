"""Which layer to read: cross-validated separation of every captured layer, and a choice among them.

Cross-validation saturates in small models, and the first layer that reaches the top is often the
one that generalises worst: near ties go to about 70 % of the depth. Arrays in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dosimeter.detectors.evaluate import Array, Bools, Labels, auroc
from dosimeter.detectors.fit import fit_probe
from dosimeter.detectors.fit import folds as split

DEPTH = 0.7
NEAR = 0.005
"""AUROC differences below this are no reason to prefer a layer."""


def layer_aurocs(
    x: Array,
    positive: Bools,
    groups: Labels,
    seed: int,
    folds: int = 3,
    counted: Bools | None = None,
) -> list[float]:
    """AUROC [L] of one-layer probes on held-out groups, over all folds together.

    x [N, L, D], positive bool [N], groups [N]; counted bool [N]: rows that the AUROC is of, where others
    are only fitted on. Raises FitError where a fold lacks a class.
    """
    judged = np.ones(len(x), np.bool_) if counted is None else counted
    parts = list(split(groups, positive, folds, seed))
    found = []
    for layer in range(x.shape[1]):
        rows = x[:, layer : layer + 1]
        ranked = np.zeros(len(x))
        for train, test in parts:
            probe = fit_probe(
                "layer", (0,), rows[train], positive[train], rows[train], groups=groups[train]
            ).probe
            ranked[test] = rows[test, 0] @ probe.weights[0] + probe.bias
        found.append(auroc(ranked[judged], positive[judged]))
    return found


def choose_layer(aurocs: Sequence[float], layers: Sequence[int], blocks: int) -> int:
    """The block index, of `layers`, whose AUROC is near the best and which lies nearest 70 % depth.

    blocks: how many the model has. Of two equally near, the deeper one.
    """
    best = max(aurocs)
    near = [n for value, n in zip(aurocs, layers, strict=True) if value >= best - NEAR]
    return min(near, key=lambda n: (abs((n + 1) / blocks - DEPTH), -n))
