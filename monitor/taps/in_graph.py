"""The read-out inside a compiled forward: what the hooks leave in the server's own graph, and nothing of Python.

torch.compile traces a block's hook once, with the block; from then on these few operations run where the graph runs,
write into buffers whose addresses never change, and call no Python. So a graph that was captured or compiled with them
stays as it is: other weights are written into the same place, which is as large as any that may come. Hooks that are
put on a model after its first compiled forward are not in its graph; such a step leaves no trace here, and is then
found unread.
"""

from __future__ import annotations

import numpy as np
import torch

ROWS = 1 << 15
"""Rows of one step that are read inside a graph. A larger step is found unread, and counted."""
_STEP = 1 << 32


class InGraph:
    """A static buffer of scores, and for each tapped block how often it was read, and how many rows."""

    def __init__(self, weights: torch.Tensor, bias: torch.Tensor) -> None:
        """weights: [L, F, D], bias: [F], float32, on the model's device; kept, not copied. F: all there is room for."""
        self.weights, self._bias = weights, bias
        self._out = torch.zeros((ROWS, len(bias)), device=bias.device)
        # Of each block: rows it read in its low half, and 2**32 a time it read.
        self._seen = torch.zeros(len(weights), dtype=torch.int64, device=bias.device)

    def begin(self) -> None:
        self._seen.zero_()

    def trace(self, index: int, hidden: torch.Tensor) -> None:
        """Of tapped block `index`, its rows [..., D]. Called by the compiler while it traces, never in a step."""
        # What cannot be multiplied is left alone: the compiler would make the server's error of it.
        if hidden.device != self._out.device or hidden.shape[-1] != self.weights.shape[-1]:
            return
        rows = hidden.detach().reshape(-1, hidden.shape[-1])
        count = rows.shape[0]
        if count > self._out.shape[0]:
            return
        scores = rows.float() @ self.weights[index].t()
        out = self._out[:count]
        if index == 0:
            out.copy_(scores + self._bias)
        else:
            out.add_(scores)
        self._seen[index : index + 1].add_(count + _STEP)

    def rows(self) -> int | None:
        """How many rows the step had that ran since `begin`; None where no graph read one, or not once and whole."""
        seen = self._seen.cpu().numpy()
        counts = np.unique(seen)
        if len(counts) != 1 or counts[0] < _STEP or counts[0] >= 2 * _STEP:
            return None
        return int(counts[0] - _STEP)

    def scores(self, count: int) -> torch.Tensor:
        """[count, F], of the step before; a view that the next one overwrites."""
        return self._out[:count]
