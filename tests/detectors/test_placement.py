"""Thresholds among benign statistics: ties, too few units, and the same by brute force."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.placement import NotEnough, Placement, place_fixed, place_share
from dosimeter.detectors.shapes import NEVER


def placed(values: list[int], every: int) -> Placement:
    array = np.array(values, dtype=np.int64)
    return place_share("`it`", "answers", array, Fraction(every), len(array))


def test_the_eleventh_largest_is_the_threshold_when_ten_may_exceed() -> None:
    placement = placed(list(range(100)), 10)
    assert (placement.threshold, placement.exceedances) == (89, 10)
    assert placement.expected_exceedances == 10


def test_ties_fall_on_the_quiet_side() -> None:
    """Nine values above a tie of forty: with ten allowed, the tie may not fire."""
    placement = placed([0] * 51 + [7] * 40 + [8] * 9, 10)
    assert (placement.threshold, placement.exceedances) == (7, 9)


def test_fewer_than_ten_expected_exceedances_is_an_answer_not_a_threshold() -> None:
    with pytest.raises(NotEnough, match=r"needs 10000 benign answers.*has 8390") as caught:
        placed([0] * 8390, 1000)
    assert (caught.value.have, caught.value.need, caught.value.more) == (8390, 10000, 1610)
    assert "hint: collect 1610 more" in str(caught.value)


def test_a_level_met_only_by_firing_on_every_long_enough_answer_is_refused() -> None:
    with pytest.raises(NotEnough, match="long enough"):
        placed([NEVER] * 990 + [5] * 10, 100)


def test_units_that_are_too_short_count_as_units_that_do_not_exceed() -> None:
    assert placed([NEVER] * 500 + list(range(500)), 100).threshold == 489


def test_a_threshold_where_codes_saturate_says_that_nothing_can_exceed_it() -> None:
    placement = placed([0] * 50 + [32767] * 50, 10)
    assert placement.threshold == 32767
    assert "saturate" in placement.warnings[0]


def test_a_fixed_threshold_reports_what_it_does() -> None:
    placement = place_fixed(5, "answers", np.array([4, 5, 6, NEVER]))
    assert (placement.exceedances, placement.n_units) == (1, 4)
    assert placement.expected_exceedances is None


def test_no_units_bound_nothing() -> None:
    assert place_fixed(5, "answers", np.zeros(0, np.int64)).bound95 == 1.0


def test_the_bound_covers_the_true_rate_of_a_threshold_placed_on_the_same_data() -> None:
    """Uniform values: the true rate above t is 1 - t/M. 400 placements, each bound at 95 %."""
    rng = np.random.default_rng(5)
    top = 1 << 40
    covered = 0
    for _ in range(400):
        values = rng.integers(0, top, 600)
        placement = place_share("`it`", "answers", values, Fraction(50), 600)
        covered += (1 - placement.threshold / top) <= placement.bound95
    assert 0.92 <= covered / 400 <= 0.98


def brute(values: list[int], every: int) -> int:
    """The smallest integer threshold with at most len/every values above it, by trying them."""
    allowed = len(values) // every
    threshold = min(values) - 1
    while sum(v > threshold for v in values) > allowed:
        threshold += 1
    return threshold


VALUES = st.lists(st.integers(-9, 9), min_size=20, max_size=80)


@settings(max_examples=80, deadline=None)
@given(VALUES, st.just(2))
def test_agrees_with_trying_every_threshold(values: list[int], every: int) -> None:
    placement = placed(values, every)
    assert placement.threshold == brute(values, every)
    assert placement.exceedances == sum(v > placement.threshold for v in values)
    assert placement.exceedances <= len(values) // every


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-99, 99), min_size=60, max_size=90), st.randoms())
def test_rarer_levels_never_lower_the_threshold_and_order_does_not_matter(
    values: list[int], random: object
) -> None:
    thresholds = [placed(values, every).threshold for every in (2, 3, 4, 5, 6)]
    assert thresholds == sorted(thresholds)
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert placed(shuffled, 5) == placed(values, 5)
