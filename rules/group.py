"""The atoms of one scope and the integer arithmetic that advances all of them over all rows at
once.

Owns the running state of those atoms, one row a slot. It never learns which request a slot is,
nor which rules want an atom; `rules/kernel.py` cuts a frame into segments and turns crossings
into firings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dosimeter.detectors.frames import CODE_UNSCORED, Codes
from dosimeter.rules.atoms import Atom
from dosimeter.rules.segments import Bools, Ints, Narrow, Rows, Segments

_HIGHEST = np.int32(2**31 - 1)
_KINDS = {"once": 0, "for": 0, "average": 1, "average_scope": 2}


class Crossing(NamedTuple):
    """An atom became true for a slot of which some rule still waits for it."""

    order: int  # of the segment in the frame
    position: int  # the deciding token
    ended: bool  # decided because the scope ended
    atom: int  # index into the program's atoms
    slot: int
    start: int  # the span that satisfied the shape, half open
    end: int
    value_sum: int  # the statistic is value_sum / value_n, in codes
    value_n: int
    scored: int  # tokens of this scope with a code in the atom's column, up to the deciding one
    unscored: int


class Group:
    """State of the A atoms of one scope, ordered R runs, W windows, M totals; one row a slot.

    run    int32 [R + W]   hits in a row (runs), scored tokens in a row (windows)
    low    int32 [R]       least signed code of the current run, the highest number without one
    prefix int32 [W]       sum of signed codes so far modulo 2**32: only differences are used
    ring   int32 [sum(n)]  prefix after each of the last n positions, at position modulo n
    total  int64 [M]       sum of signed codes of the scope
    lost   int32 [A]       rows of the scope without a code in the atom's column
    live   bool  [A]       some rule of the atom has not fired yet
    """

    def __init__(self, atoms: Sequence[tuple[int, Atom]], slots: int) -> None:
        ordered = sorted(atoms, key=lambda item: (_KINDS[item[1].shape], item[0]))
        kinds = [_KINDS[a.shape] for _, a in ordered]
        self.ids = [i for i, _ in ordered]
        self.columns = np.array([a.column for _, a in ordered], np.intp)
        self.sign = np.array([a.direction for _, a in ordered], np.int32)
        self.n = np.array([a.n for _, a in ordered], np.int64)
        self.theta = np.array([a.threshold * a.direction for _, a in ordered], np.int64)
        self.runs = kinds.count(0)
        self.flow = self.runs + kinds.count(1)  # runs and windows are decided at a token
        self.window_n = self.n[self.runs : self.flow]
        self.ring_at = np.cumsum(self.window_n) - self.window_n
        self.run_theta = self.theta[: self.runs].astype(np.int32)
        self.window_theta = (self.theta * self.n)[self.runs : self.flow].astype(np.int32)
        self.run = np.zeros((slots, self.flow), np.int32)
        self.low = np.zeros((slots, self.runs), np.int32)
        self.prefix = np.zeros((slots, self.flow - self.runs), np.int32)
        self.ring = np.zeros((slots, int(self.window_n.sum())), np.int32)
        self.total = np.zeros((slots, len(ordered) - self.flow), np.int64)
        self.lost = np.zeros((slots, len(ordered)), np.int32)
        self.live = np.ones((slots, len(ordered)), np.bool_)

    def grow(self, slots: int) -> None:
        for name in ("run", "low", "prefix", "ring", "total", "lost", "live"):
            old = getattr(self, name)
            new = np.zeros((slots, old.shape[1]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    def advance(self, codes: Codes, segments: Segments) -> list[Crossing]:
        """Takes every row of these segments, all of this scope, and stores the state after."""
        s = segments
        rows = Rows.gather(s, codes, self.columns, self.sign)
        first, bad = rows.first, rows.bad
        lost = np.where(s.fresh[:, None], 0, self.lost[s.slot])
        crossings = self._at_tokens(rows, lost)
        if rows.any_bad:
            lost = lost + np.add.reduceat(bad, first, axis=0, dtype=np.int32)
        self.lost[s.slot[s.last]] = lost[s.last]
        if self.flow < len(self.ids):
            totals = np.where(s.fresh[:, None], 0, self.total[s.slot])
            totals = totals + np.add.reduceat(rows.x[:, self.flow :], first, axis=0, dtype=np.int64)
            self.total[s.slot[s.last]] = totals[s.last]
            over = np.flatnonzero(~s.last)  # the scope ends inside this frame
            if over.size:
                rows_seen = s.rows_before[over] + s.n[over]
                crossings += self._at_end(
                    s.take(over), totals[over], rows_seen, lost[over], s.start[over] + s.n[over]
                )
        return crossings

    def decode(self, slots: Ints, positions: Ints, codes: Codes) -> bool:
        """One more row of each slot, in the scope it is in, right after its last: the usual step.

        codes: int16 [S, F]. Does what `advance` would do, with a fraction of the array operations.
        Where a row lacks a code or makes an atom true it takes nothing and returns False.
        """
        raw = codes[:, self.columns]
        if (raw == CODE_UNSCORED).any():
            return False
        x = raw * self.sign  # int32 [S, A]
        runs, flow = self.runs, self.flow
        hit = x[:, :runs] > self.run_theta
        run = self.run[slots] + 1
        run[:, :runs] *= hit
        true = (run >= self.n[:flow]) & self.live[slots, :flow]
        at = slots[:, None]
        prefix = cell = None
        if runs < flow:
            prefix = self.prefix[slots] + x[:, runs:flow]
            cell = self.ring_at + positions[:, None] % self.window_n
            true[:, runs:] &= prefix - self.ring[at, cell] > self.window_theta
        if true.any():
            return False
        self.run[slots] = run
        if runs:
            least = np.minimum(self.low[slots], x[:, :runs])
            self.low[slots] = np.where(hit, least, _HIGHEST)
        if prefix is not None:
            self.ring[at, cell] = prefix
            self.prefix[slots] = prefix
        if flow < len(self.ids):
            self.total[slots] += x[:, flow:]
        return True

    def end(self, segments: Segments) -> list[Crossing]:
        """Decides what waits for the scope's end; `start` is the position after its last row."""
        s = segments
        return self._at_end(s, self.total[s.slot], s.rows_before, self.lost[s.slot], s.start)

    def _at_tokens(self, r: Rows, lost: Narrow) -> list[Crossing]:
        """Runs and windows: which became true, and the state after the last row of each segment."""
        if not self.flow:
            return []
        s, runs = r.segments, self.runs
        broken = (s.fresh | s.gap)[:, None]
        carry = np.where(broken, 0, self.run[s.slot])
        hit = ~r.bad[:, : self.flow]
        hit[:, :runs] &= r.x[:, :runs] > self.run_theta
        run = r.run_lengths(hit, carry)
        true = (run >= self.n[: self.flow]) & self.live[s.slot, : self.flow][r.of]
        low = np.where(broken, _HIGHEST, self.low[s.slot])
        sums = self._windows(r, run, true) if runs < self.flow else None
        found = self._crossed(r, true, sums, low, lost) if true.any() else []
        tail = run[r.ends - 1]  # after the last row of each segment
        stop = s.last
        self.run[s.slot[stop]] = tail[stop]
        if runs:
            in_tail = (r.ends[r.of] - r.t)[:, None] <= tail[r.of, :runs]
            lows = np.minimum.reduceat(np.where(in_tail, r.x[:, :runs], _HIGHEST), r.first, axis=0)
            lows = np.where(tail[:, :runs] > s.n[:, None], np.minimum(lows, low), lows)
            self.low[s.slot[stop]] = lows[stop]
        return found

    def _windows(self, r: Rows, run: Ints, true: Bools) -> Narrow:
        """Sums over the last n tokens of each row (valid where the run is long enough); clears
        the rows of `true` whose sum is not over, and stores prefix and ring."""
        s, x = r.segments, r.x[:, self.runs : self.flow]
        n, at = self.window_n, self.ring_at
        carry = self.prefix[s.slot]  # never reset: only differences are used
        flat = np.cumsum(x, axis=0, dtype=np.int32)
        prefix = flat + (carry - flat[r.first] + x[r.first])[r.of]
        position = (s.start - r.first)[r.of] + r.t
        slot = s.slot[r.of]
        cell = at + position[:, None] % n
        d = (r.t - r.first[r.of])[:, None]  # rows of this segment before this one
        base = self.ring[slot[:, None], cell]
        np.copyto(base, carry[r.of], where=d == n - 1)
        if (inside := d >= n).any():
            row, column = np.nonzero(inside)
            base[row, column] = prefix[row - n[column], column]
        sums = prefix - base
        true[:, self.runs :] &= sums > self.window_theta
        broken = np.flatnonzero((s.fresh | s.gap) & s.last)
        if broken.size:  # a window that starts right here reaches back to the position before
            self.ring[s.slot[broken][:, None], at + (s.start[broken] - 1)[:, None] % n] = carry[
                broken
            ]
        keep = ((r.ends[r.of] - r.t)[:, None] <= n) & s.last[r.of][:, None]
        row, column = np.nonzero(keep)
        self.ring[slot[row], cell[row, column]] = prefix[row, column]
        self.prefix[s.slot[s.last]] = prefix[r.ends - 1][s.last]
        return sums

    def _crossed(
        self, r: Rows, true: Bools, sums: Narrow | None, low: Narrow, lost: Narrow
    ) -> list[Crossing]:
        """The first true row of every (segment, atom)."""
        rows, columns = np.nonzero(true)
        _, index = np.unique(r.of[rows] * self.flow + columns, return_index=True)
        s, found = r.segments, []
        for t, a in zip(rows[index].tolist(), columns[index].tolist(), strict=True):
            i = int(r.of[t])
            first, n = int(r.first[i]), int(self.n[a])
            position = int(s.start[i]) + t - first
            if a < self.runs:
                value = int(r.x[max(first, t - n + 1) : t + 1, a].min())
                value = min(value, int(low[i, a])) if t - n + 1 < first else value
                count = 1
            else:
                assert sums is not None
                value, count = int(sums[t, a - self.runs]), n
            gone = int(lost[i, a]) + int(r.bad[first : t + 1, a].sum())
            scored = int(s.rows_before[i]) + t - first + 1 - gone
            found.append(
                Crossing(
                    int(s.order[i]),
                    position,
                    False,
                    self.ids[a],
                    int(s.slot[i]),
                    position - n + 1,
                    position + 1,
                    value * int(self.sign[a]),
                    count,
                    scored,
                    position + 1 - int(s.scope_from[i]) - scored,
                )
            )
        return found

    def _at_end(
        self, s: Segments, totals: Ints, rows: Ints, lost: Narrow, end: Ints
    ) -> list[Crossing]:
        scored = rows[:, None] - lost[:, self.flow :]
        over = (scored > 0) & (totals > self.theta[self.flow :] * scored)
        over &= self.live[s.slot, self.flow :]
        return [
            Crossing(
                int(s.order[i]),
                int(end[i]) - 1,
                True,
                self.ids[a + self.flow],
                int(s.slot[i]),
                int(s.first_row[i]),
                int(end[i]),
                int(totals[i, a]) * int(self.sign[a + self.flow]),
                int(scored[i, a]),
                int(scored[i, a]),
                int(end[i]) - int(s.scope_from[i]) - int(scored[i, a]),
            )
            for i, a in zip(*(index.tolist() for index in np.nonzero(over)), strict=True)
        ]
