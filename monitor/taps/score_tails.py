"""Blocks of scores that are not complete: one for each sequence under way, side by side in one table.

So a step in which hundreds of sequences get one row each is kept with one assignment. Whoever calls holds the cache's
lock, but for the collector, which gives places back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
"""Rows of scores [T, F]: int16 codes beside a sidecar, float32 in a script."""

PLACES = 64
"""Of a table at first. It doubles, and never shrinks: a server has its most sequences again and again."""


class Tail:
    """One block of the table, until nobody holds this."""

    __slots__ = ("of", "place")

    def __init__(self, of: Tails, place: int) -> None:
        self.of, self.place = of, place

    def __del__(self) -> None:
        self.of.free.append(self.place)  # the collector comes at any point of any thread

    def rows(self) -> Values:
        """[B, F], to read and write until a tail is taken."""
        found: Values = self.of.table[self.place]
        return found

    def copy(self) -> Tail:
        copy = self.of.take()
        copy.rows()[:] = self.rows()
        return copy


class Tails:
    """table: [places, B, F]."""

    def __init__(self, block: int, features: int, dtype: npt.DTypeLike) -> None:
        self.table: Values = np.empty((PLACES, block, features), dtype)
        self.free = deque(range(PLACES))

    def take(self) -> Tail:
        """A block that holds whatever was in it before."""
        if not self.free:
            old, n = self.table, len(self.table)
            self.table = np.empty((2 * n, *old.shape[1:]), old.dtype)
            self.table[:n] = old
            self.free.extend(range(n, 2 * n))
        return Tail(self, self.free.pop())

    def put(self, places: Sequence[int], insides: Sequence[int], rows: Values) -> None:
        """rows: [N, F], the i-th into row insides[i] of the block at places[i]."""
        self.table[places, insides] = rows
