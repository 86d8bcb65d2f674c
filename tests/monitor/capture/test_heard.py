"""What a tap says is checked field by field: root asks in another user's place, and a stranger speaks there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.capture import heard
from dosimeter.monitor.taps.capture_steps import Taken, over
from dosimeter.monitor.taps.capture_wire import HEAD, ROWS_HEAD, CaptureError, rows_messages
from dosimeter.monitor.taps.requests import End, Requests, Ticket

ABOUT: dict[str, Any] = {
    "epoch": "0123456789abcdef", "model": {"name": "m", "digest": "d", "dtype": "float32"}, "width": 8, "blocks": 3,
    "by_uid": 0, "since_ns": 1, "until_ns": 2,
}  # fmt: skip
REQUEST: dict[str, Any] = {
    "key": 7, "first": 0, "rows": 2, "served": 2, "outcome": "finished", "lost": None, "whole": True, "prompt_len": 1,
    "spans": [[2, 0, 1]], "spans_exact": True, "labels": {"tenant": "acme"}, "trusted": ["tenant"], "opened_ns": 1,
    "ids": [5, 6, 7],
}  # fmt: skip
OVER: dict[str, Any] = {"why": "its time is up", "lost": {"slow_reader": 1}}
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800")
    | st.sampled_from([1 << 63, 1 << 64, 1 << 24, "9" * 5000, "x" * 2000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def test_what_a_tap_says_of_a_request_is_taken_as_it_is() -> None:
    """Of the tap's own making: each field that it gives is known here."""
    requests = Requests(lambda kind, record: None, lambda: 1)
    ticket = Ticket({"tenant": "acme"}, frozenset({"tenant"}), content=True)
    request = requests.open([5, 6, 7], ticket)
    request.advance(0, 4)
    requests.tap_ended(request, End("finished", 3, 2, 4, "output", [8, 9]))
    said = over(Taken(request, 0, 4))
    assert "ids" in said
    assert heard.request(said) == said
    assert heard.request({**said, "more": 1}) == said


@pytest.mark.parametrize(
    ("check", "good"), [(heard.about, ABOUT), (heard.request, REQUEST)], ids=["about", "request"]
)
def test_no_field_may_be_missing(
    check: Callable[[Mapping[str, Any]], Any], good: dict[str, Any]
) -> None:
    assert check(good) == good
    for name in good.keys() - {"ids", "lost"}:
        with pytest.raises(CaptureError, match=name):
            check({key: value for key, value in good.items() if key != name})


@given(st.data())
def test_an_odd_field_is_refused_or_harmless(data: st.DataObject) -> None:
    check, good = data.draw(
        st.sampled_from([(heard.about, ABOUT), (heard.request, REQUEST), (heard.over, OVER)])
    )
    changed = {**good, data.draw(st.sampled_from(sorted(good))): data.draw(ODD)}
    try:
        found = check(changed)
    except CaptureError:
        return
    if check is heard.request:
        assert 0 <= found["key"] < 1 << 63  # a column of the shard
        assert max(found["first"], found["rows"], found["served"]) < heard.POSITIONS
        assert all(0 <= scope <= 5 and start <= end for scope, start, end in found["spans"])
        assert all(len(text) <= 1024 and text.encode() for text in found["labels"].values() if text)


@pytest.mark.parametrize(("key", "n"), [(1 << 63, 2), ((1 << 64) - 1, 2), (7, 0)])
def test_rows_of_no_request_and_none_at_all_are_refused(key: int, n: int) -> None:
    (good,) = rows_messages(7, 3, np.ones((2, 8), np.float32))
    assert heard.rows(good[HEAD.size :], 8)[:2] == (7, 3)
    body = ROWS_HEAD.pack(key, 0, n) + bytes(4 * 8 * n)
    with pytest.raises(CaptureError, match=f"{n} rows of request {key}"):
        heard.rows(body, 8)
