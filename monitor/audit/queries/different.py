"""The different users or conversations of some alerts, kept: to count them again, only what is new is read.

Owns the ids of what is sealed, sorted, of the latest questions, and how many in all. Random ids they are, as in the
files themselves, and gone with the process. It asks nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ids = npt.NDArray[np.uint64]
"""[2, n]: the halves of 16 bytes, as this machine reads them. Each id once, in the order of the first half, then of the
second."""
MOST_IDS = 12_000_000
"""Of all questions together: 192 MB, the users and conversations of some 10^7 alerts. What has more by itself is
counted anew each time."""
FILES_AT_ONCE = 32
"""A million rows or so: 50 bytes of memory each while they are looked through, and 16 for an id after that."""
NONE: Ids = np.empty((2, 0), np.uint64)
_RANGES = 16
"""Of ids, merged one after the other: what a sort takes is in the caches, and its memory a fraction of all."""


@dataclass(frozen=True, slots=True)
class Known:
    """The ids among the sealed entries before position `past`."""

    past: int
    ids: Ids

    @property
    def count(self) -> int:
        return int(self.ids.shape[1])


class Different:
    """Use it under a lock. gone, past: as of `Remembered`."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Known] = OrderedDict()
        self._gone: frozenset[int] = frozenset()

    def of(self, key: Hashable, gone: frozenset[int], past: int) -> Known:
        if gone != self._gone:
            self._known.clear()
            self._gone = gone
        known = self._known.get(key)
        if known is None or known.past > past:
            return Known(0, NONE)
        self._known.move_to_end(key)
        return known

    def keep(self, key: Hashable, known: Known, gone: frozenset[int]) -> None:
        if gone != self._gone:
            return
        self._known.pop(key, None)
        if known.count > MOST_IDS:
            return
        self._known[key] = known
        while sum(one.count for one in self._known.values()) > MOST_IDS:
            self._known.popitem(last=False)


def ids_of(column: pa.ChunkedArray) -> Ids:
    """column: binary, without NULL. Raises ValueError where one has not 16 bytes."""
    return together([_once(_halves(part)) for part in column.chunks])


def _halves(part: pa.BinaryArray) -> Ids:
    """Out of the buffer that all values stand in, one after the other."""
    offsets = np.frombuffer(part.buffers()[1], np.int32, len(part) + 1, 4 * part.offset)
    if (np.diff(offsets) != 16).any():
        raise ValueError("an id has not 16 bytes")
    halves = np.frombuffer(part.buffers()[2], np.uint64, 2 * len(part), int(offsets[0]))
    return np.ascontiguousarray(halves.reshape(-1, 2).T)


def together(parts: Sequence[Ids]) -> Ids:
    """What is in any of them."""
    parts = [part for part in parts if part.shape[1]]
    if len(parts) < 2:
        return parts[0] if parts else NONE
    width = 2**64 // _RANGES
    cuts = np.array([n * width for n in range(1, _RANGES)], np.uint64)
    each = [np.split(part, np.searchsorted(part[0], cuts), axis=1) for part in parts]
    merged = [_once(np.concatenate(one, axis=1), runs=True) for one in zip(*each, strict=True)]
    return np.concatenate(merged, axis=1)


def more(known: Ids, new: Ids) -> int:
    """How many of the new ones are not known."""
    first = np.searchsorted(known[0], new[0])
    past = np.searchsorted(known[0], new[0], side="right")
    if (past - first > 1).any():  # ids whose first halves are the same
        return int(together([known, new]).shape[1] - known.shape[1])
    there = past > first
    return int(new.shape[1] - np.count_nonzero(known[1, first[there]] == new[1, there]))


def _once(ids: Ids, *, runs: bool = False) -> Ids:
    """In order, each once. runs: of parts that are in order."""
    found = np.take(ids, np.argsort(ids[0], kind="stable") if runs else _order(ids[0]), axis=1)
    other = found[:, 1:] != found[:, :-1]
    if (other[1] & ~other[0]).any() or (found[0, 1:] < found[0, :-1]).any():
        found = np.take(ids, np.lexsort((ids[1], ids[0])), axis=1)
        other = found[:, 1:] != found[:, :-1]
    first = other[0] | other[1]
    return found if first.all() else np.compress(np.concatenate(([True], first)), found, axis=1)


def _order(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Where they belong, by all bits but as many low ones as their places need: those go into the place of these, since
    to sort numbers takes a third of what it takes to sort their places."""
    low = np.uint64(2 ** len(numbers).bit_length() - 1)
    order = (numbers & ~low) | np.arange(len(numbers), dtype=np.uint64)
    order.sort()
    order &= low
    return order
