"""Read-outs of the residual stream: hooks on the tapped blocks that add h·Wᵀ into one static buffer.

This runs inside the model server's forward. A hook never raises and keeps no reference to the server's
tensors; it does nothing outside a step begun by the tap. While torch.compile traces, it leaves its
operations in the graph instead (`in_graph`), and Python is not called in a step any more. Other probes
are written into the same places, so no graph is traced again.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.compiler import is_dynamo_compiling

from dosimeter.detectors.bank import ProbeBank
from dosimeter.monitor.taps.in_graph import InGraph

Array = npt.NDArray[np.float32]

SCRATCH_VALUES, SCRATCH_VALUES_GPU = 1 << 20, 1 << 22
"""Activations that are held as float32 at once, 4 and 16 MiB: a step of up to so many, T * L * D, is staged.

Time staged / layer by layer in bfloat16, F 64, on one core without AVX-512: D 1024, L 16: T 8 0.55, T 64 0.85,
T 256 1.08; D 4096, L 4: T 8 0.80, T 32 1.05, T 128 1.15.
"""
BLOCK_ROWS = 256
"""Of a large step that are multiplied at once on a CPU, so that what was widened is still in its caches.

Time beside blocks of 16 MiB: 1,024 rows of D 1024, L 16: F 3 0.82, F 64 0.80; of D 4096, L 4: 0.71, 0.87. On a GPU
a block is all that the scratch holds.
"""
ROOM = 64
"""Columns that a graph computes at least: packs of up to so many can take each other's place in it.

Of a traced step, 8 probes cost no more in room for 64 than in room for 8 that could be measured: D 1024, L 8, T 1 and
T 8, medians of -0.1 and -0.4 % of its processor time.
"""
NEXT_TO_NOTHING = 2.0**-80
"""Stands for a weight of zero: lost in any score, and infinite times infinity."""


class HookError(RuntimeError):
    """The step cannot be read: a tapped block was not called exactly once, or a hook failed."""


class DoesNotFit(ValueError):
    """Probes for which there is no place in what the server has traced."""


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Of F probes, laid out for one op."""

    side_by_side: torch.Tensor  # [F, L * D]
    bias: torch.Tensor  # [F]


class ReadOut(Protocol):
    """What the tap asks of a read-out: begin a step, then read its rows."""

    def begin(self) -> None: ...

    def read(self, n: int, select: npt.NDArray[np.int64] | None) -> Array: ...


Hook = Callable[[nn.Module, Any, Any], None]
Residual = Callable[[Any], torch.Tensor]
"""The residual stream out of what a decoder block returned."""


def first(output: Any) -> torch.Tensor:
    """Blocks that return the residual stream, alone or at the head of a tuple."""
    found: torch.Tensor = output[0] if isinstance(output, tuple) else output
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
            self._handles.append(blocks[layer].register_forward_hook(self.hook(index)))

    def remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    def begin(self) -> None:
        self._calls, self._error, self._stream = 0, None, None
        self._owner = get_ident()

    def feed(self, index: int, hidden: torch.Tensor) -> None:
        """Take activations [T, D] as if tapped block `index` had put them out: for self-tests."""
        self.take(index, hidden.to(self.device))
        self._calls += 1

    def hook(self, index: int) -> Hook:
        """For the block that is number `index` of the tapped ones."""

        # Every call counts: between two blocks of a server this code has left all caches.
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if is_dynamo_compiling():
                with suppress(Exception):  # it would be the server's, which would not start
                    self.trace(index, self._residual(output))
                return
            if self._owner != get_ident():
                return
            try:
                if index != self._calls:
                    raise HookError(f"tapped block {index} ran as number {self._calls}")
                hidden = self._residual(output)
                if hidden.is_cuda:  # the scores must be read where they were computed
                    self._stream = torch.cuda.current_stream(hidden.device)
                if hidden.requires_grad:
                    hidden = hidden.detach()
                self.take(index, hidden)
                self._calls += 1
            except Exception as error:  # the server's forward must go on
                self._error = self._error or error  # the first: later ones follow from it

        return hook

    @abstractmethod
    def take(self, index: int, hidden: torch.Tensor) -> None:
        """Read one tapped block: hidden [..., D], of one shape in a step; blocks in the order of `layers`."""

    @abstractmethod
    def trace(self, index: int, hidden: torch.Tensor) -> None:
        """As `take`, for the compiler to trace."""

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

    def _on_stream(self) -> AbstractContextManager[Any]:
        """Where the hooks ran; torch's own context for "nowhere" would cost more than all the rest of a read."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)


class ProbeOp(_Hooked):
    """Scores in benign sd: out[t] = Σ_l h_l[t]·W_lᵀ + b, weights and sums in float32.

    A small step, as in decoding, is staged: each hook sets its rows beside those of the other layers, and
    the last one multiplies all of them at once, Σ_l being one product over L * D. A large step is multiplied
    layer by layer, a block of rows at a time. Both go through one scratch of fixed size, but for large steps of
    activations that are float32 already.

    A graph has all columns that there is room for computed, those of no probe too; out here only the F of the bank.
    """

    def __init__(
        self,
        bank: ProbeBank,
        device: torch.device,
        residual: Residual = first,
        room: int = ROOM,
    ) -> None:
        """room: for how many columns at least, whatever bank comes later."""
        super().__init__(bank.layers, device, residual)
        self.room = max(room, len(bank.columns))
        self.compiled = False  # whether a graph, which Python does not see, has run a step
        with torch.inference_mode(False):
            layers, self._width = len(self.layers), bank.hidden_size
            self._stored = torch.zeros((self.room, layers * self._width), device=device)
            self._stored_bias = torch.zeros(self.room, device=device)
            by_layer = self._stored.view(self.room, layers, self._width).transpose(0, 1)
            self._in_graph = InGraph(by_layer, self._stored_bias)
            values = SCRATCH_VALUES if device.type == "cpu" else SCRATCH_VALUES_GPU
            self._scratch = torch.empty(max(values, self._width), device=device)
        self.take_over(self.laid_out(bank))

    def laid_out(self, bank: ProbeBank) -> Weights:
        """Its weights as this op stores them, on its device; nothing changes yet. Raises DoesNotFit."""
        missing = sorted(set(bank.layers) - set(self.layers))
        if missing:
            raise DoesNotFit(
                f"the new packs read blocks {missing}, the tap is on {[*self.layers]}\n"
                "  hint: restart the server with these packs"
            )
        if len(bank.columns) > self.room:
            raise DoesNotFit(
                f"the new packs have {len(bank.columns)} columns, the server's graphs have room for {self.room}\n"
                "  hint: restart the server with these packs"
            )
        if bank.hidden_size != self._width:
            raise DoesNotFit(f"the new probes are {bank.hidden_size} wide, the model {self._width}")
        weights = np.zeros((len(bank.columns), len(self.layers), self._width), np.float32)
        weights[:, [self.layers.index(n) for n in bank.layers]] = bank.weights.transpose(1, 0, 2)
        # No weight is zero: one activation that is not finite then leaves no column finite, also of a probe
        # that does not read its layer. Some BLAS skip zeros, where inf * 0 would have said so.
        weights[weights == 0] = NEXT_TO_NOTHING
        with torch.inference_mode(False):
            side_by_side = torch.from_numpy(weights.reshape(len(weights), -1)).to(self.device)
            return Weights(side_by_side, torch.tensor(bank.bias, device=self.device))

    def take_over(self, new: Weights) -> None:
        """Read these probes from now on: written where the old ones were. Between two steps only."""
        features = len(new.bias)
        with torch.no_grad():
            self._stored[:features].copy_(new.side_by_side)
            self._stored_bias[:features].copy_(new.bias)
        if self.device.type == "cuda":  # which stream reads them next is the server's business
            torch.cuda.synchronize(self.device)
        self._features = features
        with torch.inference_mode(False):
            self._side_by_side = self._stored[:features]  # [F, L * D]
            self._weights = self._in_graph.weights[:, :features]  # [L, F, D]
            self._bias = self._stored_bias[:features]  # [F]
            self._buffer = torch.empty((0, features), device=self.device)
        self._lay_out((0, self._width))

    def begin(self) -> None:
        super().begin()
        self._in_graph.begin()

    def trace(self, index: int, hidden: torch.Tensor) -> None:
        self._in_graph.trace(index, hidden)

    def take(self, index: int, hidden: torch.Tensor) -> None:
        if hidden.shape != self._shape:
            if self._calls:
                raise HookError(f"{[*hidden.shape]} in a tapped block after {[*self._shape]}")
            self._lay_out(hidden.shape)
        if self._slots:
            self._slots[index].copy_(hidden)
            if index == len(self._slots) - 1:
                torch.addmm(self._bias, self._staged, self._side_by_side.t(), out=self._out)
            return
        so_far = self._out if index else self._bias.expand_as(self._out)
        step, weights = self._block.shape[0], self._weights[index].t()
        rows = hidden.reshape(self._rows, -1)  # a copy, where they do not lie in order
        as_is = rows.dtype == torch.float32 and rows.device == self._out.device
        for low in range(0, self._rows, step):
            part = rows[low : low + step]
            out, before = self._out[low : low + step], so_far[low : low + step]
            if not as_is:
                part = self._block[: len(part)].copy_(part)
            torch.addmm(before, part, weights, out=out)

    def _lay_out(self, shape: tuple[int, ...]) -> None:
        """Places for a step of this shape; the next one of the same, as in decoding, finds them made.

        Not as tensors of inference mode: those could not be written outside it, where a self-test runs.
        """
        layers, features, width = self._weights.shape
        if shape[-1] != width:
            raise HookError(f"activations are {shape[-1]} wide, the probes {width}")
        rows = math.prod(shape[:-1])
        with torch.inference_mode(False):
            if rows > self._buffer.shape[0]:
                self._buffer = self._buffer.new_empty((rows, features))
            self._out = self._buffer[:rows]  # [T, F]
            size, step = rows * layers * width, len(self._scratch) // max(1, width)
            if self.device.type == "cpu":
                step = min(step, BLOCK_ROWS)
            self._block = self._scratch[: step * width].view(step, width)
            self._slots: tuple[torch.Tensor, ...] = ()
            if size <= len(self._scratch):
                self._staged = self._scratch[:size].view(rows, layers * width)
                slots = self._staged.view(rows, layers, width).unbind(1)
                self._slots = tuple(slot.view(shape) for slot in slots)
        self._rows, self._shape = rows, shape

    def read(self, n: int, select: npt.NDArray[np.int64] | None = None) -> Array:
        """float32 [n, F]: the first n rows (the rest is padding), or the rows `select` names."""
        compiled = None if self._calls or self._error else self._compiled()
        if compiled is None:
            self._check()
            rows, out = self._rows, self._out
        else:
            self._owner = None
            self.compiled = True
            rows, out = compiled, self._in_graph.scores(compiled)[:, : self._features]
        if n > rows:
            raise HookError(f"row map names {n} rows, the step ran {rows}")
        with self._on_stream():
            found: Array = out.cpu().numpy()
        scores = found[:n].copy() if select is None else found[select]
        if compiled is not None:
            if self._compiled() != compiled:
                raise HookError("another compiled step ran while this one was read")
            self._in_graph.begin()  # as in `_check`: a step can be read once
        if not math.isfinite(np.vdot(scores, scores)):  # one pass, where all is well
            scores[~np.isfinite(scores)] = np.nan
        return scores

    def _compiled(self) -> int | None:
        """Rows that a graph read in this step."""
        if self.device.type == "cuda":  # a graph does not say on which stream it ran
            torch.cuda.synchronize(self.device)
        return self._in_graph.rows()


class CaptureOp(_Hooked):
    """The activations themselves, for fitting probes: the same hooks and row map as scoring."""

    def __init__(
        self, layers: Sequence[int], device: torch.device, residual: Residual = first
    ) -> None:
        super().__init__(layers, device, residual)
        self._hidden: list[torch.Tensor] = []
        self._only: torch.Tensor | None = None

    def begin(self, only: npt.NDArray[np.int64] | None = None) -> None:
        """only: which rows of the step are copied, and in which order; None: all."""
        super().begin()
        self._hidden = []
        self._only = None if only is None else torch.from_numpy(only).to(self.device)

    def drop(self) -> None:
        """Nothing of this step is wanted any more."""
        self._owner, self._hidden = None, []

    def trace(self, index: int, hidden: torch.Tensor) -> None:
        """Nothing: activations of a compiled step are not captured, and it is found unread."""

    def take(self, index: int, hidden: torch.Tensor) -> None:
        rows = hidden.reshape(-1, hidden.shape[-1])
        copied = rows.clone() if self._only is None else rows[self._only]
        self._hidden.append(copied.float())

    def read(self, n: int, select: npt.NDArray[np.int64] | None = None) -> Array:
        """float32 [n, L * D]: one row per token, layers side by side."""
        self._check()
        with self._on_stream():
            stacked: Array = torch.cat(self._hidden, dim=1).cpu().numpy()
        self._hidden = []
        return stacked[:n] if select is None else stacked[select]
