"""Statistics of shapes: a hand-worked table, and a second implementation token by token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.frames import CODE_UNSCORED, Scope
from dosimeter.detectors.levels import Shape
from dosimeter.detectors.shapes import NEVER, Stream, token_statistics, unit_statistics

X = CODE_UNSCORED
M, A = int(Scope.MESSAGE), int(Scope.ANSWER)


def stream(*requests: list[tuple[int, int]]) -> Stream:
    """Each request a list of (scope, code)."""
    tokens = [token for request in requests for token in request]
    return Stream(
        np.array([code for _, code in tokens], dtype=np.int16),
        np.cumsum([0] + [len(r) for r in requests]).astype(np.int64),
        np.array([scope for scope, _ in tokens], dtype=np.uint8),
    )


def answer(*codes: int) -> list[tuple[int, int]]:
    return [(A, code) for code in codes]


TABLE = stream(
    answer(1, 5, 3, 4),
    answer(9, X, 8),  # the gap parts two windows of one token
    answer(2),
    answer(X, X),
    [(M, 100), (A, 4), (A, 4), (M, 100), (A, 7), (A, 6)],  # two stretches
    [(M, 50)],  # no answer: not a unit of this scope
)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (Shape("once"), [5, 9, 2, NEVER, 7]),
        (Shape("for", 1), [5, 9, 2, NEVER, 7]),
        (Shape("for", 2), [3, NEVER, NEVER, NEVER, 6]),
        (Shape("for", 3), [3, NEVER, NEVER, NEVER, NEVER]),
        (Shape("average", 2), [4, NEVER, NEVER, NEVER, 7]),  # 8/2; 13/2 exceeds 6, not 7
        (Shape("average", 3), [4, NEVER, NEVER, NEVER, NEVER]),  # 12/3
        (Shape("average", 4), [4, NEVER, NEVER, NEVER, NEVER]),  # 13/4
        (Shape("average_scope"), [4, 9, 2, NEVER, 7]),  # 13/4, 17/2, 2, -, max(8/2, 13/2)
        (Shape("average_last", 1), [4, 8, 2, NEVER, 6]),
        (Shape("average_last", 2), [4, NEVER, 2, NEVER, 7]),  # 7/2, gap, all it has, gap, 13/2
        (Shape("at_least", 2, 1), [5, 9, 2, NEVER, 7]),
        (Shape("at_least", 3, 2), [4, NEVER, NEVER, NEVER, 6]),  # of 5 3 4; a start is a window
        (Shape("at_least", 3, 3), [3, NEVER, NEVER, NEVER, NEVER]),
    ],
)
def test_hand_worked_table(shape: Shape, expected: list[int]) -> None:
    assert unit_statistics(TABLE, Scope.ANSWER, shape).tolist() == expected


def test_negative_means_round_towards_the_threshold_they_exceed() -> None:
    """-3/2 exceeds -2 and not -1, so the integer statistic is -1."""
    one = stream(answer(-1, -2))
    assert unit_statistics(one, Scope.ANSWER, Shape("average", 2)).tolist() == [-1]


def test_tokens_count_only_where_they_have_a_score() -> None:
    one = stream(answer(9, X, 8, 7))
    assert token_statistics(one, Scope.ANSWER, Shape("once")).tolist() == [9, 8, 7]
    assert token_statistics(one, Scope.ANSWER, Shape("for", 2)).tolist() == [NEVER, NEVER, 7]


def test_a_scope_nobody_used_has_no_units() -> None:
    assert unit_statistics(TABLE, Scope.TOOL, Shape("once")).tolist() == []


def fires(request: list[tuple[int, int]], scope: int, shape: Shape, threshold: int) -> bool:
    """The shape, token by token, as its definition reads; sums stay integers."""
    stretch: list[int] = []
    run: list[int] = []

    rows = 0

    def ended() -> bool:
        if shape.kind == "average_last" and rows:
            count = min(shape.n, rows)
            return len(run) >= count and sum(run[-count:]) > threshold * count
        mean = shape.kind == "average_scope" and bool(stretch)
        return mean and sum(stretch) > threshold * len(stretch)

    for token_scope, code in request:
        if token_scope != scope:
            if ended():
                return True
            stretch, run, rows = [], [], 0
            continue
        rows += 1
        if code == CODE_UNSCORED:
            run = []
            continue
        stretch.append(code)
        run.append(code)
        window = run[-shape.n :]
        if shape.kind == "at_least" and sum(c > threshold for c in window) >= shape.k:
            return True
        if len(window) < shape.n:
            continue
        if shape.kind in ("once", "for") and min(window) > threshold:
            return True
        if shape.kind == "average" and sum(window) > threshold * shape.n:
            return True
    return ended()


CODES = st.one_of(st.integers(-6, 6), st.just(X), st.integers(-32767, 32767))
REQUESTS = st.lists(
    st.lists(st.tuples(st.sampled_from([M, A]), CODES), max_size=14), min_size=1, max_size=6
)
SHAPES = st.one_of(
    st.sampled_from([Shape("once"), Shape("average_scope")]),
    st.builds(Shape, st.sampled_from(["for", "average", "average_last"]), st.integers(1, 9)),
    st.builds(lambda n, k: Shape("at_least", n, min(n, k)), st.integers(1, 9), st.integers(1, 9)),
)


@settings(max_examples=120, deadline=None)
@given(REQUESTS, SHAPES, st.integers(-8, 8), st.sampled_from([M, A]))
def test_a_statistic_above_the_threshold_is_exactly_a_shape_that_fires(
    requests: list[list[tuple[int, int]]], shape: Shape, threshold: int, scope: int
) -> None:
    statistics = unit_statistics(stream(*requests), Scope(scope), shape)
    units = [r for r in requests if any(s == scope for s, _ in r)]
    assert (statistics > threshold).tolist() == [fires(r, scope, shape, threshold) for r in units]


@settings(max_examples=100, deadline=None)
@given(st.lists(CODES, min_size=1, max_size=40), st.integers(1, 12))
def test_a_longer_for_never_scores_higher(codes: list[int], n: int) -> None:
    one = stream(answer(*codes))
    short = unit_statistics(one, Scope.ANSWER, Shape("for", n))[0]
    assert unit_statistics(one, Scope.ANSWER, Shape("for", n + 1))[0] <= short
