"""Kernel and reference agree, whatever the batching: one engine for live, test and backtest."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rule_streams import Traffic, atoms, batched, program_of, traffic

from dosimeter.detectors.frames import Scope, ScoreFrame
from dosimeter.rules.atoms import Atom
from dosimeter.rules.engine import Engine, Hit
from dosimeter.rules.native import NativeKernel
from dosimeter.rules.program import Program
from dosimeter.rules.reference import PlainKernel

PROGRAMS = st.lists(atoms(), min_size=1, max_size=12).map(lambda a: program_of(*a))


def run(
    engine: Engine,
    t: Traffic,
    seed: int,
    most_rows: int,
    replays: bool,
    second: Program | None = None,
) -> dict[int, list[Hit]]:
    """Hits of each request, in the order in which the engine returned them.

    With `second`, that program is swapped in when half of the requests are open.
    """
    hits: dict[int, list[Hit]] = defaultdict(list)
    for i, key in enumerate(t.scopes):
        if second is not None and i == len(t.scopes) // 2:
            engine.swap(second)
        engine.open(key, {})
    for event in batched(t, seed, most_rows, replays):
        found = (
            engine.step(event)
            if isinstance(event, ScoreFrame)
            else engine.close(event[0], finished=event[1])
        )
        for hit in found:
            hits[hit.key].append(hit)
    return hits


def as_decided(hits: dict[int, list[Hit]]) -> dict[int, list[Hit]]:
    """Per request by deciding token, then by rule id."""
    return {
        key: sorted(found, key=lambda h: (h.position, h.rule))
        for key, found in hits.items()
        if found
    }


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    programs=st.tuples(PROGRAMS, PROGRAMS),
    seed=st.integers(0, 2**32 - 1),
)
def test_kernel_decides_what_the_reference_decides_in_any_batching(
    programs: tuple[Program, Program], seed: int
) -> None:
    """Random programs and traffic with gaps, unscored codes, scope changes, replays, cancels and
    a reload while requests are open."""
    program, second = programs
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
