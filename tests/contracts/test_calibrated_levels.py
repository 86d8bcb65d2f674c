"""A level means live what it meant in calibration: the engine fires on the requests counted there.

Two implementations of every shape meet here: whole streams at once in `detectors/shapes.py`, token
by token in the engine. A difference would make every `1 in N` a lie that no single module can see.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODE_UNSCORED, SEGMENTS, Scope, ScoreFrame
from dosimeter.detectors.levels import Level, Shape
from dosimeter.detectors.placement import Placement
from dosimeter.rules.atoms import Atom, Clause, CompiledRule, Literal, Logic
from dosimeter.rules.engine import Engine
from dosimeter.rules.program import Program

REQUESTS = 260
COLUMN = Column("scam", "ab" * 32, "test/scam")
SHAPES = [
    Shape("once"),
    Shape("for", 1),
    Shape("for", 5),
    Shape("average", 4),
    Shape("average", 16),
    Shape("average_scope"),
    Shape("at_least", 8, 4),
    Shape("average_last", 4),
    Shape("average_scope", least=12, coverage=95),
    Shape("share", 1, 30),
    Shape("share", 1, 30, least=12, coverage=95),
]
LEVELS = [
    (Scope.ANSWER, "1 in 20 answers"),
    (Scope.MESSAGE, "1 in 20 messages"),
    (Scope.ANSWER, "50 a day"),
    (Scope.ANSWER, "z 0.1"),
]
Requests = list[tuple[np.ndarray, np.ndarray]]
Placements = dict[tuple[Scope, str, Shape], Placement]


def traffic(seed: int) -> Requests:
    """Correlated codes with ties, gaps, requests of one token, and scopes that come back."""
    rng = np.random.default_rng(seed)
    requests = []
    for _ in range(REQUESTS):
        n = int(rng.integers(1, 60))
        codes = np.convolve(rng.normal(0, 40, n + 3), np.ones(4) / 2, "valid").round()
        codes[rng.random(n) < 0.03] = CODE_UNSCORED
        cuts = np.sort(rng.integers(0, n + 1, 3))
        scopes = np.full(n, Scope.ANSWER, np.uint8)
        scopes[: cuts[0]] = Scope.MESSAGE
        scopes[cuts[1] : cuts[2]] = Scope.TOOL
        requests.append((codes.astype(np.int16)[:, None], scopes))
    return requests


def fired(requests: Requests, atoms: list[Atom], seed: int) -> Counter[Atom]:
    """On how many requests one engine with all atoms has a hit of each; frames are cut at random."""
    text = {"status": "live", "severity": "low", "summary": "s"}
    rules = tuple(
        CompiledRule(f"r{i}", "0" * 64, Logic((Clause((literal,)),)), text | {"rule": f"r{i}"})
        for i, literal in enumerate(
            Literal(i, "scam", COLUMN.pack, "c" * 64, "z 1") for i in range(len(atoms))
        )
    )
    engine = Engine(Program(("scam",), tuple(atoms), rules))
    rng = np.random.default_rng(seed)
    hits = set()
    for key, (codes, scopes) in enumerate(requests, start=1):
        engine.open(key, {})
        changes = np.flatnonzero(np.diff(scopes)) + 1
        edges = sorted({0, len(codes), *changes.tolist(), *rng.integers(0, len(codes), 3).tolist()})
        for start, end in pairwise(edges):
            rows = np.array([(key, start, end - start, scopes[start])], SEGMENTS)
            found = engine.step(ScoreFrame(rows, codes[start:end], 0, 0))
            hits |= {(h.key, h.decided.atom) for h in found}
        hits |= {(h.key, h.decided.atom) for h in engine.close(key, finished=True)}
    return Counter(atom for _, atom in hits)


def atom_of(scope: Scope, shape: Shape, placement: Placement) -> Atom:
    n, k, threshold = shape.n, shape.k, placement.threshold
    return Atom(0, scope, 1, shape.kind, n, threshold, k, shape.least, shape.coverage)


@pytest.fixture(scope="module")
def placements() -> Placements:
    calibration = Calibration.from_requests(
        [COLUMN], traffic(seed=11), corpus="made", date="2026-01-01", answers_per_day=1000
    )
    return {
        (scope, text, shape): calibration.place(Level.parse(text), "scam", scope, shape)
        for scope, text in LEVELS
        for shape in SHAPES
    }


@pytest.fixture(scope="module")
def counted(placements: Placements) -> Counter[Atom]:
    atoms = {atom_of(scope, shape, found) for (scope, _, shape), found in placements.items()}
    return fired(traffic(seed=11), sorted(atoms), seed=3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("scope", "text"), LEVELS)
def test_the_engine_fires_on_as_many_benign_requests_as_the_placement_counted(
    placements: Placements, counted: Counter[Atom], shape: Shape, scope: Scope, text: str
) -> None:
    placement = placements[scope, text, shape]
    assert counted[atom_of(scope, shape, placement)] == placement.exceedances
    assert placement.exceedances > 0
