"""`dosimeter bench rules`: tokens a second through the rules of one core, and what a conversation takes in memory.

Codes of autocorrelated scores, levels that are rarely crossed, four shapes in equal parts. Decoding is one token of
each of 256 requests a step, a prompt 512 tokens of one. The baseline in the same run is numpy asked for each request
alone, as a rule engine in a request's own handler would be: all conditions at once, one token at a time.
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
from dosimeter.rules.atoms import Atom, Clause, Literal, Logic
from dosimeter.rules.native import NativeKernel

FEATURES, REQUESTS, PROMPT = 64, 256, 512
STEPS, ALONE_STEPS = 300, 4
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
    rates = [
        (_decoding(atoms, codes), _prompts(atoms, codes), _alone(atoms, codes))
        for _ in range(ROUNDS)
    ]
    decoding, prompts, alone = (median(values) for values in zip(*rates, strict=True))
    times = median(d / a for d, _, a in rates)
    what = f"{rules} rules, {len(atoms)} conditions, {FEATURES} features"
    state = NativeKernel(atoms, logics(len(atoms))).slot_bytes
    return [
        Figure(f"{what}: decoding", decoding / 1e6, "M tokens/s", GOALS[rules]),
        Figure(f"{what}: prompts", prompts / 1e6, "M tokens/s", GOALS[rules]),
        Figure(f"{what}: numpy a request", alone / 1e6, "M tokens/s"),
        Figure(f"{what}: decoding, as a multiple of numpy a request", times, "x", ">= 12"),
        Figure(f"{what}: state of a conversation", state, "B", "<= 8192"),
    ]  # fmt: skip


def _decoding(atoms: Sequence[Atom], codes: Codes) -> float:
    """Tokens a second of this thread's own time."""
    kernel = NativeKernel(atoms, logics(len(atoms)))
    slots = np.array([kernel.open() for _ in range(REQUESTS)])
    scopes, ones, rows = (
        np.full(REQUESTS, int(Scope.ANSWER)),
        np.ones(REQUESTS, np.int64),
        np.arange(REQUESTS),
    )
    started = time.thread_time()
    for step in range(STEPS):
        at = codes[step * REQUESTS % (len(codes) - REQUESTS) :][:REQUESTS]
        kernel.step(slots, scopes, step * ones, ones, rows, at)
    return STEPS * REQUESTS / (time.thread_time() - started)


def _prompts(atoms: Sequence[Atom], codes: Codes) -> float:
    kernel = NativeKernel(atoms, logics(len(atoms)))
    prompts = len(codes) // PROMPT
    slots = [kernel.open() for _ in range(prompts)]
    zero, scope, length = np.zeros(1, np.int64), np.array([int(Scope.ANSWER)]), np.array([PROMPT])
    started = time.thread_time()
    for i, slot in enumerate(slots):
        rows = codes[i * PROMPT : (i + 1) * PROMPT]
        kernel.step(np.array([slot]), scope, zero, length, zero, rows)
    return prompts * PROMPT / (time.thread_time() - started)


def logics(atoms: int) -> list[Logic]:
    """Rules of two and of three conditions by turns, that have to come together within 64 tokens."""
    each = [Clause((Literal(i, "", "", "", ""),)) for i in range(atoms)]
    found, at = list[Logic](), 0
    while at < atoms:
        part = tuple(each[at : at + 2 + len(found) % 2])
        found.append(Logic(part, within=64))
        at += len(part)
    return found


class _Alone:
    """One request's conditions in numpy: runs, windows by a ring of running sums, totals."""

    def __init__(self, atoms: Sequence[Atom]) -> None:
        self._column = np.array([a.column for a in atoms])
        self._n = np.array([a.n if a.shape != "average_scope" else 1 for a in atoms])
        self._average = np.array([a.shape == "average" for a in atoms])
        self._limit = np.array([a.threshold for a in atoms]) * np.where(self._average, self._n, 1)
        self._ring = np.zeros((len(atoms), int(self._n.max())), np.int64)
        self._sum, self._run = np.zeros(len(atoms), np.int64), np.zeros(len(atoms), np.int64)
        self._each = np.arange(len(atoms))
        self._position = 0

    def token(self, codes: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
        """The conditions that are true now."""
        x = codes[self._column].astype(np.int64)
        self._sum += x
        at = self._position % self._n
        window = self._sum - self._ring[self._each, at]
        self._ring[self._each, at] = self._sum
        self._run = np.where(x > self._limit, self._run + 1, 0)
        self._position += 1
        averaged = (window > self._limit) & (self._position >= self._n)
        return np.flatnonzero(np.where(self._average, averaged, self._run >= self._n))


def _alone(atoms: Sequence[Atom], codes: Codes) -> float:
    requests = [_Alone(atoms) for _ in range(REQUESTS)]
    started = time.thread_time()
    for step in range(ALONE_STEPS):
        for request, row in zip(requests, codes[step * REQUESTS :], strict=False):
            request.token(row)
    return ALONE_STEPS * REQUESTS / (time.thread_time() - started)


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
