"""Rows that came before their request was opened, kept for a while: tap and front may speak separately.

Bounded: the oldest give way to the newest and are counted, and then missing in the account of their request.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import ROWS, Codes, StepFrame

LIMIT = 4096  # rows


class Waiting:
    """Early rows by key. dropped: rows that gave way to later ones, or whose request ended unopened."""

    def __init__(self) -> None:
        self._frames: dict[int, list[tuple[StepFrame, bool]]] = {}
        self._rows = 0
        self.dropped = 0

    def add(
        self,
        key: int,
        row: npt.NDArray[np.void],
        codes: Codes,
        frame: StepFrame,
        *,
        paused: bool = False,
    ) -> None:
        """Keep a copy of one row entry of `frame`. codes: int16 [n, F]. paused: it came in a pause."""
        if not 0 < len(codes) <= LIMIT:
            self.dropped += len(codes)
            return
        while self._rows + len(codes) > LIMIT:
            self.drop(next(iter(self._frames)))
        early = StepFrame(np.array([row], ROWS), codes.copy(), frame.hook_ns, frame.time_ns)
        self._frames.setdefault(key, []).append((early, paused))
        self._rows += len(codes)

    def take(self, key: int) -> list[tuple[StepFrame, bool]]:
        """What waited for this request, in the order it came, and whether it came in a pause."""
        frames = self._frames.pop(key, [])
        self._rows -= sum(len(frame.codes) for frame, _ in frames)
        return frames

    def clear(self) -> None:
        for key in list(self._frames):
            self.drop(key)

    def drop(self, key: int) -> None:
        self.dropped += sum(len(frame.codes) for frame, _ in self.take(key))
