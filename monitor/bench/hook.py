"""`dosimeter bench hook`: what the tap takes of a server's forward, beside what others would.

A decoder of 189 M parameters in bfloat16, 64 probes a tapped layer. Counted is all of ours on the server's
thread: hooks, and the tap around them to the codes, with a sink that does nothing (`bench wire` has the
sending). A forward without hooks twice over, a hook that does nothing, and a numpy loop over the probes run
in the same rounds, in a new order each; every figure is the median of the rounds.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from dosimeter.detectors.bank import Column, Probe, ProbeBank
from dosimeter.detectors.frames import to_codes
from dosimeter.monitor.bench.child import Child
from dosimeter.monitor.bench.decoder import (
    LAYERS,
    PROMPT,
    WIDTH,
    Decoder,
    Meter,
    clock,
    one_thread,
)
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.taps.probe_op import Array, ProbeOp
from dosimeter.monitor.taps.requests import Request
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.tap import Tap
from dosimeter.monitor.taps.unchanged import Unchanged

PROBES = 64  # a tapped layer
BATCH = 8
SOME = (3, 6, 9, 12)  # four tapped layers; else all
ALL = tuple(range(LAYERS))
PREFILL_ROUNDS, DECODE_ROUNDS = 9, 41
GOALS = {"prefill": ("<= 0.25", "<= 1"), "decode": ("<= 0.6", "<= 1.2")}  # % of the forward


def run() -> Result:
    undisturbed()
    with one_thread(), Child(_measure) as child:
        return child.hear()  # type: ignore[no-any-return]


@dataclass(slots=True)
class Times:
    """One round of one variant, ns on the thread's clock. whole: the step with all that was put into it."""

    hooks: int
    around: int
    whole: int


class Nothing:
    """A forward as it is, or hooks that do nothing on `layers`."""

    def __init__(self, layers: Sequence[int] = ()) -> None:
        self.layers = layers
        self.hooks, self.around = Meter(), Meter()

    def step(self, decoder: Decoder, forward: Callable[[], None]) -> Times:
        self.hooks.ns = self.around.ns = 0
        handles = [
            decoder.blocks[layer].register_forward_hook(self.hooks.around(self.hook(index)))
            for index, layer in enumerate(self.layers)
        ]
        try:
            began = clock()
            self.run(forward)
            whole = clock() - began
        finally:
            for handle in handles:
                handle.remove()
        return Times(self.hooks.ns, self.around.ns, whole)

    def hook(self, index: int) -> Callable[..., None]:
        return lambda module, args, output: None

    def run(self, forward: Callable[[], None]) -> None:
        self.around.around(lambda: None)()
        forward()
        self.around.around(lambda: None)()


class Ours(Nothing):
    """The tap as it is installed, for decoding rows or prompts of `batch` requests."""

    def __init__(self, decoder: Decoder, layers: Sequence[int], batch: int, rows: int) -> None:
        super().__init__(layers)
        self.op = ProbeOp(bank_of(layers), torch.device("cpu"))
        self.tap = Tap(
            self.op,
            lambda rows, codes, hook_ns: (len(codes), None),
            encode=to_codes,
            changed=Unchanged(decoder.model),
        )
        self.requests = [_request(key) for key in range(batch)]
        self.n = rows

    def hook(self, index: int) -> Callable[..., None]:
        return self.op._hook(index)

    def run(self, forward: Callable[[], None]) -> None:
        step = self.around.around(self.tap.begin)(self._row_map)
        forward()
        self.around.around(self.tap.end)(step)
        if self.tap.rows_error or not self.tap.rows_emitted:
            raise RuntimeError("the tap did not read the step")

    def _row_map(self) -> tuple[Sequence[Rows], None]:
        return [Rows(one, one.next_position, self.n) for one in self.requests], None


class NumpyLoop(Nothing):
    """What a hook of a few lines does: the block's output to numpy, and a product for each probe."""

    def __init__(self, layers: Sequence[int], rows: int) -> None:
        super().__init__(layers)
        self.weights = bank_of(layers).weights
        self.scores = np.zeros((rows, PROBES), np.float32)

    def hook(self, index: int) -> Callable[..., None]:
        def read(_module: Any, _args: Any, output: Any) -> None:
            hidden: Array = output.reshape(-1, WIDTH).float().numpy()
            for probe, weight in enumerate(self.weights[index]):
                self.scores[:, probe] += hidden @ weight

        return read


def bank_of(layers: Sequence[int]) -> ProbeBank:
    """Probes that read every one of the layers."""
    rng = np.random.default_rng(0)
    shape = (PROBES, len(layers), WIDTH)
    weights = (rng.standard_normal(shape) / WIDTH**0.5).astype(np.float32)
    return ProbeBank(
        (Column(f"f{n}", "", ""), Probe(f"f{n}", tuple(layers), weights[n], 0.0))
        for n in range(PROBES)
    )


def _request(key: int) -> Request:
    return Request(
        key=key,
        prompt_len=PROMPT,
        ticket=None,
        spans=[],
        spans_exact=True,
        opened_ns=0,
        prompt_ids=None,
    )


def rounds_of(
    decoder: Decoder, forward: Callable[[], None], variants: dict[str, Nothing], rounds: int
) -> dict[str, list[Times]]:
    """Every variant once a round, in a new order each; the first round warms up and is left out."""
    order = list(variants)
    found: dict[str, list[Times]] = {name: [] for name in order}
    shuffle = random.Random(0).shuffle
    for _ in range(rounds + 1):
        shuffle(order)
        for name in order:
            found[name].append(variants[name].step(decoder, forward))
    return {name: times[1:] for name, times in found.items()}


def shares(times: Sequence[Times], idle: Sequence[Times], base: Sequence[Times]) -> float:
    """All of ours in % of the bare forward of the same round, less what the clocks themselves take."""
    return float(
        np.median(
            [
                100 * (t.hooks + t.around - i.hooks - i.around) / b.whole
                for t, i, b in zip(times, idle, base, strict=True)
            ]
        )
    )


def _measure(pipe: Connection) -> None:
    decoder = Decoder()
    figures = [Figure("parameters of the model", decoder.parameters, "")]
    for phase, rounds, rows in (("prefill", PREFILL_ROUNDS, PROMPT), ("decode", DECODE_ROUNDS, 1)):
        _say(f"{phase}, {BATCH} requests")
        forward = decoder.prefill(BATCH) if phase == "prefill" else decoder.decode(BATCH)
        figures += _phase(decoder, phase, forward, rows, rounds)
    for batch in (1, BATCH, 64):
        _say(f"the tap around the op, {batch} requests")
        figures += _around(decoder, batch)
    pipe.send(Result("hook", tuple(figures)))


def _phase(
    decoder: Decoder, phase: str, forward: Callable[[], None], rows: int, rounds: int
) -> list[Figure]:
    tapped = {f"{len(layers)} layers": layers for layers in (SOME, ALL)}
    variants: dict[str, Nothing] = {"bare": Nothing(), "bare again": Nothing()}
    for name, layers in tapped.items():
        variants[f"idle, {name}"] = Nothing(layers)
        variants[f"ours, {name}"] = Ours(decoder, layers, BATCH, rows)
        variants[f"loop, {name}"] = NumpyLoop(layers, BATCH * rows)
    found = rounds_of(decoder, forward, variants, rounds)
    bare = found["bare"]
    whole = np.median([t.whole for t in bare]) / 1e6
    again = np.median(
        [
            100 * (t.whole / b.whole - 1)
            for t, b in zip(found["bare again"], bare, strict=True)
        ]
    )
    figures = [
        Figure(f"{phase}, {BATCH * rows} tokens: forward", float(whole), "ms"),
        Figure(f"{phase}: the same forward again", float(again), "% more"),
    ]
    for (name, layers), goal in zip(tapped.items(), GOALS[phase], strict=True):
        idle, ours, loop = (found[f"{who}, {name}"] for who in ("idle", "ours", "loop"))
        inside = np.median([100 * t.hooks / b.whole for t, b in zip(ours, bare, strict=True)])
        clocks = np.median([100 * t.hooks / b.whole for t, b in zip(idle, bare, strict=True)])
        values = len(layers) * PROBES * WIDTH  # of the weights
        floor = values / decoder.parameters * (1 if phase == "prefill" else 2)
        ours_share, loop_share = shares(ours, idle, bare), shares(loop, idle, bare)
        figures += [
            Figure(f"{phase}, {name}: all of ours", ours_share, "% of forward", goal),
            Figure(f"{phase}, {name}: in hooks", float(inside - clocks), "% of forward"),
            Figure(f"{phase}, {name}: hooks that do nothing", float(clocks), "% of forward"),
            Figure(
                f"{phase}, {name}: floor by {'flops' if phase == 'prefill' else 'weight bytes'}",
                100 * floor,
                "% of forward",
            ),
            Figure(f"{phase}, {name}: numpy loop / ours", loop_share / ours_share, "ratio", ">= 5"),
        ]
    return figures


def _around(decoder: Decoder, batch: int) -> list[Figure]:
    """What a step costs beside the hooks: row map, requests, table, reading, codes."""
    variants = {"bare": Nothing(), "ours": Ours(decoder, SOME, batch, 1)}
    found = rounds_of(decoder, decoder.decode(batch), variants, DECODE_ROUNDS // 2)
    spent = float(np.median([t.around for t in found["ours"]]))
    whole = float(np.median([t.whole for t in found["bare"]]))
    name = f"the tap around the op, {batch} rows"
    return [
        Figure(name, spent / 1e3, "µs"),
        Figure(f"{name}: share", 100 * spent / whole, "% of forward"),
    ]


def _say(what: str) -> None:
    print(f"bench hook: {what}", file=sys.stderr, flush=True)
