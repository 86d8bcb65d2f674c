"""Kernel and reference agree, whatever the batching: one engine for live, test and backtest."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rule_streams import as_decided, program_of, programs, run, traffic

from dosimeter.detectors.frames import Scope
from dosimeter.rules.atoms import Atom
from dosimeter.rules.engine import Engine
from dosimeter.rules.native import NativeKernel
from dosimeter.rules.program import Program
from dosimeter.rules.reference import PlainKernel


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pair=st.tuples(programs(), programs()),
    seed=st.integers(0, 2**32 - 1),
)
def test_kernel_decides_what_the_reference_decides_in_any_batching(
    pair: tuple[Program, Program], seed: int
) -> None:
    """Random programs and traffic with gaps, unscored codes, scope changes, replays, cancels and
    a reload while requests are open."""
    program, second = pair
    t = traffic(seed, requests=6, longest=60)
    expected = run(Engine(program, PlainKernel), t, seed, most_rows=1, replays=False, second=second)
    for most_rows, replays in ((1, False), (7, True), (200, True), (23, False)):
        engine = Engine(program, NativeKernel)
        found = run(engine, t, seed + most_rows, most_rows, replays, second)
        assert as_decided(found) == as_decided(expected)
        assert engine.open_requests == 0
        for hits in found.values():
            assert [h.position for h in hits] == sorted(h.position for h in hits)


@pytest.mark.parametrize("seed", range(3))
def test_long_streams_cross_every_window_boundary(seed: int) -> None:
    """Windows longer than a frame, sums that wrap the 32-bit prefix, hundreds of requests."""
    program = program_of(*_wide_atoms())
    t = traffic(seed, requests=150, longest=400)
    expected = run(Engine(program, PlainKernel), t, seed, most_rows=40, replays=False)
    found = run(Engine(program, NativeKernel), t, seed + 1, most_rows=17, replays=True)
    assert as_decided(found) == as_decided(expected)
    assert sum(map(len, expected.values())) > 100


def _wide_atoms() -> list[Atom]:
    wide = [
        Atom(column, scope, direction, shape, n, threshold)
        for column, scope, direction in ((0, Scope.ANSWER, 1), (1, Scope.MESSAGE, -1))
        for shape, n, threshold in (
            ("average", 32, 2),
            ("average", 13, 3),
            ("for", 8, -3),
            ("once", 1, 9),
            ("average_scope", 1, 2),
        )
    ]
    return [*wide, Atom(2, Scope.ANSWER, 1, "average", 12, 1), Atom(2, Scope.TOOL, 1, "for", 3, 0)]
