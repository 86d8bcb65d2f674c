"""How scores are distributed, for metrics: tokens by feature and by how high they scored.

A histogram of OpenTelemetry takes no value below zero and is recorded one value at a time; here a few hundred tokens
are counted at once, from their codes. The counts are telemetry: no rule reads them, and they begin at zero with the
process. It knows nothing of requests.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from dosimeter.detectors.frames import CODE_UNSCORED, CODES_PER_SD, Codes

log = logging.getLogger(__name__)

EDGES = (-4.0, -2.0, -1.0, 0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 12.0)
"""Upper ends of the bins, in benign standard deviations; finer where levels lie."""
BINS = (*(f"{edge:g}" for edge in EDGES), "+Inf")
MOST_FEATURES = 64
"""Of which there are series; each has as many as there are bins."""
AT_ONCE = 256  # tokens: below it the calls cost more than the counting

WITHOUT = len(BINS)  # the bin of what has no score; never shown
WIDTH = len(BINS) + 1


def _bins() -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The bin of every code there is, in the order of an index that counts from the end below zero."""
    codes = np.arange(1 << 16).astype(np.uint16).view(np.int16)
    found = np.searchsorted(np.array(EDGES) * CODES_PER_SD, codes, side="left")
    found[CODE_UNSCORED] = WITHOUT
    return found


BIN_OF = _bins()


class ScoreCounts:
    """`add` and `settle` from the line's thread; `totals` from any, and behind by what is not settled."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}  # feature -> its row of counts
        self._counts = np.zeros((MOST_FEATURES, WIDTH), np.int64)
        self._columns: tuple[str, ...] = ()
        self._waiting: list[Codes] = []
        self._tokens = 0

    def add(self, columns: tuple[str, ...], codes: Codes) -> None:
        """columns: the feature of each column. codes: int16 [T, F]; not to be changed afterwards."""
        if columns != self._columns:
            self.settle()
            self._columns = columns
            self._meet(columns)
        self._waiting.append(codes)
        self._tokens += len(codes)
        if self._tokens >= AT_ONCE:
            self.settle()

    def settle(self) -> None:
        """Count what waits."""
        if not self._tokens:
            return
        codes, self._waiting, self._tokens = np.concatenate(self._waiting), [], 0
        rows = [self._rows.get(feature, -1) for feature in self._columns]
        kept = [column for column, row in enumerate(rows) if row >= 0]
        places = BIN_OF[codes[:, kept]] + np.array([rows[c] * WIDTH for c in kept], np.intp)
        counted = np.bincount(places.ravel(), minlength=self._counts.size)
        self._counts += counted.reshape(self._counts.shape)

    def totals(self) -> Iterator[tuple[str, str, int]]:
        """(feature, bin, tokens that scored in this bin or a lower one)."""
        sums = np.cumsum(self._counts[:, :WITHOUT], axis=1)
        for feature, row in list(self._rows.items()):
            for name, total in zip(BINS, sums[row], strict=True):
                yield feature, name, int(total)

    def _meet(self, columns: tuple[str, ...]) -> None:
        for feature in columns:
            if feature in self._rows:
                continue
            if len(self._rows) == MOST_FEATURES:
                log.warning("scores of `%s` and later features have no metric", feature)
                return
            self._rows[feature] = len(self._rows)
