"""Clopper-Pearson bounds against the beta quantile of scipy and figures worked out by hand."""

from __future__ import annotations

import pytest
from scipy.stats import beta

from dosimeter.detectors.binomial import upper_bound


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
