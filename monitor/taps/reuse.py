"""A step through the score cache: what was scored is kept, and a cached prefix gets the scores it had.

The rows that come out are those of the step, with what is known of the positions that the server passed over right
before those it ran. What is not known stays a gap, which the request counts as `prefix_cache`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, chain

import numpy as np

from dosimeter.detectors.frames import ROW_FIRST, ROW_REUSED
from dosimeter.monitor.taps.rows import Entries
from dosimeter.monitor.taps.score_cache import ScoreCache
from dosimeter.monitor.taps.score_tails import Values

OnError = Callable[[Exception], None]


def with_reused(
    cache: ScoreCache, entries: Entries, values: Values, on_error: OnError
) -> tuple[Entries, Values]:
    """values: [T, F] of this step. on_error: told what costs a request its reuse."""
    going_on: list[int] = []  # one row more of what is known
    rest: list[int] = []
    passed: list[int] = []
    for index, (request, n, skipped) in enumerate(
        zip(entries.requests, entries.n, entries.skipped, strict=True)
    ):
        if request.ids is None or request.uncached:
            continue
        if skipped:
            passed.append(index)
        elif n == 1 and request.chain is not None:
            going_on.append(index)
        else:
            rest.append(index)
    places = [0, *accumulate(entries.n)]
    rest += _extended(cache, entries, values, going_on, places, on_error)
    found: dict[int, list[tuple[int, Values]]] = {}
    # What was passed over comes after what others ran in this very step: a server may share that already.
    for index in chain(rest, passed):
        mine = values[places[index] : places[index + 1]]
        found[index] = _known(cache, entries, index, mine, on_error)
    return _spliced(entries, values, found) if any(found.values()) else (entries, values)


def _extended(
    cache: ScoreCache,
    entries: Entries,
    values: Values,
    which: list[int],
    places: list[int],
    on_error: OnError,
) -> list[int]:
    """Keep the rows of those that are inside a block, all at once; the others."""
    going = [(index, begun) for index in which if (begun := entries.requests[index].chain)]
    if not going:
        return which
    every = len(going) == len(entries)
    starts = entries.start if every else [entries.start[index] for index, _ in going]
    rows = values if every else values[[places[index] for index, _ in going]]
    try:
        left = cache.extend([begun for _, begun in going], starts, rows)
    except Exception as error:  # each is tried by itself then
        on_error(error)
        return which
    return [going[index][0] for index in left]


def _known(
    cache: ScoreCache, entries: Entries, index: int, values: Values, on_error: OnError
) -> list[tuple[int, Values]]:
    """Keep a request's rows; what is known of what it passed over. One that fails is left out from now on."""
    request, start, skipped = entries.requests[index], entries.start[index], entries.skipped[index]
    found = list[tuple[int, Values]]()
    try:
        if request.ids is None:
            return found
        if request.chain is None:
            request.chain = cache.chain(request.salt)
        if skipped:
            seen = start - skipped
            for begins, rows in cache.prefix(request.chain, start, request.ids):
                if begins + len(rows) > seen:
                    found.append((max(begins, seen), rows[max(0, seen - begins) :]))
        cache.add(request.chain, start, values, request.ids)
    except Exception as error:  # its tokens stay `prefix_cache`, and everybody else's cache goes on
        request.uncached, request.chain, found = True, None, []
        on_error(error)
    return found


def _spliced(
    entries: Entries, values: Values, found: dict[int, list[tuple[int, Values]]]
) -> tuple[Entries, Values]:
    out = Entries()
    parts: list[Values] = []
    at = 0
    for index, (request, start, n) in enumerate(entries):
        flags = entries.flags[index]
        for begins, rows in found.get(index, ()):
            reused = len(rows)
            request.cached -= reused
            out.enter(request, begins, reused, reused, ROW_REUSED | (flags & ROW_FIRST))
            parts.append(rows)
            flags &= ~ROW_FIRST
        out.enter(request, start, n, entries.new[index], flags, entries.skipped[index])
        parts.append(values[at : at + n])
        at += n
    return out, np.concatenate(parts)
