"""Bounds that hold whatever the distribution, and bets that lose on unchanged traffic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dosimeter.detectors.bets import LEAST, STAKES, TOPS, bets_on

COUNT = 6 * len(STAKES)


def test_outcomes_are_the_mid_rank_and_strict_and_loose_tops_of_a_hand_worked_table() -> None:
    """Means 1 to 1000: the top tenth begins at 901, the top hundredth at 991."""
    bets = bets_on(np.arange(1000, 0, -1), 0.01)
    found = bets.outcomes(np.array([0, 1, 900, 901, 990, 991, 2000]))[:, :: len(STAKES)]
    rank = [0.0, 0.0005, 0.8995, 0.9005, 0.9895, 0.9905, 1.0]
    np.testing.assert_allclose(found[:, 0], rank)
    np.testing.assert_allclose(found[:, 1], rank)
    assert found[:, 2].tolist() == found[:, 3].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert found[:, 4].tolist() == found[:, 5].tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_tops_of_a_number_that_tens_do_not_divide_are_rounded_down() -> None:
    """Means 1 to 1009: 100 and 10 of them are in the tops, so these begin at 910 and 1000."""
    found = bets_on(np.arange(1, 1010), 0.01).outcomes(np.array([909, 910, 999, 1000]))
    assert (
        found[:, 2 * len(STAKES) :: len(STAKES)].T.tolist()
        == [[0, 1, 1, 1]] * 2 + [[0, 0, 0, 1]] * 2
    )


def test_a_tie_at_the_edge_of_a_top_is_quiet_in_both_directions() -> None:
    """All means equal: one more of the same neither exceeds the top nor leaves it."""
    bets = bets_on(np.full(LEAST, 7), 0.01)
    found = bets.outcomes(np.array([7, 8, 6]))[:, :: len(STAKES)]
    assert found.tolist() == [[0.5, 0.5, 0, 1, 0, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]


def test_bounds_are_chernoffs_and_clopper_pearsons() -> None:
    """Room at n = 1000, 0.01 over six bounds: sqrt(ln 600 / 6000); beta quantiles from scipy."""
    from scipy import stats  # comes with scikit-learn

    bets = bets_on(np.arange(1000), 0.01)
    bound = bets.bound[:: len(STAKES)]
    assert bound[0] - 0.5 == pytest.approx(math.sqrt(math.log(600) / 6000))
    assert bound[0] + bound[1] == pytest.approx(1)
    each = 0.01 / 6
    for i, k in ((2, 100), (4, 10)):
        assert bound[i] == pytest.approx(stats.beta.ppf(1 - each, k + 1, 1000 - k), rel=1e-6)
        assert bound[i + 1] == pytest.approx(stats.beta.ppf(each, k, 1001 - k), rel=1e-6)


def test_every_bet_can_lose_everything_but_a_tenth_at_most() -> None:
    for means in (np.arange(1000), np.full(1000, 3), np.arange(100_000)):
        bets = bets_on(means, 0.01)
        for outcome in (0.0, 1.0):
            assert (1 + bets.stake * (outcome - bets.bound) > 0.099).all()


@pytest.mark.parametrize("shape", ["normal", "cauchy", "coin", "mostly zero"])
def test_no_bound_is_beyond_the_truth_more_often_than_was_allowed(shape: str) -> None:
    """400 calibrations at a miss of 0.2: the true expected outcome, over 20 000 fresh requests."""
    rng = np.random.default_rng(3)

    def draw(n: int) -> np.ndarray:
        if shape == "cauchy":
            return np.clip(rng.standard_cauchy(n) * 256, -32767, 32767).astype(np.int64)
        if shape == "coin":
            return rng.integers(0, 2, n)
        if shape == "mostly zero":
            return np.where(rng.random(n) < 0.95, 0, rng.integers(1, 4, n))
        return np.rint(rng.standard_normal(n) * 256).astype(np.int64)

    fresh, counts = np.unique(draw(20_000), return_counts=True)
    missed = 0
    for _ in range(400):
        bets = bets_on(draw(1000), 0.2)
        truth = counts @ bets.outcomes(fresh) / counts.sum()
        missed += bool((np.sign(bets.stake) * (truth - bets.bound) > 0).any())
    assert missed <= 0.2 * 400 + 2 * math.sqrt(0.2 * 0.8 * 400)


def test_evidence_is_the_sum_over_starts_of_what_each_bet_made_of_one() -> None:
    """Against the definition, start by start in float64."""
    rng = np.random.default_rng(5)
    bets = bets_on(rng.integers(-300, 300, 1000), 0.01)
    outcomes = bets.outcomes(rng.integers(-200, 400, 30))
    evidence = np.zeros((3, COUNT))
    for i, outcome in enumerate(outcomes):
        bets.advance(evidence, outcome, i + 1)
    factors = 1 + bets.stake * (outcomes - bets.bound)
    terms = np.stack([factors[start:].prod(axis=0) for start in range(30)])
    np.testing.assert_allclose(evidence[0], terms.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(evidence[1], np.arange(1, 31) @ terms, rtol=1e-12)
    sums = np.stack([outcomes[start:].sum(axis=0) for start in range(30)])
    np.testing.assert_allclose(evidence[2], (sums * terms).sum(axis=0), rtol=1e-12)


def test_views_and_shares_say_what_each_bet_is_on() -> None:
    bets = bets_on(np.arange(1009), 0.01)
    assert bets.view[:: len(STAKES)].tolist() == [0, 0, TOPS[0], TOPS[0], TOPS[1], TOPS[1]]
    assert bets.share[:: len(STAKES)].tolist() == [0.5, 0.5, *[100 / 1009] * 2, *[10 / 1009] * 2]
    assert np.sign(bets.stake[:: len(STAKES)]).tolist() == [1, -1] * 3
