"""The shapes, by hand-worked tables: what fires, where, and with which statistic."""

from __future__ import annotations

import numpy as np
import pytest
from rule_streams import column, frame, program_of

from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, Scope
from dosimeter.rules import native
from dosimeter.rules.atoms import MAX_TOKENS, Atom
from dosimeter.rules.engine import AnyKernel, Engine, Hit
from dosimeter.rules.native import NativeKernel
from dosimeter.rules.reference import PlainKernel

U = CODE_UNSCORED
A, M = Scope.ANSWER, Scope.MESSAGE


@pytest.fixture(params=[PlainKernel, *([NativeKernel] if native.found else [])])
def kernel(request: pytest.FixtureRequest) -> type[AnyKernel]:
    kind: type[AnyKernel] = request.param
    return kind


def atom(
    shape: str, n: int, threshold: int, direction: int = 1, scope: Scope = A, k: int = 1
) -> Atom:
    return Atom(0, scope, direction, shape, n, threshold, k)


def hits(
    kernel: type[AnyKernel], of: Atom, *values: int, chunk: int = 1000
) -> list[tuple[int, int, int, int, int]]:
    """(start, end, position, value_sum, value_n) of what one answer of these codes fires."""
    engine = Engine(program_of(of, columns=1), kernel)
    engine.open(1, {})
    found: list[Hit] = []
    for start in range(0, len(values), chunk):
        part = column(*values[start : start + chunk])
        found += engine.step(frame((1, start, of.scope, part)))
    found += engine.close(1, finished=True)
    return [
        (d.start, d.end, h.position, d.value_sum, d.value_n) for h in found for d in (h.decided,)
    ]


@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("of", "values", "expected"),
    [
        # strictly beyond the threshold, and only once however long it stays there
        (atom("once", 1, 5), (5, 5, 6, 9, 2, 9), [(2, 3, 2, 6, 1)]),
        (atom("once", 1, 5), (5, 4), []),
        (atom("once", 1, -2, -1), (0, -2, -3), [(2, 3, 2, -3, 1)]),
        # `for`: n in a row; the statistic is the least of them
        (atom("for", 3, 5), (6, 7, 5, 6, 9, 8, 7), [(3, 6, 5, 6, 1)]),
        (atom("for", 3, 5), (6, 7, 5, 6, 9, 5), []),
        (atom("for", 2, 0, -1), (-1, 3, -4, -2), [(2, 4, 3, -2, 1)]),
        # unscored breaks a run and a window, and is no value
        (atom("for", 2, 5), (9, U, 9, 9), [(2, 4, 3, 9, 1)]),
        (atom("once", 1, -9, -1), (U, U), []),
        (atom("average", 2, 5), (20, U, 20, 0, 9), [(2, 4, 3, 20, 2)]),
        # `average`: the mean of n in a row, compared without rounding: 16/3 > 5, 15/3 is not
        (atom("average", 3, 5), (5, 5, 5, 6, 0), [(1, 4, 3, 16, 3)]),
        (atom("average", 3, 5), (30, 30), []),
        (atom("average", 2, -3, -1), (-3, -3, -4), [(1, 3, 2, -7, 2)]),
        # the whole scope, unscored tokens left out, decided at its end
        (atom("average_scope", 1, 5), (0, 12, U, 6), [(0, 4, 3, 18, 3)]),
        (atom("average_scope", 1, 5), (5, 5, 5), []),
        (atom("average_scope", 1, 5), (U, U), []),
        (atom("average_scope", 1, 0, -1), (1, -2), [(0, 2, 1, -1, 2)]),
        # `at_least`: k of the last n; the statistic is the k-th of them; a start is a window too
        (atom("at_least", 4, 5, k=2), (6, 1, 1, 9, 1), [(0, 4, 3, 6, 1)]),
        (atom("at_least", 4, 5, k=2), (6, 1, 1, 1, 9, 1), []),
        (atom("at_least", 4, 5, k=2), (7, 8), [(0, 2, 1, 7, 1)]),
        (atom("at_least", 4, 5, k=2), (7, U, 8, 1, 9), [(2, 5, 4, 8, 1)]),
        (atom("at_least", 3, -1, -1, k=2), (-9, 0, -3), [(0, 3, 2, -3, 1)]),
        # `average_last`: the last n, or all that there are; decided at the end, if none is missing
        (atom("average_last", 2, 5), (0, 5, 6), [(1, 3, 2, 11, 2)]),
        (atom("average_last", 2, 5), (9, 9, 9, 1), []),
        (atom("average_last", 4, 5), (6, 5), [(0, 2, 1, 11, 2)]),
        (atom("average_last", 2, 5), (9, U, 6), []),
        (atom("average_last", 2, 5), (U, 9, 6), [(1, 3, 2, 15, 2)]),
    ],
)
def test_shapes_fire_where_the_table_says(
    kernel: type[AnyKernel],
    of: Atom,
    values: tuple[int, ...],
    expected: list[tuple[int, ...]],
    chunk: int,
) -> None:
    assert hits(kernel, of, *values, chunk=chunk) == expected


def test_extreme_codes_over_the_longest_window_do_not_overflow(kernel: type[AnyKernel]) -> None:
    """4 096 saturated codes sum to 134 million; prefix sums wrap and differences must not."""
    values = [CODE_MAX] * (3 * MAX_TOKENS)
    values[MAX_TOKENS] = CODE_MAX - 1
    top = atom("average", MAX_TOKENS, CODE_MAX - 1)
    assert hits(kernel, top, *values, chunk=700) == [
        (0, MAX_TOKENS, MAX_TOKENS - 1, CODE_MAX * MAX_TOKENS, MAX_TOKENS)
    ]
    high = 70_000  # 70 000 * 32 767 is beyond 2**31
    values = [CODE_MAX] * high + [-CODE_MAX] * MAX_TOKENS
    bottom = atom("average", MAX_TOKENS, -CODE_MAX + 1, -1)
    (hit,) = hits(kernel, bottom, *values, chunk=5000)
    # means below -32766 need all but one of the window: one 32767 alone lifts it by 16
    assert hit == (high, high + MAX_TOKENS, len(values) - 1, -CODE_MAX * MAX_TOKENS, MAX_TOKENS)


def test_a_missing_position_breaks_a_run_but_not_the_average_of_the_scope(
    kernel: type[AnyKernel],
) -> None:
    engine = Engine(program_of(atom("for", 4, 5), atom("average_scope", 1, 5), columns=1), kernel)
    engine.open(1, {})
    engine.step(frame((1, 0, A, column(9, 9, 9))))
    assert engine.step(frame((1, 4, A, column(9, 9, 9)))) == []
    (run,) = engine.step(frame((1, 7, A, column(9))))
    assert (run.start, run.decided.end, run.decided.tokens_scored, run.decided.tokens_unscored) == (
        4,
        8,
        7,
        1,
    )
    (mean,) = engine.close(1, finished=True)
    assert (mean.start, mean.decided.end, mean.decided.value_sum, mean.decided.value_n) == (
        0,
        8,
        63,
        7,
    )
    assert (mean.decided.tokens_scored, mean.decided.tokens_unscored) == (7, 1)


def test_positions_that_come_again_are_ignored(kernel: type[AnyKernel]) -> None:
    """After a preemption the server computes tokens again; their codes were already counted."""
    engine = Engine(program_of(atom("average_scope", 1, 5), columns=1), kernel)
    engine.open(1, {})
    engine.step(frame((1, 0, A, column(6, 6))))
    engine.step(frame((1, 0, A, column(99, 99, 6))))
    engine.step(frame((1, 1, A, column(99, 99))))
    (hit,) = engine.close(1, finished=True)
    assert (hit.decided.value_sum, hit.decided.value_n) == (18, 3)


def test_a_scope_ends_where_the_next_begins_even_inside_one_frame(kernel: type[AnyKernel]) -> None:
    engine = Engine(program_of(atom("average_scope", 1, 5, scope=M), columns=1), kernel)
    engine.open(1, {})
    (hit,) = engine.step(frame((1, 0, M, column(7, 7)), (1, 2, A, column(0))))
    assert (hit.start, hit.decided.end, hit.position) == (0, 2, 1)
    assert engine.close(1, finished=True) == []


def test_a_run_does_not_cross_a_change_of_scope(kernel: type[AnyKernel]) -> None:
    engine = Engine(program_of(atom("for", 3, 5, scope=M), columns=1), kernel)
    engine.open(1, {})
    parts = [(1, 0, M, column(9, 9)), (1, 2, A, column(9)), (1, 3, M, column(9, 9))]
    assert engine.step(frame(*parts)) == []
    (hit,) = engine.step(frame((1, 5, M, column(9))))
    assert (hit.start, hit.decided.end, hit.decided.tokens_scored) == (3, 6, 3)


def test_tokens_before_the_first_row_count_as_unscored_in_the_scope_that_follows(
    kernel: type[AnyKernel],
) -> None:
    """A prefix-cache hit: 32 positions never ran. Nothing else says whose they were."""
    engine = Engine(program_of(atom("once", 1, 5), columns=1), kernel)
    engine.open(1, {})
    (hit,) = engine.step(frame((1, 32, A, column(0, 9))))
    assert (hit.decided.tokens_scored, hit.decided.tokens_unscored) == (2, 32)


def test_one_request_does_not_see_another(kernel: type[AnyKernel]) -> None:
    engine = Engine(program_of(atom("for", 2, 5), atom("average", 2, 5), columns=1), kernel)
    for key in (1, 2, 3):
        engine.open(key, {})
    first = frame((1, 0, A, column(9)), (2, 0, A, column(0)), (3, 0, A, column(9)))
    second = frame((2, 1, A, column(9)), (3, 1, A, column(9)), (1, 1, A, column(0)))
    assert engine.step(first) == []
    assert [(h.key, h.rule) for h in engine.step(second)] == [(3, "r0"), (3, "r1")]


def test_a_frame_of_many_rows_of_many_requests_is_one_token_at_a_time_in_effect(
    kernel: type[AnyKernel],
) -> None:
    rng = np.random.default_rng(5)
    codes = rng.integers(-20, 20, (40, 30, 1)).astype(np.int16)
    of = [atom("average", 7, 4), atom("for", 3, 2), atom("average_scope", 1, 0)]
    found = []
    for chunk in (1, 30):
        engine = Engine(program_of(*of, columns=1), kernel)
        got = set()
        for key in range(40):
            engine.open(key, {})
        for start in range(0, 30, chunk):
            parts = [(k, start, A, codes[k, start : start + chunk]) for k in range(40)]
            got |= {(h.key, h.rule, h.position) for h in engine.step(frame(*parts))}
        for key in range(40):
            got |= {(h.key, h.rule, h.position) for h in engine.close(key, finished=True)}
        found.append(got)
    assert found[0] == found[1]
    assert len(found[0]) > 20
