"""The layer that carries the signal is found; among equals the one at 70 % of the depth."""

from __future__ import annotations

import numpy as np
import pytest

from dosimeter.detectors.fit import FitError
from dosimeter.detectors.sweep import choose_layer, layer_aurocs


def test_only_the_layer_with_the_planted_signal_separates_unseen_groups() -> None:
    """Layer 0 tells groups apart, not classes: a split over rows would have rewarded it."""
    rng = np.random.default_rng(0)
    groups = np.arange(800) // 4
    positive = groups % 2 == 0
    marks = rng.standard_normal((200, 8)) * 4
    x = rng.standard_normal((800, 2, 8))
    x[:, 0] += marks[groups]
    x[:, 1, 3] += 3 * positive
    first, second = layer_aurocs(x, positive, groups, seed=1)
    assert first < 0.65
    assert second > 0.95


def test_near_ties_go_to_seventy_percent_of_the_depth() -> None:
    assert choose_layer([1.0, 0.999, 0.998, 0.997], [2, 5, 6, 9], blocks=10) == 6
    assert choose_layer([0.99, 0.97], [1, 6], blocks=10) == 1


def test_fewer_groups_than_folds_is_an_error() -> None:
    with pytest.raises(FitError, match="2 groups with a risky row cannot make 3 folds"):
        layer_aurocs(np.zeros((4, 1, 2)), np.array([True, False] * 2), np.array([0, 0, 1, 1]), 0)
