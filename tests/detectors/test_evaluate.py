"""Metrics against scikit-learn and by hand; nulls that know what chance looks like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from dosimeter.detectors.evaluate import (
    auroc,
    auroc_interval,
    paired_difference,
    random_direction_null,
    ranks,
    roc,
    smallest_difference,
    tpr_at_fpr,
    tpr_interval,
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


def test_the_interval_covers_the_value_and_of_few_groups_it_is_open() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(400) % 2 == 0
    scores = rng.standard_normal(400) + positive
    many = auroc_interval(scores, positive, np.arange(400), seed=1, rounds=200)
    nine = auroc_interval(scores, positive, np.arange(400) % 9, seed=1, rounds=200)
    ten = auroc_interval(scores, positive, np.arange(400) % 10, seed=1, rounds=200)
    assert many.low < many.value < many.high
    assert many.high - many.low < 0.15
    assert (nine.value, nine.low, nine.high) == (many.value, 0.0, 1.0)
    assert 0.6 < ten.low < ten.value < ten.high < 0.9
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


def test_where_every_draw_is_alike_the_bound_is_that_of_independent_pairs() -> None:
    """0.025^(1/n) of n pairs all ordered rightly; resampling alone would promise 1.0 of ten rows."""
    for n in (5, 40):
        positive = np.arange(2 * n) < n
        found = auroc_interval(positive.astype(float), positive, np.arange(2 * n), 0, rounds=50)
        assert (found.value, found.high) == (1.0, 1.0)
        assert found.low == pytest.approx(beta.ppf(0.025, n, 1))
    pairs = np.tile([True, False], 30)  # a group a pair: thirty of them, not sixty rows
    found = auroc_interval(pairs.astype(float), pairs, np.arange(60) // 2, 0, rounds=50)
    assert found.low == pytest.approx(beta.ppf(0.025, 30, 1))


def test_the_paired_difference_equals_a_bootstrap_written_out() -> None:
    """Whole groups drawn, AUROC by counting pairs, quantiles by numpy; the value by scikit-learn."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(40), rng.integers(1, 5, 40))
    positive = rng.random(len(groups)) < 0.4
    both = rng.standard_normal(len(groups)) + positive
    one, other = (
        both + 0.4 * rng.standard_normal(len(groups)),
        both + rng.standard_normal(len(groups)),
    )
    members = [np.flatnonzero(groups == g) for g in range(40)]

    def area(scores: np.ndarray, rows: np.ndarray) -> float:
        above = scores[rows][positive[rows]][:, None] > scores[rows][~positive[rows]]
        return float(above.mean())

    differences = []
    for _ in range(3000):
        rows = np.concatenate([members[g] for g in rng.integers(0, 40, 40)])
        differences.append(area(one, rows) - area(other, rows))
    low, high = np.quantile(differences, [0.025, 0.975])
    found = paired_difference(one, other, positive, groups, seed=1, rounds=2000)
    assert found.value == pytest.approx(
        roc_auc_score(positive, one) - roc_auc_score(positive, other)
    )
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.012)
    assert found.high - found.low > 0.05


def test_a_score_does_not_differ_from_itself() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(60) % 3 == 0
    scores = rng.standard_normal(60)
    found = paired_difference(scores, 2 * scores + 1, positive, np.arange(60), seed=0, rounds=50)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_one_group_a_class_leaves_the_difference_open() -> None:
    """Two groups had an interval as narrow as their two scores are."""
    positive = np.array([True, True, False, False])
    scores = np.array([2.0, 3.0, 0.0, 1.0])
    found = paired_difference(scores, -scores, positive, positive.astype(int), seed=0, rounds=20)
    assert (found.value, found.low, found.high) == (1.0, -1.0, 1.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(100, 300), st.integers(0, 99))
def test_the_interval_of_the_true_positive_rate_is_the_exact_one(
    positives: int, negatives: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    positive = np.arange(positives + negatives) < positives
    scores = rng.standard_normal(len(positive)) + 2 * positive
    found = tpr_interval(scores, positive, 0.01)
    assert found is not None
    above = np.sort(scores[~positive])[-1 - int(0.01 * negatives)]
    k = int((scores[positive] > above).sum())
    low = beta.ppf(0.025, k, positives - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, positives - k) if k < positives else 1.0
    assert found.value == pytest.approx(k / positives)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_a_rate_that_less_than_one_negative_stands_for_was_not_measured() -> None:
    positive = np.arange(1100) < 101
    scores = np.arange(1100.0)
    assert tpr_interval(scores, positive, 0.001) is None
    assert tpr_interval(scores[1:], positive[1:] & (scores[1:] < 100), 0.001) is not None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_the_area_under_the_curve_is_the_auroc(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([s for s, _ in rows], dtype=np.float64)
    positive = np.array([p for _, p in rows])
    if positive.all() or not positive.any():
        return
    x, y = np.array(roc(scores, positive)).T
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(auroc(scores, positive))


def test_a_thinned_curve_keeps_its_ends_and_almost_its_area() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(20_000) % 2 == 0
    scores = rng.standard_normal(20_000) + positive
    curve = roc(scores, positive)
    assert len(curve) <= 200
    assert (curve[0], curve[-1]) == ((0.0, 0.0), (1.0, 1.0))
    x, y = np.array(curve).T
    assert np.trapezoid(y, x) == pytest.approx(auroc(scores, positive), abs=1e-3)


@pytest.mark.parametrize(("gap", "positives", "negatives"), [(1.0, 60, 120), (1.8, 100, 100)])
def test_the_smallest_difference_is_that_of_a_simulation(
    gap: float, positives: int, negatives: int
) -> None:
    """Two tests of equal worth whose scores correlate so that their AUROCs do by about a half.

    The spread of their difference over 2 000 draws of rows, times what 5 % two-sided and 80 % power ask for.
    """
    rng = np.random.default_rng(1)
    positive = np.arange(positives + negatives) < positives
    found = []
    for _ in range(2000):
        shared, own, theirs = rng.standard_normal((3, len(positive)))
        common = np.sqrt(0.55) * shared + gap * positive
        found.append([auroc(common + np.sqrt(0.45) * x, positive) for x in (own, theirs)])
    one, other = np.array(found).T
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(0.5, abs=0.08)
    spread = np.std(one - other)
    told = smallest_difference(float(one.mean()), positives, negatives)
    assert told == pytest.approx((1.96 + 0.8416) * spread, rel=0.12)


def test_more_rows_show_a_smaller_difference() -> None:
    told = [smallest_difference(0.9, n, n) for n in (20, 80, 320)]
    assert told == sorted(told, reverse=True)
    assert told[0] / told[1] == pytest.approx(2, rel=0.1)
