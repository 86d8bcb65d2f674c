"""A forward with different things put into it, run in shuffled rounds: nothing, the tap, a loop in numpy.

It owns how each is put in, taken off and clocked; what the times are compared with is the benchmarks' own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dosimeter.detectors.bank import Column, Probe, ProbeBank
from dosimeter.detectors.frames import to_codes
from dosimeter.monitor.bench.decoder import Meter, clock
from dosimeter.monitor.taps.probe_op import Array, ProbeOp
from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.score_cache import ScoreCache
from dosimeter.monitor.taps.tap import Tap

Forward = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Times:
    """One step on the thread's clock, ns. around: ours before and after the forward; whole: all of it."""

    hooks: int
    around: int
    whole: int

    @property
    def ours(self) -> int:
        return self.hooks + self.around


class Nothing:
    """A forward as it is, or with a hook that does nothing on each of `layers`."""

    def __init__(self, layers: Sequence[int] = ()) -> None:
        self.layers = layers
        self._hooks, self._around = Meter(), Meter()

    def step(self, blocks: Sequence[nn.Module], forward: Forward) -> Times:
        """One forward; its hooks are off again afterwards."""
        self._hooks.ns = self._around.ns = 0
        handles = []
        try:
            for index, layer in enumerate(self.layers):
                hook = self._hooks.around(self.hook(index))
                handles.append(blocks[layer].register_forward_hook(hook))
            began = clock()
            before = self._around.around(self.before)()
            forward()
            self._around.around(self.after)(before)
            whole = clock() - began
        finally:
            for handle in handles:
                handle.remove()
        return Times(self._hooks.ns, self._around.ns, whole)

    def hook(self, index: int) -> Callable[..., None]:
        return lambda module, args, output: None

    def before(self) -> Any:
        return None

    def after(self, before: Any) -> None:
        return None


class Tapped(Nothing):
    """The tap as it is installed, but for a sink that takes all and sends nothing.

    rows: what a server's row map would say of each step.
    """

    def __init__(
        self, bank: ProbeBank, rows: Callable[[], Rows], cache: ScoreCache | None = None
    ) -> None:
        super().__init__(bank.layers)
        self.op = ProbeOp(bank, torch.device("cpu"))
        self.tap = Tap(
            self.op, lambda rows, codes, hook_ns: (len(codes), None), encode=to_codes, cache=cache
        )
        self._row_map = lambda: (rows(), None)

    def hook(self, index: int) -> Callable[..., None]:
        return self.op.hook(index)

    def before(self) -> Any:
        return self.tap.begin(self._row_map)

    def after(self, before: Any) -> None:
        emitted = self.tap.rows_emitted
        self.tap.end(before)
        if self.tap.rows_emitted == emitted or self.tap.rows_error:
            raise RuntimeError("the tap did not read the step")


class NumpyLoop(Nothing):
    """A hook of a few lines, as people write it: the block's output to numpy, one product for each probe."""

    def __init__(self, bank: ProbeBank, rows: int) -> None:
        super().__init__(bank.layers)
        self._weights = bank.weights
        self.scores = np.zeros((rows, len(bank.columns)), np.float32)

    def hook(self, index: int) -> Callable[..., None]:
        def read(_module: Any, _args: Any, output: torch.Tensor) -> None:
            hidden: Array = output.reshape(-1, output.shape[-1]).float().numpy()
            for probe, weight in enumerate(self._weights[index]):
                self.scores[:, probe] += hidden @ weight

        return read


def bank_of(probes: int, layers: Sequence[int], width: int) -> ProbeBank:
    """Random probes, every one of which reads all of the layers."""
    rng = np.random.default_rng(0)
    weights = (rng.standard_normal((probes, len(layers), width)) / width**0.5).astype(np.float32)
    return ProbeBank(
        (Column(f"f{n}", "", ""), Probe(f"f{n}", tuple(layers), weights[n], 0.0))
        for n in range(probes)
    )


def request(key: int, prompt: int) -> Request:
    return Request(key, prompt, None, [], True, 0, None)


def going_on(batch: int, n: int) -> Callable[[], Rows]:
    """Row map of `batch` requests that get `n` more rows each in every step."""
    requests = [request(key, n) for key in range(batch)]
    return lambda: Rows(requests, [one.next_position for one in requests], [n] * batch)


def rounds_of(
    blocks: Sequence[nn.Module], forward: Forward, variants: Mapping[str, Nothing], rounds: int
) -> dict[str, list[Times]]:
    """Every variant once a round, in a new order each; a first round, to warm up, is left out."""
    order = list(variants)
    found: dict[str, list[Times]] = {name: [] for name in order}
    shuffle = random.Random(0).shuffle
    for _ in range(rounds + 1):
        shuffle(order)
        for name in order:
            found[name].append(variants[name].step(blocks, forward))
    return {name: times[1:] for name, times in found.items()}


def median_ratio(parts: Sequence[float], wholes: Sequence[float]) -> float:
    """Median over the rounds of part / whole of the same round."""
    return float(np.median(np.divide(parts, wholes)))
