"""From streams of codes to one integer a unit: the statistic that a shape compares.

Every shape is reduced to an integer `s` such that, for an integer threshold `t`, the shape fires on
the unit exactly when `s > t`; a mean becomes its ceiling, since `sum > t * n` is `ceil(sum / n) >
t`. Whole streams at once, for calibration; the engine does the same token by token, and tests hold
the two together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODE_UNSCORED, Codes, Scope
from dosimeter.detectors.levels import WHOLE, Shape

Ints = npt.NDArray[np.int64]
_CHUNK = 1 << 14
NEVER = -(1 << 40)
"""Statistic of a unit (or token) on which the shape cannot fire: no full window, nothing scored."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One column of codes over many requests, end to end.

    codes    int16 [T]
    offsets  int64 [A + 1]  request a is tokens offsets[a] up to offsets[a + 1]
    scopes   uint8 [T]
    """

    codes: Codes
    offsets: Ints
    scopes: npt.NDArray[np.uint8]


def unit_statistics(stream: Stream, scope: Scope, shape: Shape) -> Ints:
    """int64 [U]: one a request that has tokens of this scope, in order; NEVER where it cannot fire.

    Windows end at a change of scope, at a change of request and at an unscored token. A request
    with several stretches of the scope counts once, with its largest statistic.
    """
    inside, request = _inside(stream, scope)
    if not inside.size:
        return np.zeros(0, dtype=np.int64)
    per_token = _at_tokens(stream, inside, request, shape)
    first = np.flatnonzero(np.diff(request, prepend=-1))
    return np.asarray(np.maximum.reduceat(per_token, first), dtype=np.int64)


def units_of(stream: Stream, scope: Scope) -> Ints:
    """int64 [U]: the request of each of `unit_statistics`, in its order."""
    _, request = _inside(stream, scope)
    return np.asarray(np.unique(request), dtype=np.int64)


def token_statistics(stream: Stream, scope: Scope, shape: Shape) -> Ints:
    """int64: one a scored token of this scope: the statistic of the window that ends at it."""
    inside, request = _inside(stream, scope)
    per_token = _at_tokens(stream, inside, request, shape)
    scored = stream.codes[inside] != CODE_UNSCORED
    return np.asarray(per_token[scored], dtype=np.int64)


def _inside(stream: Stream, scope: Scope) -> tuple[Ints, Ints]:
    """Indices of the tokens of a scope, and the request of each."""
    inside = np.flatnonzero(stream.scopes == int(scope))
    return inside, np.asarray(np.searchsorted(stream.offsets, inside, side="right") - 1)


def _at_tokens(stream: Stream, inside: Ints, request: Ints, shape: Shape) -> Ints:
    codes = stream.codes[inside].astype(np.int64)
    scored = codes != CODE_UNSCORED
    # A stretch: tokens next to each other in one request, all of the scope.
    breaks = (np.diff(inside, prepend=-2) != 1) | (np.diff(request, prepend=-1) != 0)
    if shape.kind in WHOLE:
        return _whole(codes, scored, breaks, shape)
    if shape.kind == "once":
        return np.where(scored, codes, NEVER)
    n = shape.n
    index = np.arange(len(codes))
    # First token of the run of scored tokens that each token stands in; unscored ones are in none.
    starts = breaks | ~scored
    starts[1:] |= ~scored[:-1]
    run_start = np.maximum.accumulate(np.where(starts, index, 0))
    full = scored & (index - run_start + 1 >= n)
    if shape.kind == "at_least":
        return _kth_largest(np.where(scored, codes, NEVER), index - run_start + 1, n, shape.k)
    if shape.kind == "average_last":
        return _last_means(codes, scored, breaks, n)
    if shape.kind == "average":
        total = np.concatenate(([0], np.cumsum(np.where(scored, codes, 0))))
        low = np.maximum(index + 1 - n, 0)
        return np.where(full, _ceil_div(total[index + 1] - total[low], n), NEVER)
    return np.where(full, _window_min(codes, n), NEVER)


def _whole(
    codes: Ints, scored: npt.NDArray[np.bool_], breaks: npt.NDArray[np.bool_], shape: Shape
) -> Ints:
    """The statistic of a stretch at its last token; NEVER elsewhere, and where too little of it was scored."""
    first = np.flatnonzero(breaks)
    found = np.full(len(codes), NEVER, dtype=np.int64)
    if not first.size:
        return found
    ends = np.append(first[1:], len(codes))
    counts = np.add.reduceat(scored.astype(np.int64), first)
    if shape.kind == "average_scope":
        sums = np.add.reduceat(np.where(scored, codes, 0), first)
        values = _ceil_div(sums, np.maximum(counts, 1))
    else:  # the k per cent that are largest, rounded up, begin at the front of each stretch
        stretch = np.cumsum(breaks) - 1
        ordered = codes[np.lexsort((-np.where(scored, codes, NEVER), stretch))]
        values = ordered[first + np.maximum(_ceil_div(shape.k * counts, 100), 1) - 1]
    enough = (counts >= max(shape.least, 1)) & (counts * 100 >= shape.coverage * (ends - first))
    found[ends - 1] = np.where(enough, values, NEVER)
    return found


def _last_means(
    codes: Ints, scored: npt.NDArray[np.bool_], breaks: npt.NDArray[np.bool_], n: int
) -> Ints:
    """At the last token of a stretch the mean of its last n tokens, or of all; NEVER elsewhere."""
    first = np.flatnonzero(breaks)
    found = np.full(len(codes), NEVER, dtype=np.int64)
    if not first.size:
        return found
    end = np.append(first[1:], len(codes))
    low = np.maximum(first, end - n)
    total = np.concatenate(([0], np.cumsum(np.where(scored, codes, 0))))
    missing = np.concatenate(([0], np.cumsum(~scored)))
    whole = missing[end] == missing[low]
    found[end - 1] = np.where(whole, _ceil_div(total[end] - total[low], end - low), NEVER)
    return found


def _kth_largest(codes: Ints, run: Ints, n: int, k: int) -> Ints:
    """The k-th largest of the last n codes of the run that each token ends; NEVER where the run is shorter than k.

    run int64 [T]: its length so far. A chunk at a time, for a window a token is many numbers.
    """
    found = np.full(len(codes), NEVER, dtype=np.int64)
    padded = np.concatenate((np.full(n - 1, NEVER), codes))
    age = np.arange(n - 1, -1, -1)  # of each code of a window
    for low in range(0, len(codes), _CHUNK):
        part = slice(low, low + _CHUNK)
        windows = np.lib.stride_tricks.sliding_window_view(padded[low : low + _CHUNK + n - 1], n)
        inside = np.where(age < run[part, None], windows, NEVER)
        found[part] = np.partition(inside, n - k, axis=1)[:, n - k]
    return np.where(run >= k, found, NEVER)


def _window_min(codes: Ints, n: int) -> Ints:
    """Smallest of the n codes that end at each token (of those there are, near the start)."""
    smallest, width = codes.copy(), 1
    while width < n:
        step = min(width, n - width)  # two overlapping windows of `width` cover width + step
        smallest[step:] = np.minimum(smallest[step:], smallest[:-step])
        width += step
    return smallest


def _ceil_div(total: Ints, n: int | Ints) -> Ints:
    return -(-total // n)
