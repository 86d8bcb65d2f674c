"""A step through the score cache: what was scored is kept, and a cached prefix gets the scores it had.

The rows that come out are those of the step, with the known rows of a request's prefix right before its
first ones. What is not known stays a gap, which the request counts as `prefix_cache`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dosimeter.detectors.frames import ROW_FIRST, ROW_REUSED
from dosimeter.monitor.taps.rows import Entry, Rows
from dosimeter.monitor.taps.score_cache import Chain, Ids, ScoreCache, Values


def with_reused(
    cache: ScoreCache, rows: Sequence[Rows], entries: list[Entry], values: Values
) -> tuple[list[Entry], Values]:
    """entries: one for each of `rows`; values: [T, F] of this step."""
    found: dict[int, list[tuple[int, Values]]] = {}
    begun: list[tuple[int, Rows, Values, Chain, Ids]] = []
    at = 0
    for index, row in enumerate(rows):
        mine, at, ids = values[at : at + row.n], at + row.n, row.ids
        if ids is None:
            continue
        if row.request.chain is None:
            row.request.chain = cache.chain(row.salt)
        chain = row.request.chain
        if entries[index].flags & ROW_FIRST and row.start:
            begun.append((index, row, mine, chain, ids))
        else:
            cache.add(chain, row.start, mine, ids)
    # After what others ran in this very step: a server may share that already.
    for index, row, mine, chain, ids in begun:
        found[index] = cache.prefix(chain, row.start, ids)
        cache.add(chain, row.start, mine, ids)
    return _spliced(entries, values, found) if any(found.values()) else (entries, values)


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
