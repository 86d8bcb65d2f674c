"""Random rules over random streams: the kernel in C against the reference, as many as you like.

`make fuzz-rules PROGRAMS=100000` runs it; each program is made from its number alone, so a difference can be looked at
again with `--first`. A program has up to 16 rules over up to 16 conditions of every shape; its traffic has gaps,
unscored codes, changes of scope, rows that come again, cancels, and a reload while requests are open.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

from rule_streams import COLUMNS, as_decided, literal, program_with, run, traffic

from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import WHOLE, WINDOWED
from dosimeter.rules.atoms import SHAPES, Atom, Clause, Logic
from dosimeter.rules.engine import Engine
from dosimeter.rules.native import NativeKernel
from dosimeter.rules.program import Program
from dosimeter.rules.reference import PlainKernel

SAY_EVERY = 1000


def differs(number: int) -> tuple[str | None, int]:
    """What differs for program `number`, and how many hits there were."""
    rng = random.Random(number)
    program, second = _program(rng), _program(rng)
    t = traffic(number, requests=rng.randint(1, 4), longest=rng.choice([12, 30, 60, 120]))
    expected = as_decided(run(Engine(program, PlainKernel), t, number, 1, False, second))
    rows = rng.choice([1, 3, 7, 23, 200])
    found = as_decided(run(Engine(program, NativeKernel), t, number + 1, rows, True, second))
    hits = sum(map(len, expected.values()))
    if found == expected:
        return None, hits
    key = next(k for k in {*expected, *found} if expected.get(k) != found.get(k))
    return f"request {key}:\nreference {expected.get(key)}\nkernel    {found.get(key)}", hits


def _program(rng: random.Random) -> Program:
    atoms = list(dict.fromkeys(_atom(rng) for _ in range(rng.randint(1, 16))))
    logics = [_logic(rng, len(atoms)) for _ in range(rng.randint(1, 16))]
    return program_with(atoms, logics)


def _atom(rng: random.Random) -> Atom:
    shape = rng.choice(SHAPES)
    n = rng.choice([rng.randint(1, 9), rng.randint(1, 40)]) if shape in WINDOWED else 1
    k = {"at_least": rng.randint(1, n), "share": rng.randint(1, 100)}.get(shape, 1)
    enough = shape in WHOLE and rng.random() < 0.5
    return Atom(
        column=rng.randrange(COLUMNS),
        scope=rng.choice([Scope.ANSWER, Scope.ANSWER, Scope.MESSAGE, Scope.TOOL]),
        direction=rng.choice([1, 1, -1]),
        shape=shape,
        n=n,
        threshold=rng.randint(-4, 6),
        k=k,
        least=rng.randint(0, 12) if enough else 0,
        coverage=rng.randint(0, 100) if enough else 0,
    )


def _logic(rng: random.Random, atoms: int) -> Logic:
    kind = rng.choice(["all", "all", "sequence"])
    clauses = []
    for i in range(rng.randint(2, 6) if kind == "sequence" else rng.randint(1, 4)):
        literals = tuple(literal(rng.randrange(atoms)) for _ in range(rng.randint(1, 2)))
        clauses.append(Clause(literals, i > 0 and kind == "all" and rng.random() < 0.25))
    within = rng.choice([0, 1, 2, 5, 17, 40])
    return Logic(tuple(clauses), kind, within, rng.choice([None, None, rng.randrange(atoms)]))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    hits = 0
    for done, number in enumerate(range(args.first, args.first + args.programs), 1):
        wrong, found = differs(number)
        hits += found
        if wrong is not None:
            print(f"program {number}: kernel and reference differ\n{wrong}")
            return 1
        if done % SAY_EVERY == 0 or done == args.programs:
            print(f"{done:,} programs, {hits:,} hits, 0 differences", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
