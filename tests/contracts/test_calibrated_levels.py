"""A level means live what it meant in calibration: the engine fires on the requests counted there.

Two implementations of every shape meet here: whole streams at once in `detectors/shapes.py`, token
by token in the engine. A difference would make every `1 in N` a lie that no single module can see.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dosimeter.detectors.bank import Column
from dosimeter.detectors.calibrate import Calibration
from dosimeter.detectors.frames import CODE_UNSCORED, SEGMENTS, Scope, ScoreFrame
from dosimeter.detectors.levels import Level, Shape
from dosimeter.rules.atoms import Atom, CompiledRule
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
]


def traffic(seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
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


def fired(requests: list[tuple[np.ndarray, np.ndarray]], atom: Atom, seed: int) -> int:
    """Requests on which an engine with this one atom has a hit; frames are cut at random."""
    text = {"rule": "r", "status": "live", "severity": "low", "summary": "s"}
    rule = CompiledRule("r", "0" * 64, 0, "scam", COLUMN.pack, "c" * 64, text)
    engine = Engine(Program(("scam",), (atom,), (rule,)))
    rng = np.random.default_rng(seed)
    hits = set()
    for key, (codes, scopes) in enumerate(requests, start=1):
        engine.open(key, {})
        changes = np.flatnonzero(np.diff(scopes)) + 1
        edges = sorted({0, len(codes), *changes.tolist(), *rng.integers(0, len(codes), 3).tolist()})
        for start, end in pairwise(edges):
            rows = np.array([(key, start, end - start, scopes[start])], SEGMENTS)
            hits |= {h.key for h in engine.step(ScoreFrame(rows, codes[start:end], 0, 0))}
        hits |= {h.key for h in engine.close(key, finished=True)}
    return len(hits)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("scope", "text"),
    [
        (Scope.ANSWER, "1 in 20 answers"),
        (Scope.MESSAGE, "1 in 20 messages"),
        (Scope.ANSWER, "50 a day"),
        (Scope.ANSWER, "z 0.1"),
    ],
)
def test_the_engine_fires_on_as_many_benign_requests_as_the_placement_counted(
    shape: Shape, scope: Scope, text: str
) -> None:
    requests = traffic(seed=11)
    calibration = Calibration.from_requests(
        [COLUMN], requests, corpus="made", date="2026-01-01", answers_per_day=1000
    )
    placement = calibration.place(Level.parse(text), "scam", scope, shape)
    atom = Atom(0, scope, 1, shape.kind, shape.n, placement.threshold)
    assert fired(requests, atom, seed=3) == placement.exceedances
    assert placement.exceedances > 0
