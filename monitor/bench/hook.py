"""`dosimeter bench hook`: what the tap takes of a server's forward, beside what others would.

A decoder of 190 M parameters, in bfloat16 where the processor is quick at it, 64 probes that read all tapped
layers. In hooks is what a forward grows by; the tap around it, to the codes, runs on the same thread before and
after (`bench wire` has the sending). Hooks that do nothing, the same forward and the same hooks again, and a loop
over the probes in numpy run in the same rounds, and what this machine could do at best is measured with them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import SimpleNamespace

import numpy as np
import torch

from dosimeter.monitor.bench.child import Child
from dosimeter.monitor.bench.decoder import (
    LAYERS,
    PROMPT,
    WIDTH,
    Decoder,
    bytes_read_a_second,
    clock,
    flops_a_second,
    one_thread,
    quickest,
)
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.bench.variants import (
    Forward,
    Nothing,
    NumpyLoop,
    Tapped,
    Times,
    bank_of,
    going_on,
    median_ratio,
    request,
    rounds_of,
)
from dosimeter.monitor.taps.rows import Rows
from dosimeter.monitor.taps.score_cache import ScoreCache
from dosimeter.monitor.taps.unchanged import Unchanged
from dosimeter.monitor.taps.vllm_rows import Alive, Running, v1_pieces

PROBES = 64
BATCH = 8
AROUND = (1, BATCH, 64, 256)  # requests of a step that decodes
TAPPED = {"4 layers": (3, 6, 9, 12), "all layers": tuple(range(LAYERS))}
ROUNDS = {"prefill": 9, "decode": 41}
GOALS = {  # % of the forward, in hooks
    ("prefill", "4 layers"): "<= 0.25",
    ("prefill", "all layers"): "<= 1",
    ("decode", "4 layers"): "<= 0.6",
    ("decode", "all layers"): "<= 1.2",
}


def run() -> Result:
    undisturbed()
    with one_thread(), Child(_measure) as child:
        result: Result = child.hear()
    return result


def _measure(pipe: Connection) -> None:
    dtype = quickest()
    decoder = Decoder(dtype=dtype)
    _say("what this machine can do")
    flops, half = flops_a_second(torch.float32), flops_a_second(torch.bfloat16)
    read = bytes_read_a_second()
    figures = [
        Figure("parameters of the model", decoder.parameters, ""),
        Figure("peak, float32", flops / 1e9, "Gflop/s"),
        Figure("peak, bfloat16", half / 1e9, "Gflop/s"),
        Figure("read from memory", read / 1e9, "GB/s"),
    ]
    for phase, forward, rows in (
        ("prefill", decoder.prefill(BATCH), PROMPT),
        ("decode", decoder.decode(BATCH), 1),
    ):
        _say(f"{phase}, {BATCH} requests")
        found = rounds_of(decoder.blocks, forward, variants_of(rows), ROUNDS[phase])
        figures += compared(phase, found)
        bare_s = float(np.median([t.whole for t in found["bare"]])) / 1e9
        for name, layers in TAPPED.items():
            values = len(layers) * PROBES * WIDTH  # of the weights
            floor = max(2 * values * BATCH * rows / flops, 4 * values / read)
            what = f"{phase}, {name}: floor in float32"
            figures.append(Figure(what, 100 * floor / bare_s, "% of forward"))
    for batch in AROUND:
        _say(f"the tap around the op, {batch} requests")
        figures += around(decoder, decoder.decode(batch), batch)
    figures.append(Figure("is the model unchanged, asked once a second", _asking(decoder), "µs"))
    pipe.send(Result("hook", tuple(figures), (f"the model is in {dtype}",)))


def variants_of(rows: int) -> dict[str, Nothing]:
    variants: dict[str, Nothing] = {"bare": Nothing(), "bare again": Nothing()}
    for name, layers in TAPPED.items():
        bank = bank_of(PROBES, layers, WIDTH)
        variants |= {
            f"idle, {name}": Nothing(layers),
            f"ours, {name}": Tapped(bank, going_on(BATCH, rows)),
            f"ours again, {name}": Tapped(bank, going_on(BATCH, rows)),
            f"loop, {name}": NumpyLoop(bank, BATCH * rows),
        }
    return variants


def compared(phase: str, found: dict[str, list[Times]]) -> list[Figure]:
    """Shares of the bare forward of the same round; what the clocks take is taken off ours and the loop's."""
    whole = [t.whole for t in found["bare"]]
    again = 100 * (median_ratio([t.whole for t in found["bare again"]], whole) - 1)
    figures = [
        Figure(f"{phase}: forward", float(np.median(whole)) / 1e6, "ms"),
        Figure(f"{phase}: the same forward again", again, "% more"),
    ]
    for name in TAPPED:
        idle = [t.hooks for t in found[f"idle, {name}"]]
        ours, twice, loop = (
            [t.hooks - i for t, i in zip(found[f"{who}, {name}"], idle, strict=True)]
            for who in ("ours", "ours again", "loop")
        )
        around_it = [t.around for t in found[f"ours, {name}"]]
        share = "% of forward"
        figures += [
            Figure(
                f"{phase}, {name}: in hooks",
                100 * median_ratio(ours, whole),
                share,
                GOALS[phase, name],
            ),
            Figure(
                f"{phase}, {name}: the same hooks again", 100 * median_ratio(twice, whole), share
            ),
            Figure(
                f"{phase}, {name}: hooks that do nothing", 100 * median_ratio(idle, whole), share
            ),
            Figure(
                f"{phase}, {name}: the tap around it", 100 * median_ratio(around_it, whole), share
            ),
            Figure(
                f"{phase}, {name}: numpy loop / in hooks", median_ratio(loop, ours), "ratio", ">= 5"
            ),
        ]
    return figures


def around(decoder: Decoder, forward: Forward, batch: int) -> list[Figure]:
    """What a step costs beside its hooks: row map, requests, table, reading, codes, the cache of scores."""
    bank = bank_of(PROBES, TAPPED["4 layers"], WIDTH)
    ours = Tapped(bank, decoding(batch), ScoreCache(b"bench", PROBES))
    variants = {"bare": Nothing(), "ours": ours}
    found = rounds_of(decoder.blocks, forward, variants, ROUNDS["decode"] // 2)
    spent = [t.around for t in found["ours"]]
    share = 100 * median_ratio(spent, [t.whole for t in found["bare"]])
    name = f"the tap around a step, {batch} rows"
    return [
        Figure(name, float(np.median(spent)) / 1e3, "µs"),
        Figure(f"{name}: share", share, "% of forward"),
    ]


def decoding(batch: int) -> Callable[[], Rows]:
    """The row map of vLLM's runner of version 1, of requests that get one row more in every step."""
    alive, ids = Alive(), torch.zeros(batch, dtype=torch.int64)
    for index in range(batch):
        one = alive.running[f"request-{index}"] = Running(request(index, index), [0] * index)
        one.request.ids, one.request.next_position = one.known, index
    starts, ones = np.arange(batch), [1] * batch
    runner = SimpleNamespace(
        input_batch=SimpleNamespace(req_ids=list(alive.running), num_computed_tokens_cpu=starts)
    )

    def rows() -> Rows:
        found, _ = alive.rows(v1_pieces(runner, ones), ids.tolist())
        np.add(starts, 1, out=starts)
        return found

    return rows


def _asking(decoder: Decoder) -> float:
    forward, unchanged, spent = decoder.decode(1), Unchanged(decoder.model), []
    for _ in range(ROUNDS["prefill"]):
        forward()  # so that it is as cold as in a server
        began = clock()
        unchanged()
        spent.append(clock() - began)
    return float(np.median(spent)) / 1e3


def _say(what: str) -> None:
    print(f"bench hook: {what}", file=sys.stderr, flush=True)
