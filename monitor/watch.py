"""What one server scores of the columns that rules over the monitor ask about: at all, and in the mean of a request.

Every frame passes by here, so it keeps what costs least: whether a column was scored since it was last asked, and the
frames themselves, which are added up many at a time. It knows nothing of rules, clocks or calibrations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODE_UNSCORED, Codes, Scope, ScoreFrame
from dosimeter.detectors.shapes import NEVER, Ints

BATCH = 8
"""Frames added up together: fewer cost more in all, more hold up the frame that comes next."""


class Watch:
    """scored: columns of which it is asked whether any token has a score; means: columns and scopes whose mean of
    each request is asked for."""

    def __init__(self, scored: Sequence[int], means: Sequence[tuple[int, Scope]]) -> None:
        self._asked = list(scored)
        self._unseen = list(scored)
        self._means = tuple(means)
        self._columns = [column for column, _ in means]
        self._frames: list[tuple[npt.NDArray[np.void], Codes]] = []
        self._slots: dict[int, int] = {}  # by request
        self._free: list[int] = []
        self._sums = np.zeros((0, 2, len(means)), np.int64)  # by slot: of codes, and how many
        self._ended: list[int] = []

    def frame(self, frame: ScoreFrame) -> None:
        if self._unseen:
            seen = (frame.codes[:, self._unseen] != CODE_UNSCORED).any(axis=0)
            self._unseen = [c for c, was in zip(self._unseen, seen, strict=True) if not was]
        if self._means:
            self._frames.append((frame.segments, frame.codes[:, self._columns]))
            if len(self._frames) >= BATCH:
                self._add_up()

    def ended(self, key: int) -> None:
        """A request is over, with what was scored of it."""
        if self._means:
            self._ended.append(key)

    def take(self) -> tuple[frozenset[int], list[Ints]]:
        """Since this was last asked: the columns with a score, and for each of `means` the requests that ended.

        int64, in the order of their ends: the ceiling of the mean code; NEVER where the scope has no score.
        """
        found = frozenset(self._asked).difference(self._unseen)
        self._unseen = list(self._asked)
        self._add_up()
        ended, self._ended = [self._slot(key) for key in self._ended], []
        sums, counts = self._sums[ended].transpose(1, 2, 0)
        means = np.where(counts > 0, -(-sums // np.maximum(counts, 1)), NEVER)
        self._sums[ended] = 0
        gone = set(ended)
        self._slots = {key: slot for key, slot in self._slots.items() if slot not in gone}
        self._free += gone
        return found, list(means)

    def _add_up(self) -> None:
        if not self._frames:
            return
        keys, ns, scopes = (
            np.concatenate([segments[name] for segments, _ in self._frames])
            for name in ("key", "n", "scope")
        )
        codes = np.concatenate([codes for _, codes in self._frames])
        self._frames = []
        keys, request = np.unique(keys, return_inverse=True)
        rows, scopes = np.repeat(request, ns), np.repeat(scopes, ns)
        total = np.zeros((len(keys), 2, len(self._means)), np.int64)
        for at, (_, scope) in enumerate(self._means):
            scored = (scopes == int(scope)) & (codes[:, at] != CODE_UNSCORED)
            of, column = rows[scored], codes[scored, at]
            total[:, 0, at] = np.bincount(of, column, len(keys)).astype(np.int64)  # exact: < 2**53
            total[:, 1, at] = np.bincount(of, minlength=len(keys))
        slots = [self._slot(key) for key in keys.tolist()]
        self._sums[slots] += total

    def _slot(self, key: int) -> int:
        found = self._slots.get(key)
        if found is None:
            if not self._free:
                known = len(self._sums)
                more = np.zeros((max(64, known), 2, len(self._means)), np.int64)
                self._sums = np.concatenate([self._sums, more])
                self._free += range(known, len(self._sums))
            found = self._slots[key] = self._free.pop()
        return found
