"""Latency: quantiles close to the exact ones, whatever the spread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.latency import Latency


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=200), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_never_too_small_and_at_most_a_bin_too_large(
    durations: list[int], q: float
) -> None:
    latency = Latency()
    for duration in durations:
        latency.add(duration)
    exact = float(np.quantile(durations, q, method="inverted_cdf")) / 1e6
    found = latency.quantile_ms(q)
    assert found is not None
    assert exact - 1e-4 <= found <= exact * 1.045 + 1e-4


def test_nothing_measured_is_none_and_not_zero() -> None:
    assert Latency().as_dict() == {"count": 0, "p50_ms": None, "p99_ms": None, "max_ms": None}


def test_a_clock_that_stood_still_is_taken() -> None:
    latency = Latency()
    latency.add(0)
    assert latency.quantile_ms(0.5) == pytest.approx(0, abs=1e-4)
