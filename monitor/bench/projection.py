"""`dosimeter bench projection`: the product of activations and probes alone, of every size, beside its floors.

It owns the shapes and what they are compared with: activations of one block in bfloat16, as servers have them, read by
the op of the tap; a loop over the probes, the better of numpy's and torch's; the time to read the activations once; and
what the machine multiplies at best, in float32, as scores are sums in float32. All in one run, on one thread, by the
thread's own clock. What it takes of a forward is `bench hook`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch

from dosimeter.monitor.bench.child import BenchError, Child
from dosimeter.monitor.bench.decoder import PEAK, clock, one_thread
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.bench.medians import interval, median
from dosimeter.monitor.bench.variants import bank_of
from dosimeter.monitor.taps.probe_op import ProbeOp

WIDTH = 4096
PROBES = (1, 3, 8, 16, 64, 256)
TOKENS = (1, 8, 32, 128, 512, 2048)
MANY, FEW = 64, 8  # probes
BATCHED = 32  # tokens
ROUNDS, ROUNDS_LARGE, LARGE = 21, 9, 1 << 17  # tokens * probes
AGREE = 1e-3  # of scores of unit size: float32 in another order


def run() -> Result:
    undisturbed()
    with one_thread(), Child(_measure) as child:
        result: Result = child.hear()
    return result


def _measure(pipe: Connection) -> None:
    torch.set_num_threads(1)
    peaks: list[float] = []
    figures: list[Figure] = []
    for probes in PROBES:
        print(f"bench projection: {probes} probes", file=sys.stderr, flush=True)
        for tokens in TOKENS:
            found = timed(probes, tokens, WIDTH)
            peaks += [2 * PEAK**3 / ns for ns in found["product of matrices"]]
            figures += compared(probes, tokens, found)
    pipe.send(Result("projection", (Figure("peak, float32", median(peaks), "Gflop/s"), *figures)))


def timed(probes: int, tokens: int, width: int, rounds: int | None = None) -> dict[str, list[int]]:
    """ns of each way, a round apart: all in every round, in a new order each, a first round left out."""
    ways = ways_of(probes, tokens, width)
    order = list(ways)
    shuffle = random.Random(0).shuffle
    found: dict[str, list[int]] = {name: [] for name in order}
    rounds = rounds or (ROUNDS_LARGE if tokens * probes >= LARGE else ROUNDS)
    for number in range(rounds + 1):
        shuffle(order)
        for name in order:
            began = clock()
            ways[name]()
            if number:
                found[name].append(clock() - began)
    return found


def ways_of(probes: int, tokens: int, width: int) -> dict[str, Callable[[], object]]:
    """The ways to score one block's activations, which agree, and the floors."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(tokens, width, generator=generator).bfloat16()
    bank = bank_of(probes, (0,), width)
    op = ProbeOp(bank, torch.device("cpu"))
    weights = bank.weights[0]  # [F, D]
    as_tensors = [torch.tensor(weight) for weight in weights]
    by_numpy = np.empty((tokens, probes), np.float32)
    by_torch = torch.empty((tokens, probes))

    def ours() -> None:
        op.begin()
        op.feed(0, hidden)

    def numpy_loop() -> None:
        rows = hidden.float().numpy()
        for probe, weight in enumerate(weights):
            by_numpy[:, probe] = rows @ weight

    def torch_loop() -> None:
        rows = hidden.float()
        for probe, weight in enumerate(as_tensors):
            by_torch[:, probe] = torch.mv(rows, weight)

    for way in (ours, numpy_loop, torch_loop):
        way()
    scores = op.read(tokens)
    for other in (by_numpy, by_torch.numpy()):
        apart = float(np.abs(scores - other).max())
        if not apart < AGREE:
            raise BenchError(f"scores of {tokens} x {probes} are {apart:.2g} apart")

    as_read = torch.ones(
        tokens * width // 2
    )  # as many bytes: torch adds up bfloat16 more slowly than it reads it
    square = torch.randn(PEAK, PEAK, generator=generator)
    return {
        "ours": ours,
        "numpy loop": numpy_loop,
        "torch loop": torch_loop,
        "read once": as_read.sum,
        "product of matrices": lambda: square @ square,
    }


def compared(probes: int, tokens: int, found: dict[str, list[int]]) -> list[Figure]:
    ours = found["ours"]
    flops_a_ns = 2 * PEAK**3 / median(found["product of matrices"])
    floor = max(median(found["read once"]), 2 * tokens * probes * WIDTH / flops_a_ns)
    loop = min((found["numpy loop"], found["torch loop"]), key=median)
    over = [ns / floor for ns in ours]
    faster = [slow / ns for slow, ns in zip(loop, ours, strict=True)]
    shape = f"{probes} probes, {tokens} tokens"
    batched = probes >= MANY and tokens >= BATCHED
    return [
        Figure(f"{shape}: ours", median(ours) / 1e3, "µs"),
        Figure(
            f"{shape}: ours / floor",
            median(over),
            "ratio",
            "<= 1.25" if batched else None,
            interval(over),
        ),
        Figure(
            f"{shape}: loop over the probes / ours",
            median(faster),
            "ratio",
            ">= 1" if probes <= FEW else None,
            interval(faster),
        ),
    ]
