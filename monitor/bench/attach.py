"""`dosimeter bench attach`: ways to read a model's activations in one run, ours beside what others offer.

A llama-shaped decoder of random weights, prompts and decoding, 64 probes at each tapped block. Each way has a process
of its own, with its own bare forward: nothing, the same again, ours, hidden states handed out, loops in hooks, and each
peer in the peers' environment (`make setup-peers`). All take one step a round, one process after another. It owns
rounds and ratios; a step is `attach_worker`'s. A peer that cannot be run is named with the reason.
"""

from __future__ import annotations

import random
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dosimeter.monitor.bench.attach_process import Process
from dosimeter.monitor.bench.attach_setting import (
    AGAIN,
    BARE,
    CLOCKED,
    COMPILED,
    HIDDEN,
    IDLE,
    LOOPS,
    OURS,
    PEERS,
    PHASES,
    Setting,
    Step,
)
from dosimeter.monitor.bench.child import BenchError
from dosimeter.monitor.bench.decoder import one_thread, quickest
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.monitor.bench.medians import interval, median

PEERS_PYTHON = Path(".venv-peers/bin/python")
ROUNDS = {"prefill": 7, "decode": 41}
FEWER = ">= 5"
UNSURE = 5.0
"""% between two equal forwards, so much that nothing can be judged by it: neighbours, or too few rounds."""
NOT_RUN = {
    "vllm-lens": "1.3 hooks vLLM's own workers, not a model of transformers, and needs Python 3.12",
}

Samples = dict[tuple[str, str], list[Step]]
"""(kind of process, variant) -> its step of each round."""


def run(
    setting: Setting | None = None,
    rounds: dict[str, int] | None = None,
    peers: Path = PEERS_PYTHON,
) -> Result:
    rounds = rounds or ROUNDS
    undisturbed()
    figures: list[Figure] = []
    with one_thread(), ExitStack() as stack:
        if setting is None:
            setting = Setting(dtype=str(quickest()).removeprefix("torch."))
        notes = [f"the model is in {setting.dtype}"]
        processes = _started(stack, setting, peers)
        variants: dict[str, dict[str, list[str]]] = {}
        for kind in (OURS, COMPILED, *PEERS):
            try:
                if kind not in processes:
                    raise BenchError(f"{kind}: no `{peers}`; hint: make setup-peers")
                _say(f"{kind}: starting")
                said = processes[kind].ready()
            except BenchError as error:
                if kind not in PEERS:
                    raise
                notes.append(f"not shown: {error}")
                continue
            variants[kind] = said["variants"]
            notes.append(f"{kind}: {_versions(said['versions'])}")
        for phase in PHASES:
            _say(f"{phase}, {rounds[phase]} rounds")
            asked = [(kind, name) for kind in variants for name in variants[kind][phase]]
            samples = _rounds(processes, phase, asked, rounds[phase])
            figures += compared(phase, samples, setting)
    notes += [f"not shown: {name}: {why}" for name, why in NOT_RUN.items()]
    return Result("attach", tuple(figures), tuple(notes))


def _started(stack: ExitStack, setting: Setting, peers: Path) -> dict[str, Process]:
    """All at once: a model and its compiler take minutes where a machine is busy."""
    kinds: list[tuple[Path, str]] = [(Path(sys.executable), kind) for kind in (OURS, COMPILED)]
    if peers.exists():
        kinds += [(peers, kind) for kind in PEERS]
    return {kind: stack.enter_context(Process(python, kind, setting)) for python, kind in kinds}


def _rounds(
    processes: dict[str, Process], phase: str, asked: list[tuple[str, str]], rounds: int
) -> Samples:
    """Every variant once a round, in a new order each; a first round, to warm up, is left out.

    Those of one process follow each other, after a step that is not kept: what is compared is within a process, and
    the first step after another's is half as long again.
    """
    found: Samples = {one: [] for one in asked}
    of: dict[str, list[str]] = {}
    for kind, name in asked:
        of.setdefault(kind, []).append(name)
    kinds, shuffle = list(of), random.Random(0).shuffle
    for number in range(rounds + 1):
        shuffle(kinds)
        for kind in kinds:
            processes[kind].step(phase, BARE)
            shuffle(of[kind])
            for name in of[kind]:
                step = processes[kind].step(phase, name)
                if number:
                    found[kind, name].append(step)
    return found


def compared(phase: str, samples: Samples, setting: Setting) -> list[Figure]:
    """Of each kind its bare forward, and that again: a band. Of each variant what it adds, and its share in hooks."""
    figures, band = [], {}
    for kind in dict.fromkeys(kind for kind, _ in samples):
        bare = [step.whole for step in samples[kind, BARE]]
        again = _more(samples[kind, AGAIN], samples[kind, BARE])
        low, high = interval(again)
        band[kind] = max(abs(low), abs(high))  # which of two equal forwards comes first is chance
        figures += [
            Figure(f"{phase}: forward ({kind})", median(bare) / 1e6, "ms"),
            Figure(
                f"{phase}: forward ({kind}), the same again",
                median(again),
                "% more",
                None,
                (low, high),
            ),
        ]
    for name in setting.tapped:
        figures += _of_layers(f"{phase}, {name}", name, samples, band)
    return figures


def _of_layers(what: str, name: str, samples: Samples, band: dict[str, float]) -> list[Figure]:
    figures = []
    idle = [step.hooks for step in samples[OURS, f"{IDLE}, {name}"]]
    ends = [(OURS, OURS), (COMPILED, COMPILED), (OURS, HIDDEN), *((OURS, loop) for loop in LOOPS)]
    shares: dict[str, list[float]] = {}
    for kind, variant in [*ends, *((peer, peer) for peer in PEERS)]:
        steps = samples.get((kind, f"{variant}, {name}"))
        if steps is None:
            continue  # a note says why
        bare = samples[kind, BARE]
        more = _more(steps, bare)
        judged = variant in (OURS, COMPILED) and band[kind] <= UNSURE
        goal = f"<= {band[kind]:.2g}" if judged else None
        figures.append(
            Figure(f"{what}: {variant}, end to end", median(more), "% more", goal, interval(more))
        )
        if variant in (COMPILED, HIDDEN):
            continue  # there is no hook in a step
        clocks = idle
        if kind != OURS:  # a peer's clock takes off its own
            steps, clocks = samples[kind, f"{variant}, {CLOCKED}, {name}"], [0] * len(steps)
        shares[variant] = [
            100 * (step.hooks - taken) / one.whole
            for step, taken, one in zip(steps, clocks, bare, strict=True)
        ]
        share = shares[variant]
        figures.append(
            Figure(
                f"{what}: {variant}, in hooks", median(share), "% of forward", None, interval(share)
            )
        )
    for variant, share in shares.items():
        if variant != OURS:
            ratio = [theirs / mine for theirs, mine in zip(share, shares[OURS], strict=True)]
            title = f"{what}: in hooks, {variant} / ours"
            figures.append(Figure(title, median(ratio), "ratio", FEWER, interval(ratio)))
    return figures


def _more(steps: list[Step], bare: list[Step]) -> list[float]:
    """% that a step took above the bare one of its round."""
    return [100 * (one.whole / other.whole - 1) for one, other in zip(steps, bare, strict=True)]


def _versions(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items())


def _say(what: str) -> None:
    print(f"bench attach: {what}", file=sys.stderr, flush=True)
