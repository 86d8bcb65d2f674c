"""Segments of a frame and the rows they cover: the arrays that group arithmetic runs over.

A segment is a stretch of consecutive positions of one slot in one scope. Rows of a frame stand in
order, so running values are computed over all rows together and cut where a segment begins.
Nothing here keeps state.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODE_UNSCORED, Codes

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Narrow = npt.NDArray[np.int32]


@dataclass(slots=True)
class Segments:
    """Segments of one frame without replayed rows; arrays of one length S, every n >= 1."""

    slot: Ints
    scope: Ints
    start: Ints  # position of the first row
    n: Ints
    row: Ints  # index of the first row in codes
    fresh: Bools  # the slot's row before this one was in another scope, or there was none
    gap: Bools  # positions are missing before `start`
    last: Bools  # no later segment of this frame has the same slot
    scope_from: Ints  # first position that counts for this occurrence of the scope
    first_row: Ints  # position of the occurrence's first row
    rows_before: Ints  # rows of this occurrence in earlier frames
    order: Ints  # place in the frame

    def take(self, index: Ints) -> Segments:
        return Segments(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(slots=True)
class Rows:
    """The rows that one scope's A atoms take from a frame: T rows in S segments."""

    segments: Segments
    t: Ints  # [T] 0, 1, 2 ...
    of: Ints  # [T] segment of the row
    first: Ints  # [S] first row of the segment
    ends: Ints  # [S] one past its last row
    x: Narrow  # [T, A] code times direction, 0 where unscored
    bad: Bools  # [T, A] unscored
    any_bad: bool

    @classmethod
    def gather(
        cls, segments: Segments, codes: Codes, columns: npt.NDArray[np.intp], sign: Narrow
    ) -> Rows:
        """columns, sign: [A], of each atom."""
        s = segments
        ends = np.cumsum(s.n)
        first = ends - s.n
        t = np.arange(int(ends[-1]))
        of = np.repeat(np.arange(len(s.n)), s.n)
        raw = codes[(t + (s.row - first)[of])[:, None], columns]
        bad = raw == CODE_UNSCORED
        x = raw.astype(np.int32) * sign
        if any_bad := bool(bad.any()):
            x[bad] = 0
        return cls(s, t, of, first, ends, x, bad, any_bad)

    def run_lengths(self, hit: Bools, carry: Narrow) -> Ints:
        """Consecutive hits up to each row, continuing `carry` [S, K]. hit, result: [T, K]."""
        if len(self.t) == len(self.first):  # one row a segment: decode
            return np.where(hit, carry + 1, 0)
        t, first = self.t[:, None], self.first[self.of][:, None]
        miss = np.maximum.accumulate(np.where(hit, -1, t), axis=0)
        return np.where(miss >= first, t - miss, t - first + 1 + carry[self.of])
