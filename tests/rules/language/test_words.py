"""The words of an expression: where each begins, and what a number may look like."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.rules.language.words import ExprError, words


def test_words_stand_where_they_are_written() -> None:
    assert words(" max(a_1,2.5)>=b") == [
        ("name", "max", 1),
        ("symbol", "(", 4),
        ("name", "a_1", 5),
        ("symbol", ",", 8),
        ("number", "2.5", 9),
        ("symbol", ")", 12),
        ("symbol", ">=", 13),
        ("name", "b", 15),
        ("end", "", 16),
    ]


@given(st.text())
def test_nothing_but_space_is_left_out(text: str) -> None:
    found = words(text)
    for word in found:
        assert text.startswith(word.text, word.offset)
    kept = [c for c in text if c not in " \t\r\n"]
    assert "".join(word.text for word in found) == "".join(kept)


@given(st.integers(0, 1_000_000), st.integers(0, 3))
def test_a_number_is_its_decimals_and_is_written_shortest(thousandths: int, zeros: int) -> None:
    text = f"{'0' * zeros}{thousandths // 1000}.{thousandths % 1000:03}"
    value, usual = words(text)[0].as_number()
    assert value == Fraction(thousandths, 1000) == Fraction(usual)
    assert usual == f"{thousandths / 1000:.3f}".rstrip("0").rstrip(".")


@pytest.mark.parametrize("text", ["1.", "1.2345", "1.2.3", "0x10", "1e3", "1_000", "12a", "1000.5"])
def test_other_numbers_are_refused(text: str) -> None:
    [word, _] = words(text)
    assert word.kind == "number"
    with pytest.raises(ExprError) as caught:
        word.as_number()
    assert caught.value.offset == 0
