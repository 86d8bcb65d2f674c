"""Where levels lie in tests of rules: held against a printed table of the normal distribution."""

from __future__ import annotations

from fractions import Fraction

import pytest

from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import Level, LevelError, Shape
from dosimeter.rules.language.expr import parse
from dosimeter.rules.testing.unit_normal import UnitNormal

LEVELS = UnitNormal(("scam",))
SHAPES = (Shape("once"), Shape("for", 16), Shape("average_scope"), Shape("share", 1, 20))

TABLE = (  # upper quantiles of the standard normal, from a table
    ("1 in 2 answers", "0"),
    ("1 in 100 answers", "2.3263"),
    ("1 in 1000 answers", "3.0902"),
    ("1 in 10000 answers", "3.7190"),
    ("1 in 1000000 answers", "4.7534"),
    ("10 a day", "4.2649"),  # of 1,000,000: 1 in 100,000
)


@pytest.mark.parametrize(("text", "quantile"), TABLE)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_rate_lies_at_its_quantile_whatever_the_shape(
    text: str, quantile: str, shape: Shape
) -> None:
    """The threshold is the whole code at or below it: a code is beyond the quantile where it is beyond that one."""
    code = LEVELS.code(Level.parse(text), "scam", Scope.ANSWER, shape, 1)
    assert 0 <= Fraction(quantile) * 256 - code < 1


@pytest.mark.parametrize(("text", "quantile"), TABLE)
def test_below_is_the_mirror_of_above(text: str, quantile: str) -> None:
    level = Level.parse(text)
    above = LEVELS.code(level, "scam", Scope.ANSWER, Shape("once"), 1)
    assert LEVELS.code(level, "scam", Scope.ANSWER, Shape("once"), -1) == -above


def test_messages_and_tokens_count_as_answers_do() -> None:
    codes = {
        LEVELS.code(Level.parse(f"1 in 1000 {noun}"), "scam", scope, Shape("once"), 1)
        for noun, scope in (("answers", Scope.ANSWER), ("messages", Scope.MESSAGE))
    }
    tokens = LEVELS.code(Level.parse("1 in 1000 tokens"), "scam", Scope.TOOL, Shape("once"), 1)
    assert codes == {tokens}


@pytest.mark.parametrize("direction", [1, -1])
def test_z_is_that_many_sd_on_either_side(direction: int) -> None:
    code = LEVELS.code(Level.parse("z -2.5"), "scam", Scope.ANSWER, Shape("once"), direction)
    assert code == -640


def test_a_level_that_every_answer_is_beyond_is_refused() -> None:
    with pytest.raises(LevelError, match="every answer"):
        LEVELS.code(Level.parse("1000000 a day"), "scam", Scope.ANSWER, Shape("once"), 1)


def test_a_level_that_contradicts_its_scope_is_refused() -> None:
    with pytest.raises(LevelError, match="counts messages"):
        LEVELS.code(Level.parse("1 in 9 messages"), "scam", Scope.ANSWER, Shape("once"), 1)


def test_a_score_is_a_standard_normal_too() -> None:
    of = UnitNormal(("scam", "deception")).of_score(parse("scam + deception"), "p")
    assert of.features == ("scam + deception",)
    level = Level.parse("1 in 1000 answers")
    assert of.code(level, of.features[0], Scope.ANSWER, Shape("once"), 1) == 791
