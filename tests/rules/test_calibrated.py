"""The rate a level promises is the rate at which the engine fires: one statistic, two ways."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_streams import frame, program_of

from dosimeter.detectors.frames import CODE_UNSCORED, Scope
from dosimeter.detectors.levels import Shape
from dosimeter.detectors.shapes import Stream, unit_statistics
from dosimeter.rules.atoms import Atom
from dosimeter.rules.engine import Engine

SHAPES = st.one_of(
    st.just(Shape("once")),
    st.just(Shape("average_scope")),
    st.builds(
        Shape,
        st.sampled_from(["average_scope", "share"]),
        least=st.integers(0, 9),
        coverage=st.integers(0, 100),
    ),
    st.integers(1, 100).map(lambda k: Shape("share", 1, k)),
    st.integers(1, 6).map(lambda n: Shape("for", n)),
    st.integers(1, 6).map(lambda n: Shape("average", n)),
    st.integers(1, 6).map(lambda n: Shape("average_last", n)),
    st.integers(1, 6).map(lambda n: Shape("at_least", n, -(-n // 2))),
)


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, threshold=st.integers(-5, 8), seed=st.integers(0, 2**32 - 1))
def test_the_engine_fires_on_the_requests_whose_statistic_is_above_the_threshold(
    shape: Shape, threshold: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 25, 12)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    codes = rng.integers(-8, 12, offsets[-1]).astype(np.int16)
    codes[rng.random(len(codes)) < 0.05] = CODE_UNSCORED
    scopes = np.repeat(rng.choice([2, 3], -(-len(codes) // 5)), 5)[: len(codes)].astype(np.uint8)
    statistics = unit_statistics(Stream(codes, offsets, scopes), Scope.ANSWER, shape)
    units = [i for i in range(12) if (scopes[offsets[i] : offsets[i + 1]] == Scope.ANSWER).any()]
    expected = {i for i, s in zip(units, statistics, strict=True) if s > threshold}

    kind, least, coverage = shape.kind, shape.least, shape.coverage
    atom = Atom(0, Scope.ANSWER, 1, kind, shape.n, threshold, shape.k, least, coverage)
    engine = Engine(program_of(atom, columns=1))
    fired = set()
    for i in range(12):
        engine.open(i, {})
        for p in range(int(lengths[i])):
            at = int(offsets[i]) + p
            hits = engine.step(frame((i, p, Scope(int(scopes[at])), codes[at : at + 1, None])))
            fired |= {h.key for h in hits}
        fired |= {h.key for h in engine.close(i, finished=True)}
    assert fired == expected
