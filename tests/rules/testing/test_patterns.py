"""Streams on the edge of a condition: driven exactly, and short enough to be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tested_rules import rule

from dosimeter.rules.language.condition import Condition
from dosimeter.rules.testing.patterns import Edge, Span, between, drive, patterns


def condition(score: str = "feature: scam", rest: str = "above: z 2, for: 4 tokens") -> Condition:
    (found,) = rule(f"{{{score}, in: answer, {rest}}}").when.conditions
    return found


@given(st.integers(-20000, 20000), st.integers(0, 40))
def test_a_feature_is_driven_into_the_span(low: int, room: int) -> None:
    piece = drive(condition(), ((Span(low, low + room), 3),), ("scam",))
    assert all(low <= code <= low + room for code in piece.codes[:, 0].tolist())


@pytest.mark.parametrize(
    "text", ["scam + deception", "2 * scam - 1", "min(scam, deception)", "-scam"]
)
def test_features_are_driven_so_that_their_score_is_in_the_span(text: str) -> None:
    score = condition(f'score: "{text}"')
    assert score.score is not None
    features = tuple(sorted(score.features))
    piece = drive(score, ((Span(600, 640), 2), (None, 1)), features)
    codes = score.score.codes([piece.codes[:, features.index(name)] for name in score.features])
    assert all(600 <= code <= 640 for code in codes[:2].tolist())
    assert codes[2] == -32768


def test_values_are_those_that_are_short_to_write() -> None:
    piece = drive(condition(), ((Span(600, 700), 1),), ("scam",))
    assert piece.codes.tolist() == [[640]]  # 2.5 sd


def test_between_two_levels_lies_a_value_that_tells_them_apart() -> None:
    first, second = Edge(condition(), 512), Edge(condition(), 540)
    assert next(between(first, second)) == Span(513, 539)


@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize(
    "shape",
    ["", ", for: 4 tokens", ", at-least: 2 of 4 tokens", ", average: 4 tokens", ", average: answer",
     ", average: last 4 tokens", ", share: 20 % of answer", ", average: answer, min-tokens: 7, coverage: 80 %"],
)  # fmt: skip
def test_the_first_pattern_of_every_shape_is_clearly_beyond(side: str, shape: str) -> None:
    edge = Edge(condition(rest=f"{side}: z 2{shape}"), 512)
    ((span, _),) = next(patterns(edge, ()))
    assert span is not None
    assert span.low > 600 if side == "above" else span.high < 420
