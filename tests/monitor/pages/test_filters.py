"""Filters in an address and back."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimeter.monitor.pages.filters import Filters, back_to
from dosimeter.monitor.pages.source import QueueFilter
from dosimeter.monitor.pages.times import BadTime

WORDS = st.text(
    st.characters(exclude_categories=["Cs"], min_codepoint=32), min_size=1, max_size=256
)
SOME = st.fixed_dictionaries(
    {},
    optional={
        "tenant": WORDS,
        "rule": WORDS,
        "severity": st.sampled_from(["critical", "low"]),
        "from": st.just("2026-03-01"),
        "labelled": st.sampled_from(["yes", "no"]),
        "mine": st.booleans(),
        "samples": st.booleans(),
    },
)


@given(SOME)
def test_an_address_holds_all_of_it(given_: dict[str, object]) -> None:
    filters = Filters.model_validate(given_)
    again = Filters.model_validate(dict(parse_qsl(filters.written(), keep_blank_values=True)))
    assert again == filters


@given(st.text(max_size=200))
def test_the_way_back_is_always_to_the_queue(text: str) -> None:
    to = back_to(text)
    assert to == "/queue" or to.startswith("/queue?")
    assert to.isascii()
    assert not set(to) & set("\r\n \\<>\"'#")


def test_empty_fields_of_a_form_filter_nothing() -> None:
    form = dict.fromkeys(("tenant", "severity", "from", "to", "labelled", "samples", "mine"), "")
    assert Filters.model_validate(form).resolved("UTC") == QueueFilter()


def test_all_of_march_in_berlin_has_an_hour_less() -> None:
    asked = {"from": "2026-03-01", "to": "2026-04-01", "tz": "Europe/Berlin"}
    found = Filters.model_validate(asked).resolved("UTC")
    assert found.from_ns is not None
    assert found.to_ns is not None
    assert found.to_ns - found.from_ns == (31 * 24 - 1) * 3600 * 10**9


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(BadTime, match="not after"):
        Filters.model_validate({"from": "2026-03-02", "to": "2026-03-02"}).resolved("UTC")
