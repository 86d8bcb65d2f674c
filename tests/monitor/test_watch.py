"""What a server scored, added up in batches, is what one pass over all its tokens finds."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.detectors.frames import CODE_UNSCORED, SEGMENTS, Scope, ScoreFrame
from dosimeter.detectors.shapes import NEVER
from dosimeter.monitor.watch import BATCH, Watch

Row = tuple[int, int, list[tuple[int, int]]]  # key, scope, codes of its tokens


def frame(rows: list[Row]) -> ScoreFrame:
    segments = np.array([(key, 0, len(codes), scope) for key, scope, codes in rows], SEGMENTS)
    tokens = [token for _, _, codes in rows for token in codes]
    return ScoreFrame(segments, np.array(tokens, np.int16).reshape(-1, 2), 0, 0)


def test_a_column_counts_as_scored_once_any_token_has_a_score_and_is_asked_anew_each_time() -> None:
    watch = Watch([0, 1], [])
    watch.frame(frame([(1, 3, [(CODE_UNSCORED, CODE_UNSCORED)])]))
    watch.frame(frame([(1, 3, [(CODE_UNSCORED, 5), (CODE_UNSCORED, CODE_UNSCORED)])]))
    assert watch.take() == (frozenset({1}), [])
    watch.frame(frame([(1, 3, [(0, CODE_UNSCORED)])]))
    assert watch.take() == (frozenset({0}), [])
    assert watch.take() == (frozenset(), [])


def test_a_request_is_told_when_it_has_ended_with_the_ceiling_of_its_mean() -> None:
    watch = Watch([], [(0, Scope.ANSWER), (1, Scope.MESSAGE)])
    watch.frame(frame([(1, 2, [(100, 7)]), (1, 3, [(1, 0), (2, 0)]), (2, 3, [(-3, 0), (0, 0)])]))
    assert [m.tolist() for m in watch.take()[1]] == [[], []]
    watch.frame(frame([(1, 3, [(CODE_UNSCORED, 0)])]))
    watch.ended(2)
    watch.ended(1)
    watch.ended(9)  # never seen
    _, (answers, messages) = watch.take()
    assert answers.tolist() == [-1, 2, NEVER]  # -3 / 2 and 3 / 2, upwards
    assert messages.tolist() == [NEVER, 7, NEVER]


CODE = st.sampled_from([CODE_UNSCORED, -32767, -5, 0, 1, 300, 32767])
ROW = st.tuples(
    st.integers(1, 4),
    st.sampled_from([2, 3, 4]),
    st.lists(st.tuples(CODE, CODE), min_size=1, max_size=4),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(ROW, min_size=1, max_size=4), max_size=2 * BATCH + 5))
def test_batches_add_up_to_one_pass(frames: list[list[Row]]) -> None:
    watch = Watch([], [(1, Scope.ANSWER), (0, Scope.REASONING)])
    for rows in frames:
        watch.frame(frame(rows))
    for key in range(1, 5):
        watch.ended(key)
    _, found = watch.take()
    for (column, scope), means in zip(((1, 3), (0, 4)), found, strict=True):
        expected = []
        for key in range(1, 5):
            codes = [
                token[column]
                for rows in frames
                for k, s, tokens in rows
                for token in tokens
                if (k, s) == (key, scope) and token[column] != CODE_UNSCORED
            ]
            expected.append(-(-sum(codes) // len(codes)) if codes else NEVER)
        assert means.tolist() == expected
