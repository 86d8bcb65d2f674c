"""`make bench-gpu`: what the tap costs a server on a GPU, and whether every token is read there.

Continuous batching of transformers, with CUDA graphs and async batching as it chooses them itself, over a decoder of
random weights in the shape of Llama 3.1 8B: with and without the tap, in turns, each with a server of its own. It owns
what is asked and the comparison; a run is `gpu_run`'s. Beside it the product of activations and probes alone, against
the time to read the activations once, and whether a hook ever makes the server wait. It needs torch, transformers and
numpy, and no set-up; without a CUDA device it says so and ends with 3.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import transformers

from dosimeter.monitor.bench.figures import Figure, Result
from dosimeter.monitor.bench.gpu_run import Run, Server, waits_in_hooks
from dosimeter.monitor.bench.medians import interval, median
from dosimeter.monitor.bench.variants import bank_of
from dosimeter.monitor.taps.probe_op import ProbeOp

BARE, AGAIN = "bare", "bare again"
LIMIT_S = 330.0
"""No round begins after it: with the model made and the products clocked, all of it stays below eight minutes."""
LEAST = 3  # rounds: fewer say nothing of a per cent
PRODUCTS = (16, 64, 128)  # probes
TOKENS, WIDTH, REPEATS = 2048, 4096, 21


@dataclass(frozen=True)
class Setting:
    """tapped: name -> which blocks, and how much longer a token may take, in %."""

    device: str = "cuda"
    layers: int = 32
    width: int = 4096
    batches: tuple[int, ...] = (1, 32, 256)
    prompt: int = 128
    new: int = 64
    probes: int = 64
    rounds: int = 9
    tapped: dict[str, tuple[tuple[int, ...], float]] = field(
        default_factory=lambda: {
            "4 layers": ((6, 13, 20, 27), 0.5),
            "all layers": (tuple(range(32)), 1.5),
        }
    )


def run(setting: Setting) -> Result:
    began = time.monotonic()
    _say("making the model")
    server = Server(setting.device, setting.layers, setting.width)
    found: dict[tuple[int, str], list[Run]] = {}
    names, shuffle = [BARE, AGAIN, *setting.tapped], random.Random(0).shuffle
    notes = [what_it_is(setting.device)]
    for number in range(setting.rounds):
        if number >= LEAST and time.monotonic() - began > LIMIT_S:
            notes.append(f"{number} of {setting.rounds} rounds: time was up")
            break
        for batch in setting.batches:
            shuffle(names)
            for name in names:
                _say(f"round {number + 1}, batch {batch}, {name}")
                layers, _ = setting.tapped.get(name, ((), 0.0))
                bank = bank_of(setting.probes, layers, setting.width) if layers else None
                asked = server.run(bank, batch, setting.prompt, setting.new)
                found.setdefault((batch, name), []).append(asked)
    figures = [one for batch in setting.batches for one in compared(batch, found, setting)]
    first, *_ = setting.tapped.values()
    bank = bank_of(setting.probes, first[0], setting.width)
    waits = waits_in_hooks(server, bank, setting.prompt)
    figures.append(Figure("times that a hook made the server wait", waits, "", "== 0"))
    if setting.device == "cuda":
        figures += products()
    return Result("gpu", tuple(figures), tuple(notes))


def compared(batch: int, found: dict[tuple[int, str], list[Run]], setting: Setting) -> list[Figure]:
    """Time per output token with the tap, against the bare one of the same round, and what became of each token."""
    bare = [run.token_s for run in found[batch, BARE]]
    figures = [Figure(f"batch {batch}: time per output token", 1e3 * median(bare), "ms")]
    for name in (AGAIN, *setting.tapped):
        runs = found[batch, name]
        more = [100 * (run.token_s / one - 1) for run, one in zip(runs, bare, strict=True)]
        low, high = interval(more)
        what = f"batch {batch}, {name}: more"
        figures.append(Figure(what, median(more), "%", None, (low, high)))
        if name == AGAIN:
            continue
        goal = setting.tapped[name][1]
        figures += [
            Figure(f"{what}, at most", high, "%", f"<= {goal:g}"),
            Figure(
                f"batch {batch}, {name}: tokens scored",
                100 * sum(run.scored for run in runs) / sum(run.served for run in runs),
                "%",
                ">= 100",
            ),
            Figure(
                f"batch {batch}, {name}: tokens unaccounted",
                sum(run.unaccounted for run in runs),
                "",
                "== 0",
            ),
        ]
    return figures


def products() -> list[Figure]:
    """The op alone, one block of `TOKENS` rows in bfloat16, beside as many bytes moved."""
    figures = []
    hidden = torch.randn(TOKENS, WIDTH, device="cuda").bfloat16()
    half = hidden[: TOKENS // 2]
    moved = torch.empty_like(half)
    for probes in PRODUCTS:
        op = ProbeOp(bank_of(probes, (0,), WIDTH), torch.device("cuda"))

        def ours(op: ProbeOp = op) -> None:
            op.begin()
            op.feed(0, hidden)

        read = clocked(lambda: moved.copy_(half))
        ratios = [mine / once for mine, once in zip(clocked(ours), read, strict=True)]
        figures.append(
            Figure(
                f"{probes} probes, {TOKENS} tokens: product / activations read once",
                median(ratios),
                "ratio",
                "<= 1.5",
                interval(ratios),
            )
        )
    return figures


def clocked(work: Callable[[], object]) -> list[float]:
    """ms on the GPU, of each of some repeats, by its own events."""
    times = []
    for number in range(REPEATS + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        if number >= 3:
            times.append(start.elapsed_time(end))
    return times


def what_it_is(device: str) -> str:
    name = torch.cuda.get_device_name() if device == "cuda" else device
    return f"{name}: torch {torch.__version__}, transformers {transformers.__version__}"


def _say(what: str) -> None:
    print(f"bench gpu: {what}", file=sys.stderr, flush=True)


def main() -> int:
    if not torch.cuda.is_available():
        print("bench gpu: not shown: torch sees no CUDA device", file=sys.stderr)
        return 3
    result = run(Setting())
    print(result.as_json())
    print(result.as_table(), file=sys.stderr)
    return 0 if result.met else 1


if __name__ == "__main__":
    sys.exit(main())
