"""The same traffic decided live, in chunks, and request by request as a backtest does: the same hits, to the bit.

`make equality TOKENS=1e8` runs it long; a test runs a million tokens. Live is one token each of many requests a step
with prompts in chunks between them, in random order, with rows that come again after a preemption, positions that never
come, unscored codes, clients that leave, and two reloads while requests are open. It uses the kernel that there is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from rule_streams import literal, program_with

from dosimeter.detectors.frames import CODE_UNSCORED, SEGMENTS, Codes, Scope, ScoreFrame
from dosimeter.rules.atoms import Atom, Clause, Logic
from dosimeter.rules.engine import Engine, Hit
from dosimeter.rules.program import Program

COLUMNS, LIVE = 8, 96
BLOCK = 1_000_000
"""Tokens of a round: so many are held in memory."""


@dataclass(frozen=True, slots=True)
class Request:
    key: int
    prompt: int  # tokens of it that are no answer
    codes: Codes
    stretches: tuple[tuple[int, int, int], ...]  # (start, end, scope) of what came, in order

    def frame_rows(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        for first, last, scope in self.stretches:
            low, high = max(first, start), min(last, end)
            if low < high:
                yield self.key, low, high - low, scope


def requests(rng: np.random.Generator, tokens: int, first_key: int) -> list[Request]:
    """About so many tokens. Scores are smooth, some requests are loud."""
    found = list[Request]()
    total = 0
    while total < tokens:
        n = int(rng.integers(20, 700))
        slow = np.repeat(rng.normal(0, 200, (-(-n // 12), COLUMNS)), 12, axis=0)[:n]
        loud = rng.choice([0, 0, 0, 150], COLUMNS)
        codes = (slow + rng.normal(0, 150, (n, COLUMNS)) + loud).astype(np.int16)
        codes[rng.random((n, COLUMNS)) < 0.002] = CODE_UNSCORED
        prompt = int(rng.integers(1, n))
        system = int(rng.integers(0, prompt + 1))
        ends = {0: 0, system: 0, prompt: 0, n: 0}
        ends |= {int(p): 0 for p in rng.integers(0, n, int(rng.integers(0, 3)))}
        cuts, gone = sorted(ends), rng.random() < 0.3
        stretches = []
        for low, high in pairwise(cuts):
            scope = Scope.SYSTEM if high <= system else Scope.MESSAGE
            low += int(gone and low not in (0, system, prompt))  # this position never came
            if low < high:
                stretches.append((low, high, int(Scope.ANSWER if high > prompt else scope)))
        found.append(Request(first_key + len(found), prompt, codes, tuple(stretches)))
        total += n
    return found


def frame(parts: list[tuple[Request, int, int]]) -> ScoreFrame | None:
    """These spans of these requests, in this order."""
    rows = [
        (request, row) for request, start, end in parts for row in request.frame_rows(start, end)
    ]
    if not rows:
        return None
    codes = np.concatenate([request.codes[at : at + n] for request, (_, at, n, _) in rows])
    return ScoreFrame(np.array([row for _, row in rows], SEGMENTS), codes, hook_ns=0, time_ns=0)


def live(
    rng: np.random.Generator, work: list[Request], programs: list[Program]
) -> tuple[list[Hit], dict[int, Program]]:
    """Hits, and the program that each request began under."""
    engine = Engine(programs[0])
    began: dict[int, Program] = {}
    at: dict[int, int] = {}
    waiting = list(reversed(work))
    by_key = {request.key: request for request in work}
    hits = list[Hit]()
    while waiting or at:
        while waiting and len(at) < LIVE:
            request = waiting.pop()
            done = len(began) * len(programs) // len(work)
            engine.swap(programs[done])
            engine.open(request.key, {})
            began[request.key], at[request.key] = programs[done], 0
        parts = list[tuple[Request, int, int]]()
        keys = np.array(list(at))
        for key in rng.permutation(keys[rng.random(len(keys)) < 0.9]).tolist():
            request, start = by_key[key], at[key]
            end = start + 1 if start >= request.prompt else start + int(rng.integers(1, 256))
            at[key] = min(end, len(request.codes))
            if rng.random() < 0.01:  # preempted: computed again from somewhere before
                start = int(rng.integers(0, start + 1))
            parts.append((request, start, at[key]))
        made = frame(parts)
        if made is not None:
            hits += engine.step(made)
        for request, _, end in parts:
            if end == len(request.codes):
                del at[request.key]
                hits += engine.close(request.key, finished=bool(request.key % 3))
    return hits, began


def alone(work: list[Request], began: dict[int, Program], chunk: int) -> list[Hit]:
    """Each request by itself, in chunks of at most so many tokens."""
    engines = {program.digest: Engine(program) for program in began.values()}
    hits = list[Hit]()
    for request in work:
        engine = engines[began[request.key].digest]
        engine.open(request.key, {})
        for start in range(0, len(request.codes), chunk):
            made = frame([(request, start, start + chunk)])
            if made is not None:
                hits += engine.step(made)
        hits += engine.close(request.key, finished=True)
    return hits


def programs(rng: np.random.Generator, count: int = 3) -> list[Program]:
    """Twenty rules each, of every shape and every way to join."""
    return [program_with(*_rules(rng), columns=COLUMNS) for _ in range(count)]


def _rules(rng: np.random.Generator) -> tuple[list[Atom], list[Logic]]:
    shapes = (
        ("once", 1, 1, 900), ("for", 4, 1, 250), ("for", 12, 1, 60), ("average", 8, 1, 450),
        ("average", 32, 1, 250), ("at_least", 16, 10, 250), ("average_scope", 1, 1, 90),
        ("average_last", 6, 1, 400), ("share", 1, 40, 150),
    )  # fmt: skip
    atoms = [
        Atom(
            int(rng.integers(COLUMNS)),
            Scope(int(rng.choice([2, 3, 3]))),
            int(rng.choice([1, 1, -1])),
            shape,
            n,
            int(threshold * rng.uniform(0.8, 1.3)),
            k,
        )
        for shape, n, k, threshold in shapes * 4
    ]
    atoms = [a if a.direction == 1 else _mirrored(a) for a in dict.fromkeys(atoms)]
    atoms = list(dict.fromkeys(atoms))
    logics = list[Logic]()
    for i in range(20):
        kind = "sequence" if i % 4 == 3 else "all"
        clauses = [
            Clause(tuple(literal(int(a)) for a in rng.choice(len(atoms), 2, replace=False)))
            for _ in range(1 if i % 4 == 0 else 2)
        ]
        if i % 4 == 2:
            clauses.append(Clause((literal(int(rng.integers(len(atoms)))),), negated=True))
        clear = int(rng.integers(len(atoms))) if i % 8 == 0 else None
        logics.append(Logic(tuple(clauses), kind, int(rng.choice([16, 64, 200])), clear))
    return atoms, logics


def _mirrored(a: Atom) -> Atom:
    return Atom(a.column, a.scope, -1, a.shape, a.n, -a.threshold, a.k)


def compare(tokens: int, seed: int) -> tuple[int, int, int]:
    """Tokens, hits, and how many hits differ between the ways."""
    rng = np.random.default_rng(seed)
    seen = hits = wrong = key = 0
    while seen < tokens:
        work = requests(rng, min(BLOCK, tokens - seen), key)
        found, began = live(rng, work, programs(rng))
        expected = {_name(hit): hit for hit in found}
        for chunk in (1 << 30, 37):
            again = {_name(hit): hit for hit in alone(work, began, chunk)}
            wrong += sum(again.get(n) != expected.get(n) for n in expected.keys() | again.keys())
        seen, hits, key = seen + sum(len(r.codes) for r in work), hits + len(found), key + len(work)
    return seen, hits, wrong


def _name(hit: Hit) -> tuple[int, str, int, Atom]:
    return hit.key, hit.rule, hit.position, hit.decided.atom


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=float, default=1e7)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started, tokens, hits, wrong, round_ = time.monotonic(), 0, 0, 0, 0
    while tokens < args.tokens:
        found = compare(min(10 * BLOCK, int(args.tokens) - tokens), args.seed + round_)
        tokens, hits, wrong = (a + b for a, b in zip((tokens, hits, wrong), found, strict=True))
        round_ += 1
        took = time.monotonic() - started
        print(f"{tokens:,} tokens, {hits:,} hits, {wrong} that differ, {took:.0f} s", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
