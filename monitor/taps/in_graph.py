"""The read-out inside a compiled forward: what the hooks leave in the server's own graph, and nothing of Python.

torch.compile traces a block's hook once, with the block; from then on these few operations run where the graph runs,
write into buffers whose addresses never change, and call no Python. So a graph that was captured or compiled with them
stays as it is: other weights are written into the same place, which is as large as any that may come. Hooks that are
put on a model after its first compiled forward are not in its graph; such a step leaves no trace here, and is then
found unread.
"""

from __future__ import annotations

import torch

ROWS = 1 << 15
"""Rows of one step that are read inside a graph. A larger step is found unread, and counted."""
_STEP = 1 << 32


class InGraph:
    """A static buffer of scores, written once a step, and what a graph says of the step that wrote it."""

    def __init__(self, weights: torch.Tensor, bias: torch.Tensor) -> None:
        """weights: [L, F, D], bias: [F], float32, on the model's device; kept, not copied. F: all there is room for."""
        self.weights, self._bias = weights, bias
        self._out = torch.zeros((ROWS, len(bias)), device=bias.device)
        # Rows that were written, and 2**32 a time that they were.
        self._seen = torch.zeros(1, dtype=torch.int64, device=bias.device)
        # The last block read, and the sum up to it.
        self._so_far: tuple[int, torch.Tensor] | None = None

    def begin(self) -> None:
        self._seen.zero_()
        self._so_far = None

    def trace(self, index: int, hidden: torch.Tensor) -> None:
        """Of tapped block `index`, its rows [..., D]. Called by the compiler while it traces, never in a step."""
        before, self._so_far = self._so_far, None
        if index != (0 if before is None else before[0] + 1):
            # Left out, or run twice: the graph must never pass for a whole one.
            self._seen.add_(2 * _STEP)
            return
        # What cannot be multiplied is left alone: the compiler would make the server's error of it.
        if hidden.device != self._out.device or hidden.shape[-1] != self.weights.shape[-1]:
            return
        rows = hidden.detach().reshape(-1, hidden.shape[-1])
        so_far = rows.float() @ self.weights[index].t()
        so_far = so_far + (self._bias if before is None else before[1])
        if index < len(self.weights) - 1:
            self._so_far = index, so_far
            return
        # No branch on how many rows there are: a server may run the graph for any number, and ask no more.
        count = rows.shape[0]
        kept = torch.sym_min(count, len(self._out))
        # Once, after the last block: a second write to one buffer has the compiler copy all of it.
        self._out[:kept].copy_(so_far[:kept])
        self._seen.add_(count + _STEP)

    def rows(self) -> int | None:
        """How many rows the step had that ran since `begin`; None where no graph read one, or not once and whole."""
        seen = int(self._seen)
        return seen - _STEP if _STEP <= seen <= _STEP + len(self._out) else None

    def scores(self, count: int) -> torch.Tensor:
        """[count, F], of the step before; a view that the next one overwrites."""
        return self._out[:count]
