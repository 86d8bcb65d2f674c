"""A step through the score cache: what was scored is kept, and a cached prefix gets the scores it had.

The rows that come out are those of the step, with the known rows of a request's prefix right before its
first ones. What is not known stays a gap, which the request counts as `prefix_cache`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dosimeter.detectors.frames import ROW_FIRST, ROW_REUSED
from dosimeter.monitor.taps.rows import Entry, Rows
from dosimeter.monitor.taps.score_cache import ScoreCache, Values


def with_reused(
    cache: ScoreCache, rows: Sequence[Rows], entries: list[Entry], values: Values
) -> tuple[list[Entry], Values]:
    """entries: one for each of `rows`; values: [T, F] of this step."""
    found: dict[int, list[tuple[int, Values]]] = {}
    begun: list[tuple[Rows, Values]] = []
    at = 0
    for index, row in enumerate(rows):
        mine = values[at : at + row.n]
        at += row.n
        if row.ids is None:
            continue
        if row.request.chain is None:
            row.request.chain = cache.chain(row.salt)
        if entries[index].flags & ROW_FIRST and row.start:
            found[index] = []
            begun.append((row, mine))
        else:
            cache.add(row.request.chain, row.start, mine, row.ids)
    # After what others ran in this very step: a server may share that already.
    for index, (row, mine) in zip(found, begun, strict=True):
        assert row.request.chain is not None
        assert row.ids is not None
        found[index] = cache.prefix(row.request.chain, row.start, row.ids)
        cache.add(row.request.chain, row.start, mine, row.ids)
    if not any(found.values()):
        return entries, values
    return _spliced(entries, values, found)


def _spliced(
    entries: list[Entry], values: Values, found: dict[int, list[tuple[int, Values]]]
) -> tuple[list[Entry], Values]:
    out: list[Entry] = []
    parts: list[Values] = []
    at = 0
    for index, entry in enumerate(entries):
        for start, rows in found.get(index, ()):
            n = len(rows)
            entry.request.cached -= n
            out.append(Entry(entry.request, start, n, n, ROW_REUSED | (entry.flags & ROW_FIRST)))
            parts.append(rows)
            entry.flags &= ~ROW_FIRST
        out.append(entry)
        parts.append(values[at : at + entry.n])
        at += entry.n
    return out, np.concatenate(parts)
