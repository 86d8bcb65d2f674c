"""The different users or conversations of some alerts, kept: to count them again, only what is new is read.

Owns the ids of what is sealed, sorted, of the latest questions, and how many in all. Random ids they are, as in the
files themselves, and gone with the process. It asks nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ids = npt.NDArray[np.bytes_]
"""S16, each once, in order. Zeros at an end are nothing to numpy; all have 16 bytes, so none is taken for another."""
MOST_IDS = 4_000_000
"""Of all questions together: 64 MB. What has more by itself is counted anew each time."""
FILES_AT_ONCE = 32
"""A million rows or so: 100 bytes of memory each while they are looked through, and 16 for an id after that."""
NONE: Ids = np.empty(0, "S16")


@dataclass(frozen=True, slots=True)
class Known:
    """The ids among the sealed entries before position `past`."""

    past: int
    ids: Ids


class Different:
    """Use it under a lock. gone: as of `Remembered`."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Known] = OrderedDict()
        self._gone: frozenset[int] = frozenset()

    def of(self, key: Hashable, gone: frozenset[int]) -> Known:
        if gone != self._gone:
            self._known.clear()
            self._gone = gone
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key, Known(0, NONE))

    def keep(self, key: Hashable, known: Known, gone: frozenset[int]) -> None:
        if gone != self._gone:
            return
        self._known.pop(key, None)
        if len(known.ids) > MOST_IDS:
            return
        self._known[key] = known
        while sum(len(one.ids) for one in self._known.values()) > MOST_IDS:
            self._known.popitem(last=False)


def ids_of(column: pa.ChunkedArray) -> Ids:
    """column: binary, of 16 bytes each, without NULL."""
    each = [
        np.frombuffer(part.buffers()[1], "S16", len(part), 16 * part.offset)
        for part in column.cast(pa.binary(16)).chunks
        if len(part)
    ]
    return _once(np.concatenate(each)) if each else NONE


def more(known: Ids, new: Ids) -> int:
    """How many of the new ones are not known."""
    return int(np.count_nonzero(_unknown(known, new, np.searchsorted(known, new))))


def both(known: Ids, new: Ids) -> Ids:
    at = np.searchsorted(known, new)
    unknown = _unknown(known, new, at)
    return np.insert(known, at[unknown], new[unknown])


def _unknown(known: Ids, new: Ids, at: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """at: where each of the new ones belongs among those that are known."""
    if not len(known):
        return np.ones(len(new), np.bool_)
    return np.asarray(known[np.minimum(at, len(known) - 1)] != new)


def _once(ids: Ids) -> Ids:
    """In order, by their first 8 bytes where those tell all apart: numbers are sorted in a fraction of the time."""
    first = ids.view(">u8")[::2].astype(np.uint64)
    order = np.argsort(first)
    first, found = first[order], ids[order]
    same = np.asarray(found[1:] == found[:-1])
    if ((first[1:] == first[:-1]) != same).any():
        return np.unique(ids)
    return found[np.concatenate(([True], ~same))]
