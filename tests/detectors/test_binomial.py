"""Clopper-Pearson bounds against the beta quantile of scipy and figures worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from dosimeter.detectors.binomial import lower_bound, needed, upper_bound, wilson


@pytest.mark.parametrize(
    ("k", "n"), [(0, 10), (1, 10), (9, 10), (10, 1000), (10, 10_000), (20, 20_000), (5000, 10_000)]
)
def test_equals_the_beta_quantile(k: int, n: int) -> None:
    assert upper_bound(k, n) == pytest.approx(beta.ppf(0.95, k + 1, n - k), rel=1e-9)


def test_large_counts_stay_finite_and_right() -> None:
    expected = beta.ppf(0.95, 600_001, 6_000_000 - 600_000)
    assert upper_bound(600_000, 6_000_000) == pytest.approx(expected, rel=1e-6)


def test_nothing_seen_gives_the_rule_of_three() -> None:
    """(1 - p)^n = 0.05 is solved by p = 1 - 0.05^(1/n)."""
    assert upper_bound(0, 3000) == pytest.approx(1 - 0.05 ** (1 / 3000), rel=1e-9)


def test_all_seen_bounds_nothing() -> None:
    assert upper_bound(7, 7) == upper_bound(0, 0) == 1.0


def test_more_than_all_is_not_a_share() -> None:
    with pytest.raises(ValueError, match="8 of 7"):
        upper_bound(8, 7)


@pytest.mark.parametrize("k", [0, 1, 5, 19, 20])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.975])
def test_the_lower_bound_equals_the_beta_quantile(k: int, confidence: float) -> None:
    expected = beta.ppf(1 - confidence, k, 20 - k + 1) if k else 0.0
    assert lower_bound(k, 20, confidence) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.data())
def test_both_bounds_enclose_the_share_as_scipy_does(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = lower_bound(k, n, 0.975), upper_bound(k, n, 0.975)
    assert 0 <= low <= k / n <= high <= 1
    found = binomtest(k, n).proportion_ci(0.95, method="exact")
    assert (low, high) == pytest.approx((found.low, found.high), abs=1e-9)


def test_nothing_of_nothing_bounds_nothing() -> None:
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0.0, 1.0)
    with pytest.raises(ValueError, match="8 of 7"):
        lower_bound(8, 7)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.floats(0.003, 1.0), st.sampled_from([0.9, 0.95, 0.99]))
def test_needed_is_the_smallest_number_that_suffices(
    k: int, share: float, confidence: float
) -> None:
    n = needed(k, share, confidence)
    assert upper_bound(k, n, confidence) <= share
    assert n == k or upper_bound(k, n - 1, confidence) > share


def test_the_rule_of_three_says_how_many_are_needed() -> None:
    """The smallest n with (1 - p)^n <= 0.05, by hand."""
    for every in (10, 1000, 100_000):
        assert needed(0, 1 / every) == math.ceil(math.log(0.05) / math.log1p(-1 / every))


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan")])
def test_no_number_shows_a_share_of_nothing(share: float) -> None:
    with pytest.raises(ValueError, match="no number of units"):
        needed(0, share)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (50, 4000)])
def test_wilson_agrees_with_another_implementation(k: int, n: int) -> None:
    found = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert wilson(k / n, n) == pytest.approx((found.low, found.high), abs=1e-9)


def test_wilson_agrees_with_newcombe() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe 1998, Statistics in Medicine 17:857, table I)."""
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
