"""Read-outs of the residual stream: hooks on the tapped blocks that add h·Wᵀ into one static buffer.

This runs inside the model server's forward. A hook never raises and keeps no reference to the server's
tensors; it does nothing outside a step begun by the tap, and nothing while torch.compile traces, because a
traced side effect would recompile the server's graph. Such a step is then found unread, and counted.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dosimeter.detectors.bank import ProbeBank

Array = npt.NDArray[np.float32]


class HookError(RuntimeError):
    """The step cannot be read: a tapped block was not called exactly once, or a hook failed."""


class ReadOut(Protocol):
    """What the tap asks of a read-out: begin a step, then read its rows."""

    def begin(self) -> None: ...

    def read(self, n: int, select: npt.NDArray[np.int64] | None) -> Array: ...


Residual = Callable[[Any], torch.Tensor]
"""The residual stream out of what a decoder block returned."""


def first(output: Any) -> torch.Tensor:
    """Blocks that return the residual stream, alone or at the head of a tuple."""
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return found


def summed(output: Any) -> torch.Tensor:
    """Blocks that return (hidden, residual) and leave the addition to the next norm."""
    hidden, residual = output
    found: torch.Tensor = hidden + residual
    return found


class _Hooked(ABC):
    """Forward hooks on some blocks, alive between `begin` and `read` on the thread that began."""

    def __init__(
        self, layers: Sequence[int], device: torch.device, residual: Residual = first
    ) -> None:
        self.layers = tuple(layers)
        self.device = device
        self._residual = residual
        self._owner: int | None = None
        self._calls = 0
        self._error: Exception | None = None
        self._stream: torch.cuda.Stream | None = None
        self._handles: list[Any] = []

    def install(self, blocks: Sequence[nn.Module]) -> None:
        """Register on `blocks[layer]` for every tapped layer; `remove` takes all hooks off again."""
        if self.layers and max(self.layers) >= len(blocks):
            raise HookError(
                f"layer {max(self.layers)} asked for, the model has {len(blocks)} blocks"
            )
        for index, layer in enumerate(self.layers):
            self._handles.append(blocks[layer].register_forward_hook(self._hook(index)))

    def remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def begin(self) -> None:
        self._calls, self._error, self._stream = 0, None, None
        self._owner = threading.get_ident()

    def feed(self, index: int, hidden: torch.Tensor) -> None:
        """Take activations [T, D] as if tapped block `index` had put them out: for self-tests."""
        self.take(index, hidden.to(self.device))
        self._calls += 1

    def _hook(self, index: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if torch.compiler.is_compiling() or self._owner != threading.get_ident():
                return
            try:
                if index != self._calls:
                    raise HookError(f"tapped block {index} ran as number {self._calls}")
                hidden = self._residual(output)
                if hidden.is_cuda:  # the scores must be read where they were computed
                    self._stream = torch.cuda.current_stream(hidden.device)
                with torch.no_grad():
                    self.take(index, hidden.detach().reshape(-1, hidden.shape[-1]))  # [T, D]
                self._calls += 1
            except Exception as error:  # the server's forward must go on
                self._error = error

        return hook

    @abstractmethod
    def take(self, index: int, hidden: torch.Tensor) -> None:
        """Read one tapped block: hidden [T, D], blocks in the order of `layers`."""

    def _check(self) -> None:
        """A step is readable when every tapped block was called once: fewer means the hooks did not run."""
        self._owner = None
        calls, self._calls = (
            self._calls,
            0,
        )  # a step can be read once: never hand out the one before
        if self._error is not None:
            raise HookError(f"hook failed: {self._error!r}") from self._error
        if calls != len(self.layers):
            raise HookError(f"{calls} of {len(self.layers)} tapped blocks were seen in this step")


class ProbeOp(_Hooked):
    """Scores in benign sd: buffer[t] = Σ_l h_l[t]·W_lᵀ + b, accumulated in float32.

    One column more than the bank's sums the activations: it is finite only where all of them are, also
    for a probe that does not read the layer where one is not.
    """

    def __init__(self, bank: ProbeBank, device: torch.device, residual: Residual = first) -> None:
        super().__init__(bank.layers, device, residual)
        layers, _, width = bank.weights.shape
        weights = np.concatenate([bank.weights, np.ones((layers, 1, width), np.float32)], axis=1)
        self._weights = torch.tensor(weights, device=device)  # [L, F + 1, D]
        self._bias = torch.tensor([*bank.bias.tolist(), 0.0], device=device)  # [F + 1]
        self._buffer = torch.empty((0, len(bank.columns) + 1), device=device)
        self._rows = 0

    def take(self, index: int, hidden: torch.Tensor) -> None:
        rows = hidden.shape[0]
        if self._calls and rows != self._rows:
            raise HookError(f"{rows} rows in one tapped block, {self._rows} in those before it")
        if rows > self._buffer.shape[0]:
            self._buffer = self._buffer.new_empty((rows, self._buffer.shape[1]))
        out = self._buffer[:rows]
        if self._calls == 0:
            self._rows = rows
            torch.addmm(self._bias, hidden.float(), self._weights[index].t(), out=out)
        else:
            out.addmm_(hidden.float(), self._weights[index].t())

    def read(self, n: int, select: npt.NDArray[np.int64] | None = None) -> Array:
        """float32 [n, F]: the first n rows (the rest is padding), or the rows `select` names."""
        self._check()
        if n > self._rows:
            raise HookError(f"row map names {n} rows, the step ran {self._rows}")
        with torch.cuda.stream(self._stream):  # nothing where there is none
            found: Array = self._buffer[: self._rows].cpu().numpy()
        found = found[:n] if select is None else found[select]
        scores = found[:, :-1].copy()
        scores[~np.isfinite(found[:, -1])] = np.nan
        return scores


class CaptureOp(_Hooked):
    """The activations themselves, for fitting probes: the same hooks and row map as scoring."""

    def __init__(self, layers: Sequence[int], device: torch.device) -> None:
        super().__init__(layers, device)
        self._hidden: list[torch.Tensor] = []

    def begin(self) -> None:
        super().begin()
        self._hidden = []

    def take(self, index: int, hidden: torch.Tensor) -> None:
        self._hidden.append(hidden.float().clone())

    def read(self, n: int, select: npt.NDArray[np.int64] | None = None) -> Array:
        """float32 [n, L * D]: one row per token, layers side by side."""
        self._check()
        with torch.cuda.stream(self._stream):
            stacked: Array = torch.cat(self._hidden, dim=1).cpu().numpy()
        self._hidden = []
        return stacked[:n] if select is None else stacked[select]
