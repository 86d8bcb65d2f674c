"""A set of positions as disjoint ranges in order, each [first, last]: what is missing of a source.

Its form is plain JSON. It knows nothing of what a position is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence


class Missing:
    def __init__(self, ranges: Sequence[Sequence[int]] = ()) -> None:
        self.ranges: list[list[int]] = [[first, last] for first, last in ranges]

    def add(self, first: int, last: int) -> None:
        """Positions after all that are in it."""
        assert not self.ranges or self.ranges[-1][1] < first <= last
        if self.ranges and self.ranges[-1][1] == first - 1:
            self.ranges[-1][1] = last
        else:
            self.ranges.append([first, last])

    def fill(self, first: int, last: int) -> bool:
        """Take positions out; False when none of them was in it."""
        at = bisect_left(self.ranges, first, key=lambda one: one[1])
        end = at
        rest: list[list[int]] = []
        while end < len(self.ranges) and self.ranges[end][0] <= last:
            low, high = self.ranges[end]
            rest += [[low, first - 1]] * (low < first) + [[last + 1, high]] * (high > last)
            end += 1
        self.ranges[at:end] = rest
        return end > at

    def without(self, other: Missing) -> Iterator[tuple[int, int]]:
        """The ranges of what is in this and not in the other."""
        rest = Missing(self.ranges)
        for first, last in other.ranges:
            rest.fill(first, last)
        for first, last in rest.ranges:
            yield first, last
