"""Exact arithmetic at the edge of 64 bits, where a float or a wrapped integer would show."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.frames import CODE_MAX
from dosimeter.rules.language.exact import TooLarge, column, joined, number

LARGEST = 2**63 - 1


@given(st.integers(1, LARGEST // 2**15), st.integers(1, LARGEST), st.integers(-CODE_MAX, CODE_MAX))
def test_any_fraction_of_a_code_is_rounded_half_to_even(above: int, below: int, code: int) -> None:
    scale = Fraction(above, below)
    made = column(0).times(scale).codes([np.array([code], np.int16)])
    assert made.tolist() == [max(-CODE_MAX, min(CODE_MAX, round(scale * code)))]


ABOVE = st.one_of(st.just(0), st.integers(1, 10**12), st.integers(1, 10**6))
BELOW = st.one_of(st.integers(1, 10**6), st.integers(1, 100))


@given(ABOVE, ABOVE, BELOW, BELOW)
def test_what_is_put_together_at_the_largest_codes_is_exact(a: int, b: int, c: int, d: int) -> None:
    """Within 64 bits, or refused; never wrapped."""
    left, right = Fraction(a, c), Fraction(b, d)
    try:
        difference = joined("sum", [column(0).times(left), column(1).times(-right)])
        larger = joined("max", [column(0).times(left), column(1).times(-right)])
    except TooLarge:
        assert max(a * d, b * c, c * d) * 2**16 > LARGEST
        return
    pairs = [(x, y) for x in (CODE_MAX, -CODE_MAX) for y in (CODE_MAX, -CODE_MAX)]
    columns = list(np.array(pairs, np.int16).T)
    for value, expected in [
        (difference, [left * x - right * y for x, y in pairs]),
        (larger, [max(left * x, -right * y) for x, y in pairs]),
    ]:
        rounded = [max(-CODE_MAX, min(CODE_MAX, round(e))) for e in expected]
        assert value.codes(columns).tolist() == rounded


def test_beyond_64_bits_is_refused_and_the_edge_is_not() -> None:
    edge = LARGEST // 2**15
    column(0).times(Fraction(edge))
    column(0).times(Fraction(1, LARGEST))
    for beyond in (Fraction(edge + 1), Fraction(-edge - 1), Fraction(1, LARGEST + 1)):
        with pytest.raises(TooLarge):
            column(0).times(beyond)


def test_numbers_among_themselves_are_a_number() -> None:
    some = [number(Fraction(n, 3)) for n in (-5, 1, 2)]
    assert joined("sum", some).constant == Fraction(-2, 3)
    assert joined("min", some).constant == Fraction(-5, 3)
    assert joined("max", some).constant == Fraction(2, 3)
    assert joined("abs", some[:1]).constant == Fraction(5, 3)
    assert joined("sum", [*some, column(0)]).constant is None
