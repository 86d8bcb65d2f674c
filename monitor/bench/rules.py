"""`dosimeter bench rules`: tokens a second through the rules of one core, and what a conversation takes in memory.

Codes of autocorrelated scores, levels that are rarely crossed, four shapes in equal parts. Decoding is one token of
each of 256 requests a step, a prompt 512 tokens of one. Baselines in the same run: the kernel in numpy, and numpy
asked for each request alone, as a rule engine inside a request's handler would.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import numpy as np
import numpy.typing as npt

from dosimeter.detectors.frames import CODES_PER_SD, Scope
from dosimeter.monitor.bench.figures import Figure, Result, undisturbed
from dosimeter.rules import native
from dosimeter.rules.atoms import Atom
from dosimeter.rules.kernel import Kernel
from dosimeter.rules.native import NativeKernel

FEATURES, REQUESTS, PROMPT = 64, 256, 512
STEPS, NUMPY_STEPS, ALONE_STEPS = 300, 20, 2
ROUNDS = 5
CONDITIONS = {10: 25, 100: 250}
"""By rules: two and a half conditions each."""
GOALS = {10: ">= 5", 100: ">= 1"}
SHAPES = (
    ("once", 4.2, (1,)),
    ("for", 1.8, (8, 16)),
    ("average", 3.0, (8, 16, 32)),
    ("average_scope", 1.5, (1,)),
)
"""With the level in benign standard deviations, and lengths."""

Codes = npt.NDArray[np.int16]
AnyKernel = Kernel | NativeKernel


def run() -> Result:
    undisturbed()
    found = [Figure("the kernel in C was built here", int(native.found), "", "== 1")]
    rng = np.random.default_rng(0)
    codes = _codes(rng, REQUESTS * PROMPT)
    for rules, count in CONDITIONS.items():
        found += _figures(rules, _atoms(rng, count), codes)
    return Result("rules", tuple(found))


def _figures(rules: int, atoms: list[Atom], codes: Codes) -> list[Figure]:
    if not native.found:
        return []
    rates: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, rate in (
            ("decoding", _decoding(NativeKernel, atoms, codes, STEPS)),
            ("prompts", _prompts(NativeKernel, atoms, codes)),
            ("numpy", _decoding(Kernel, atoms, codes, NUMPY_STEPS)),
            ("alone", _decoding(Kernel, atoms, codes, ALONE_STEPS, alone=True)),
        ):
            rates.setdefault(name, []).append(rate)
    middle = {name: median(values) for name, values in rates.items()}
    times = {
        name: median(a / b for a, b in zip(rates["decoding"], rates[name], strict=True))
        for name in ("numpy", "alone")
    }
    what = f"{rules} rules, {len(atoms)} conditions, {FEATURES} features"
    state = NativeKernel(atoms, range(len(atoms))).slot_bytes
    return [
        Figure(f"{what}: decoding", middle["decoding"] / 1e6, "M tokens/s", GOALS[rules]),
        Figure(f"{what}: prompts", middle["prompts"] / 1e6, "M tokens/s", GOALS[rules]),
        Figure(f"{what}: decoding, numpy for all requests at once", middle["numpy"] / 1e6, "M tokens/s"),
        Figure(f"{what}: decoding, as a multiple of it", times["numpy"], "x"),
        Figure(f"{what}: decoding, as a multiple of numpy a request", times["alone"], "x", ">= 12"),
        Figure(f"{what}: state of a conversation", state, "B", "<= 8192"),
    ]  # fmt: skip


def _decoding(
    kind: type[AnyKernel], atoms: Sequence[Atom], codes: Codes, steps: int, *, alone: bool = False
) -> float:
    """Tokens a second of this thread's own time; alone: a call for each request."""
    kernel = kind(atoms, range(len(atoms)))
    slots = np.array([kernel.open() for _ in range(REQUESTS)])
    scopes, ones, rows = (
        np.full(REQUESTS, int(Scope.ANSWER)),
        np.ones(REQUESTS, np.int64),
        np.arange(REQUESTS),
    )
    started = time.thread_time()
    for step in range(steps):
        at = codes[step * REQUESTS % (len(codes) - REQUESTS) :][:REQUESTS]
        if not alone:
            kernel.step(slots, scopes, step * ones, ones, rows, at)
            continue
        for i in range(REQUESTS):
            one = slice(i, i + 1)
            kernel.step(slots[one], scopes[one], step * ones[one], ones[one], rows[:1], at[one])
    return steps * REQUESTS / (time.thread_time() - started)


def _prompts(kind: type[AnyKernel], atoms: Sequence[Atom], codes: Codes) -> float:
    kernel = kind(atoms, range(len(atoms)))
    prompts = len(codes) // PROMPT
    slots = [kernel.open() for _ in range(prompts)]
    zero, scope, length = np.zeros(1, np.int64), np.array([int(Scope.ANSWER)]), np.array([PROMPT])
    started = time.thread_time()
    for i, slot in enumerate(slots):
        rows = codes[i * PROMPT : (i + 1) * PROMPT]
        kernel.step(np.array([slot]), scope, zero, length, zero, rows)
    return prompts * PROMPT / (time.thread_time() - started)


def _atoms(rng: np.random.Generator, count: int) -> list[Atom]:
    found: dict[Atom, None] = {}
    while len(found) < count:
        shape, sd, lengths = SHAPES[len(found) % len(SHAPES)]
        threshold = round(CODES_PER_SD * (sd + rng.random()))
        column = int(rng.integers(FEATURES))
        found[Atom(column, Scope.ANSWER, 1, shape, int(rng.choice(lengths)), threshold)] = None
    return list(found)


def _codes(rng: np.random.Generator, rows: int) -> Codes:
    """int16 [rows, FEATURES] of benign sd 1, each nine tenths of the last."""
    noise = rng.standard_normal((rows, FEATURES)) * (1 - 0.81) ** 0.5
    for row in range(1, rows):
        noise[row] += 0.9 * noise[row - 1]
    return np.asarray((CODES_PER_SD * noise).round(), np.int16)
