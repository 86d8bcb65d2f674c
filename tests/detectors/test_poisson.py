"""The interval of a weighted count: exact where that is known, and never too narrow where it is simulated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dosimeter.detectors.poisson import gamma_quantile, weighted_interval


@pytest.mark.parametrize("share", [0.005, 0.025, 0.5, 0.975, 0.999])
@pytest.mark.parametrize("shape", [1.0, 1.3, 2.0, 17.5, 400.0, 999.0])
def test_gamma_quantiles_are_those_of_scipy(shape: float, share: float) -> None:
    assert gamma_quantile(shape, share) == pytest.approx(stats.gamma.ppf(share, shape), rel=1e-9)


@pytest.mark.parametrize("shape", [1000.0, 1e4, 1e7])
def test_large_shapes_are_near_enough(shape: float) -> None:
    for share in (0.025, 0.975):
        expected = stats.gamma.ppf(share, shape)
        assert gamma_quantile(shape, share) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.689), (1, 0.0253, 5.572), (5, 1.623, 11.668), (10, 4.795, 18.390)],
)
def test_of_one_weight_it_is_the_exact_interval_of_a_poisson_count(
    count: int, low: float, high: float
) -> None:
    """Garwood (1936), as tables print it."""
    found = weighted_interval(np.ones(count), 1)
    assert found == pytest.approx((low, high), abs=1e-3)
    hundredfold = weighted_interval(np.full(count, 100), 100)
    assert hundredfold == pytest.approx((100 * low, 100 * high), abs=0.1)


def test_a_weight_above_the_heaviest_is_refused() -> None:
    with pytest.raises(ValueError, match="weighs more"):
        weighted_interval(np.array([5]), 4)
    with pytest.raises(ValueError, match="at most"):
        weighted_interval(np.array([]), 0)


def test_it_covers_the_truth_in_19_of_20_of_simulated_archives() -> None:
    """Of what is kept for itself and what is kept once in `one_in`, each from hardly any to many."""
    rng = np.random.default_rng(11)
    rounds, cells, good = 400, 0, 0
    for sure in (0.0, 0.5, 5.0, 60.0):
        for rest in (0.0, 3.0, 40.0, 1000.0):
            for one_in in (10, 100):
                truth = sure + rest
                if truth == 0:
                    continue
                covered = 0
                drawn = rng.poisson((sure, rest / one_in), (rounds, 2))
                for (k, m), times in zip(
                    *np.unique(drawn, axis=0, return_counts=True), strict=True
                ):
                    weights = np.concatenate([np.ones(k), np.full(m, one_in)])
                    low, high = weighted_interval(weights, one_in)
                    covered += times * (low <= truth <= high)
                cells += 1
                good += covered >= 0.95 * rounds
    assert good >= 0.9 * cells, f"{good} of {cells} cells"
