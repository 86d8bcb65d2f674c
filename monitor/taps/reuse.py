"""A step through the score cache: what was scored is kept, and a cached prefix gets the scores it had.

The rows that come out are those of the step, with what is known of the positions that the server passed over right
before those it ran. What is not known stays a gap, which the request counts as `prefix_cache`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dosimeter.detectors.frames import ROW_FIRST, ROW_REUSED
from dosimeter.monitor.taps.rows import Entry, Rows
from dosimeter.monitor.taps.score_cache import ScoreCache, Values

OnError = Callable[[Exception], None]


def with_reused(
    cache: ScoreCache,
    rows: Sequence[Rows],
    entries: list[Entry],
    values: Values,
    on_error: OnError,
) -> tuple[list[Entry], Values]:
    """entries: one for each of `rows`; values: [T, F] of this step. on_error: told what costs a request its reuse."""
    found: dict[int, list[tuple[int, Values]]] = {}
    passed: list[tuple[int, Rows, Values]] = []
    at = 0
    for index, row in enumerate(rows):
        mine, at = values[at : at + row.n], at + row.n
        if row.ids is None or row.request.uncached:
            continue
        if entries[index].skipped:
            passed.append((index, row, mine))
        else:
            _known(cache, row, mine, on_error)
    # After what others ran in this very step: a server may share that already.
    for index, row, mine in passed:
        found[index] = _known(cache, row, mine, on_error, entries[index].skipped)
    return _spliced(entries, values, found) if any(found.values()) else (entries, values)


def _known(
    cache: ScoreCache, row: Rows, values: Values, on_error: OnError, skipped: int = 0
) -> list[tuple[int, Values]]:
    """Keep a request's rows; what is known of so many positions before them. One that fails is left out from now on."""
    request, found = row.request, list[tuple[int, Values]]()
    try:
        if row.ids is None:
            return found
        if request.chain is None:
            request.chain = cache.chain(row.salt)
        if skipped:
            seen = row.start - skipped
            for start, rows in cache.prefix(request.chain, row.start, row.ids):
                if start + len(rows) > seen:
                    found.append((max(start, seen), rows[max(0, seen - start) :]))
        cache.add(request.chain, row.start, values, row.ids)
    except Exception as error:  # its tokens stay `prefix_cache`, and everybody else's cache goes on
        request.uncached, request.chain, found = True, None, []
        on_error(error)
    return found


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
