"""The notation of scores in tests: what an analyst writes by hand and reads back in a boundary test."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.detectors.frames import CODE_MAX, CODE_UNSCORED, to_codes
from dosimeter.rules.testing.runs import (
    MAX_TOKENS,
    RunError,
    code_of,
    decimal,
    read_runs,
    write_runs,
)

CODES = st.integers(-CODE_MAX, CODE_MAX) | st.just(CODE_UNSCORED)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("3.2*3", [819, 819, 819]),  # 819.2
        ("1*2 0*1 -1.5*1", [256, 256, 0, -384]),
        ("?*2 1", [CODE_UNSCORED, CODE_UNSCORED, 256]),
        ("?", [CODE_UNSCORED]),
        ("0..4*5", [0, 256, 512, 768, 1024]),
        ("2..-1*4", [512, 256, 0, -256]),
        ("1..1*2", [256, 256]),
        ("  1*1\n  2*1 ", [256, 512]),
        ("127.99*1 -127.99*1", [32765, -32765]),
    ],
)
def test_runs_say_these_codes(text: str, codes: list[int]) -> None:
    assert read_runs(text).tolist() == codes


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("3.2*2 hot*3", 6, "`hot*3` is no run of scores"),
        ("3.2x20", 0, "`3.2x20` is no run of scores"),
        ("3,2*20", 0, "`3,2*20` is no run of scores"),
        (".5*20", 0, "`.5*20` is no run of scores"),
        ("3.2 * 20", 4, "`*` is no run of scores"),
        ("1*2 3*0", 4, "`3*0` has no token"),
        ("128*2", 0, "`128*2` is outside what a code can hold"),
        ("0..-128*2", 0, "`0..-128*2` is outside what a code can hold"),
        ("0..4*1", 0, "`0..4*1` is a ramp of 1 token"),
        ("?..4*3", 0, "`?..4*3` is no run of scores"),
        (f"1*{MAX_TOKENS} 2*1", len(f"1*{MAX_TOKENS} "), "`2*1` makes too many tokens"),
    ],
)
def test_what_is_no_run_is_refused_where_it_begins(text: str, offset: int, message: str) -> None:
    with pytest.raises(RunError) as caught:
        read_runs(text)
    assert (caught.value.offset, caught.value.message) == (offset, message)


@given(st.lists(CODES, min_size=1, max_size=40))
def test_codes_are_written_so_that_they_read_back(codes: list[int]) -> None:
    assert read_runs(write_runs(codes)).tolist() == codes


@given(st.decimals(-127, 127, places=3))
def test_a_value_becomes_the_code_that_a_score_of_it_would(value: object) -> None:
    exact = Fraction(str(value))
    if (exact * 256) % 1 == Fraction(1, 2):  # float32 cannot always tell a tie
        return
    assert code_of(exact) == int(to_codes(np.array([[float(exact)]]))[0, 0])


@pytest.mark.parametrize(("code", "text"), [(0, "0"), (-1, "-0.004"), (819, "3.2"), (512, "2")])
def test_a_code_is_written_with_as_few_decimals_as_tell_it(code: int, text: str) -> None:
    assert decimal(code) == text
