"""Intervals of a median from the order of values, against tables of the sign test."""

from __future__ import annotations

import pytest

from dosimeter.monitor.bench.medians import interval


@pytest.mark.parametrize(
    ("n", "k"),  # P(X < k) * 2 <= 0.05 for X ~ B(n, 1/2): a table of the sign test
    [(6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (41, 14)],
)
def test_the_ends_are_those_of_the_sign_test(n: int, k: int) -> None:
    assert interval([float(i) for i in range(n, 0, -1)]) == (k, n + 1 - k)


def test_a_few_values_have_their_ends() -> None:
    assert interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert interval([5.0]) == (5.0, 5.0)
