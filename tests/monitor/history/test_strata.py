"""Which requests are kept: what would have fired at looser thresholds, and a sample nobody can aim at."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_traffic import EPOCH, NOON_NS, bank_of, literal, program_of, rule

from dosimeter.detectors.frames import SEGMENTS, Scope, ScoreFrame
from dosimeter.monitor.history.assembly import Assembly, Request
from dosimeter.monitor.history.chunk import Ended, Opened, ProgramText, Rows
from dosimeter.monitor.history.strata import NEAR_CODES, Nearness, Sampler, loosened
from dosimeter.rules.atoms import Atom, Clause, Logic
from dosimeter.rules.engine import Engine
from dosimeter.rules.program import Program

A = Scope.ANSWER


def request_of(codes: Sequence[Sequence[int]], program: Program, key: int = 1) -> Request:
    bank, text = bank_of(len(codes[0])), ProgramText(program.canonical)
    array = np.array(codes, np.int16)
    segments = np.array([(key, 0, len(codes), int(A))], SEGMENTS)
    opened = Opened(EPOCH, key, bank.digest, text.digest, NOON_NS)
    rows, end = Rows(EPOCH, NOON_NS, segments, array), Ended(EPOCH, key, True, NOON_NS)
    (found,) = Assembly().take([bank, text, opened, rows, end])
    return found


def near(codes: Sequence[Sequence[int]], program: Program) -> bool:
    text = ProgramText(program.canonical)
    return Nearness().of([request_of(codes, program)], text) == [True]


def two(logic: Logic, *thresholds: int, direction: int = 1) -> Program:
    atoms = tuple(Atom(i, A, direction, "once", 1, t) for i, t in enumerate(thresholds))
    return Program(("feature_0", "feature_1"), atoms, (rule("r", logic),))


BOTH = Logic((Clause((literal(0),)), Clause((literal(1),))))
UNLESS = Logic((Clause((literal(0),)), Clause((literal(1),), negated=True)))


@pytest.mark.parametrize(("code", "expected"), [(573, True), (572, False), (701, True)])
def test_near_is_within_half_a_standard_deviation_of_the_threshold(
    code: int, expected: bool
) -> None:
    assert NEAR_CODES == 128
    assert near([(0, 0), (code, 0)], program_of(700)) is expected


def test_the_lower_tail_is_near_from_above() -> None:
    program = two(Logic((Clause((literal(0),)),)), -700, direction=-1)
    assert near([(-573, 0)], program)
    assert not near([(-572, 0)], program)


def test_a_rule_of_two_conditions_is_near_only_where_both_are() -> None:
    program = two(BOTH, 700, 500)
    assert near([(573, 373)], program)
    assert not near([(900, 372)], program)


def test_what_forbids_a_rule_has_to_forbid_it_clearly() -> None:
    program = two(UNLESS, 700, 500)
    assert near([(700, 628)], program)  # forbidden, yet by less than half a standard deviation
    assert not near([(700, 629)], program)


def test_a_condition_that_one_rule_wants_and_another_forbids_moves_both_ways() -> None:
    atom = Atom(0, A, 1, "once", 1, 500)
    wants = Logic((Clause((literal(0),)),))
    forbids = Logic((Clause((literal(1),)), Clause((literal(0),), negated=True)))
    other = Atom(1, A, 1, "once", 1, 300)
    columns = ("feature_0", "feature_1")
    program = loosened(Program(columns, (atom, other), (rule("a", wants), rule("b", forbids))))
    assert {a.threshold for a in program.atoms if a.column == 0} == {372, 628}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-900, 900), st.integers(-900, 900)), min_size=1, max_size=12),
    st.integers(-600, 600),
    st.integers(-600, 600),
    st.sampled_from([BOTH, UNLESS, Logic(BOTH.clauses, "sequence"), Logic(BOTH.clauses, within=2)]),
    st.sampled_from([1, -1]),
)
def test_whatever_fires_is_near(
    codes: list[tuple[int, int]], first: int, second: int, logic: Logic, direction: int
) -> None:
    """Otherwise a flagged request whose decision was lost would be sampled away."""
    program = two(logic, first, second, direction=direction)
    engine = Engine(program)
    engine.open(1, {})
    segments = np.array([(1, 0, len(codes), int(A))], SEGMENTS)
    hits = engine.step(ScoreFrame(segments, np.array(codes, np.int16), 0, 0))
    hits += engine.close(1, finished=True)
    if hits:
        assert near(codes, program)


def test_a_threshold_at_the_end_of_the_scale_stays_on_it() -> None:
    found = loosened(two(BOTH, -32767, -32700))
    assert [a.threshold for a in found.atoms] == [-32767, -32767]


def test_requests_are_judged_one_by_one_though_they_run_together() -> None:
    program = program_of(700)
    text = ProgramText(program.canonical)
    peaks = [0, 600, 100, 800, 572, 573]
    requests = [request_of([(peak, 0)], program, key=1) for peak in peaks]
    assert Nearness().of(requests, text) == [False, True, False, True, False, True]


def test_a_program_that_cannot_be_run_here_makes_nothing_near() -> None:
    request = request_of([(900, 0)], program_of(700))
    assert Nearness().of([request], ProgramText(b'{"format": 99}')) == [False]
    assert Nearness().of([request], None) == [False]


def test_the_sample_takes_one_request_in_so_many_and_the_same_ones_again() -> None:
    sampler = Sampler(bytes(32), 20)
    taken = {(e, k) for e, k in itertools.product(range(4), range(25_000)) if sampler.takes(e, k)}
    # Binomial(100 000, 1/20): sd 69; five of them.
    assert abs(len(taken) - 5000) < 345
    assert all(Sampler(bytes(32), 20).takes(*one) for one in list(taken)[:50])
    other = Sampler(b"k" * 32, 20)
    both = sum(other.takes(*one) for one in taken)
    assert abs(both - 250) < 80  # another key takes others
    assert all(Sampler(bytes(32), 1).takes(0, key) for key in range(50))
