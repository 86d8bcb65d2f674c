"""Metrics against scikit-learn and by hand; nulls that know what chance looks like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from dosimeter.detectors.evaluate import (
    auroc,
    auroc_interval,
    random_direction_null,
    ranks,
    tpr_at_fpr,
)


def test_ties_share_their_mean_rank() -> None:
    assert ranks(np.array([5.0, 1.0, 5.0, 0.0])).tolist() == [3.5, 2.0, 3.5, 1.0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_equals_scikit_learn_with_ties(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([s for s, _ in rows], dtype=np.float64)
    positive = np.array([p for _, p in rows])
    if positive.all() or not positive.any():
        with pytest.raises(ValueError, match="nothing to compare"):
            auroc(scores, positive)
    else:
        assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_tpr_is_read_at_the_threshold_that_the_negatives_allow() -> None:
    scores = np.concatenate((np.arange(100.0), [97.5, 98.5, 200.0]))
    positive = np.arange(103) >= 100
    assert tpr_at_fpr(scores, positive, 0.01) == pytest.approx(2 / 3)  # above 98


def test_the_interval_covers_the_value_and_widens_with_few_groups() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(400) % 2 == 0
    scores = rng.standard_normal(400) + positive
    many = auroc_interval(scores, positive, np.arange(400), seed=1, rounds=200)
    few = auroc_interval(scores, positive, np.arange(400) // 100, seed=1, rounds=200)
    assert many.low < many.value < many.high
    assert many.high - many.low < 0.15
    assert few.value == many.value
    assert auroc_interval(scores, positive, np.arange(400), seed=1, rounds=200) == many


def test_random_directions_are_near_chance_in_noise_and_high_where_one_state_dominates() -> None:
    """In a tiny model one bit can move every direction: then AUROC .8 means nothing."""
    rng = np.random.default_rng(0)
    positive = np.arange(200) % 2 == 0
    noise = rng.standard_normal((200, 1, 32))
    mean, p95 = random_direction_null(noise, positive, seed=3, directions=300)
    assert 0.5 <= mean < 0.56
    assert p95 < 0.62
    dominated = noise + 6 * positive[:, None, None] * rng.standard_normal((1, 1, 32))
    _, high = random_direction_null(dominated, positive, seed=3, directions=300)
    assert high > 0.95
