"""Levels as people write them, and the errors that keep a unit from being guessed."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.frames import Scope
from dosimeter.detectors.levels import Level, LevelError, Shape


@pytest.mark.parametrize(
    ("text", "noun", "value"),
    [
        ("1 in 1000 answers", "answers", 1000),
        ("1 in 1,000 messages", "messages", 1000),
        ("1 in 2 answer", "answers", 2),
        ("1  in 10000   tokens", "tokens", 10000),
        ("20 a day", "day", 20),
        ("5 per day", "day", 5),
        ("z 2", "z", 2),
        ("z -0.5", "z", Fraction(-1, 2)),
    ],
)
def test_levels_carry_unit_and_noun(text: str, noun: str, value: int | Fraction) -> None:
    level = Level.parse(text)
    assert (level.noun, level.value) == (noun, value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.93", "level `0.93` has no unit"),
        ("2", "level `2` has no unit"),
        ("1 in 1000", "level `1 in 1000` has no noun"),
        ("1 in 1000 rows", "counts `rows`"),
        ("1 in 1 answers", "leaves nothing to tell apart"),
        ("0 a day", "leaves nothing to tell apart"),
        ("2 in 1000 answers", "a form that is not known"),
        ("1 in 1,00 answers", "a form that is not known"),
        ("z", "a form that is not known"),
        ("z nan", "a form that is not known"),
        ("z 128", "outside what a code can hold"),
        ("", "a form that is not known"),
    ],
)
def test_what_is_missing_or_wrong_is_named_with_a_hint(text: str, words: str) -> None:
    with pytest.raises(LevelError) as caught:
        Level.parse(text)
    assert words in str(caught.value)
    assert "\n  hint: " in str(caught.value)


@given(st.text(max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(LevelError):
        assert Level.parse(text).text


@pytest.mark.parametrize(
    ("text", "code"),
    [("z 2", 512), ("z -1", -256), ("z 0.001953125", 0), ("z 0.005859", 1), ("z 2.001", 512)],
)
def test_z_is_rounded_to_whole_codes_half_to_even(text: str, code: int) -> None:
    assert Level.parse(text).z_code() == code


@pytest.mark.parametrize(
    ("text", "scope", "shape", "words"),
    [
        ("1 in 9 answers", Scope.MESSAGE, Shape("once"), "write `1 in 9 messages`"),
        ("1 in 9 messages", Scope.ANSWER, Shape("once"), "write `1 in 9 answers`"),
        ("z 2", Scope.HISTORY, Shape("once"), "fires nothing"),
        ("1 in 9 tokens", Scope.ANSWER, Shape("average_scope"), "decides once"),
    ],
)
def test_noun_scope_and_shape_must_agree(text: str, scope: Scope, shape: Shape, words: str) -> None:
    with pytest.raises(LevelError, match=words):
        Level.parse(text).check(scope, shape)


@pytest.mark.parametrize(("kind", "n"), [("for", 0), ("average", -1), ("once", 2), ("mean", 1)])
def test_shapes_without_meaning_are_refused(kind: str, n: int) -> None:
    with pytest.raises(ValueError, match="shape"):
        Shape(kind, n)  # type: ignore[arg-type]
