"""Intervals of a day's reviews: the distribution is SciPy's, and what they promise comes true on made-up days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from dosimeter.rules.planning.forecast import Seen, quantile


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 20_000), st.floats(0.5, 300), st.floats(5, 1e5), st.sampled_from([0.025, 0.975])
)
def test_quantiles_are_those_of_a_beta_binomial(m: int, a: float, b: float, share: float) -> None:
    found = quantile(m, a, b, share)
    chances = stats.betabinom(m, a, b).cdf([found - 1, found])
    assert chances[0] < share + 1e-6
    assert chances[1] > share - 1e-6


def test_nothing_seen_may_still_come_and_everything_seen_always_does() -> None:
    none = Seen(0, 1000).forecast(1000)
    assert none.low == 0
    assert 2 <= none.high <= 6  # Beta(1, 1000): the chance of none of 1000 is one half
    every = Seen(1000, 1000).forecast(500)
    assert every.high == 500
    assert every.low > 490


def test_a_level_placed_on_the_sample_lets_one_more_through_than_it_counted() -> None:
    """k of n above the (k + 1)-th largest: of the next value that is (k + 1) / (n + 1)."""
    assert Seen(20, 999).expected(1000) == pytest.approx(21)


@pytest.mark.parametrize(("k", "rules"), [(10, 1), (30, 1), (15, 4)])
def test_days_fall_within_the_interval_as_often_as_it_says(k: int, rules: int) -> None:
    """Each rule places its level at its own (k + 1)-th largest of the sample; the day is unseen. Features are alike in
    part, so that rules overlap."""
    rng = np.random.default_rng(k + rules)
    n, m, inside, total = 1500, 2000, 0, 400
    for _ in range(total):
        scores = rng.standard_normal((n + m, rules)) + 0.7 * rng.standard_normal((n + m, 1))
        sample, day = scores[:n], scores[n:]
        levels = np.sort(sample, axis=0)[-k - 1]
        seen = Seen(float((sample > levels).any(axis=1).sum()), n, rules).forecast(m)
        inside += seen.low <= (day > levels).any(axis=1).sum() <= seen.high
    assert inside / total >= 0.94


def test_a_weighted_sample_is_as_wide_as_its_weights_make_it() -> None:
    """1 in 20 kept: an interval from 5 requests of weight 20 is that of 5, not of 100."""
    exact = Seen(100, 20_000).forecast(20_000)
    weighted = Seen(100, 20_000, squares=5 * 400, largest=20).forecast(20_000)
    assert weighted.low < exact.low
    assert weighted.high > exact.high
    few = Seen(5, 1000).forecast(1000)
    assert weighted.low / 20 == pytest.approx(few.low, abs=2)
    assert weighted.high / 20 == pytest.approx(few.high, abs=3)


def test_weighted_days_fall_within_the_interval() -> None:
    """What is above 3 is kept, of the rest 1 in 20; a rule at 2 is estimated from both."""
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(300):
        scores = rng.standard_normal(30_000)
        weights = np.where(scores > 3, 1.0, 20.0)
        kept = (scores > 3) | (rng.random(30_000) < 0.05)
        own = weights[kept & (scores > 2)]
        seen = Seen(own.sum(), weights[kept].sum(), 1, float((own**2).sum()), 20.0)
        found = seen.forecast(10_000)
        inside += found.low <= (rng.standard_normal(10_000) > 2).sum() <= found.high
    assert inside / 300 >= 0.94


def test_the_bound_of_the_rate_is_clopper_pearsons() -> None:
    """20 of 1000 with one cut: the upper quantile of Beta(21, 980)."""
    expected = 5000 * stats.beta(21, 980).ppf(0.99)
    assert Seen(20, 1000).bound(5000, 0.99) == pytest.approx(expected, rel=1e-6)
