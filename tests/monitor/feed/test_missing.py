"""Ranges of positions, against a set of integers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.feed.missing import Missing

spans = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=8)


def positions(ranges: list[list[int]]) -> set[int]:
    return {n for first, last in ranges for n in range(first, last + 1)}


def built(steps: list[tuple[int, int]]) -> tuple[Missing, set[int]]:
    missing, wanted, at = Missing(), set[int](), 0
    for skip, length in steps:
        first, at = at + skip + 1, at + skip + length
        missing.add(first, at)
        wanted |= set(range(first, at + 1))
    return missing, wanted


@given(spans, st.lists(st.tuples(st.integers(0, 90), st.integers(0, 9)), max_size=8))
def test_positions_are_added_at_the_end_and_taken_out_anywhere(
    steps: list[tuple[int, int]], holes: list[tuple[int, int]]
) -> None:
    missing, wanted = built(steps)
    for first, length in holes:
        hole = set(range(first, first + length + 1))
        assert missing.fill(first, first + length) == bool(wanted & hole)
        wanted -= hole
        assert positions(missing.ranges) == wanted
    ends = [n for one in missing.ranges for n in one]
    assert ends == sorted(ends)


@given(spans, spans)
def test_the_difference_of_two(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> None:
    (a, of_a), (b, of_b) = built(one), built(two)
    assert positions([list(ends) for ends in a.without(b)]) == of_a - of_b


def test_neighbours_are_one_range() -> None:
    missing = Missing([[1, 2]])
    missing.add(3, 4)
    assert missing.ranges == [[1, 4]]
