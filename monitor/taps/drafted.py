"""Assisted decoding: a step runs drafts, and its rows wait until the server has said how many it keeps.

The server cuts its cache back to what it accepted before the next step, and its answer ends there. A row of a rejected
draft goes nowhere: it is no position of the answer, and nothing may fire on it.
"""

from __future__ import annotations

from typing import Any

import torch

from dosimeter.monitor.taps.batch import Batch, sequences_of
from dosimeter.monitor.taps.seams import guarded
from dosimeter.monitor.taps.tap import Held


class Drafted(Batch):
    """One row, whose every step runs one token and the drafts after it."""

    held: Held | None = None
    first = 0  # column of the first of the rows held

    def before(self, ids: torch.Tensor | None, past: Any) -> None:
        if self.is_step(past):
            guarded(lambda: self._cut_back(int(past.get_seq_length())))
        super().before(ids, past)

    def _cut_back(self, columns: int) -> None:
        self._keep(columns)
        self.column = self.first = columns

    def _cancel(self) -> None:
        """How many drafts were kept is not known; what they were run after was the server's own before."""
        guarded(lambda: self._keep(max(self.first + 1, self.prompt_columns)))
        super()._cancel()

    def _mark_finished(self, last: list[int]) -> None:
        """Nothing: the last input is a draft, and a row that has ended is not run again."""

    def after(self) -> None:
        step, self.step = self.step, None
        if step is not None:
            self.held = self.tap.hold(step)

    def _keep(self, columns: int) -> None:
        """The server kept what ran below this column."""
        held, self.held = self.held, None
        if held is not None:
            n = self._before(columns) - self._before(self.first)
            # One row, or none where it could not be named.
            self.tap.release(held, [n for _ in held.rows])

    def _before(self, column: int) -> int:
        """How many of the columns below this one hold a token."""
        return int(self.mask[0, :column].sum() + max(0, column - self.prompt_columns))

    def finish(self, output: Any) -> Any:
        guarded(lambda: self._keep(int(sequences_of(output).shape[1]) - 1))
        return super().finish(output)
